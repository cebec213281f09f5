"""Reads the metrics page of every endpoint, over and over, and says what it found.

    scraper = Scraper(on_event=picker.apply, clock=time.monotonic, rng=rng)
    scraper.start()
    scraper.set_endpoints({"10.0.0.1:8000": "vllm"})
    ...
    await scraper.stop()

Scrapes only correct what the picker knows from its own picks (`ext_proc.core.ledger`), so nothing here is urgent and
nothing here may hurt: one request at a time per endpoint, each bounded in time and size, fewer when an endpoint is idle
or broken, and a bound on all together. A failed scrape is an event like another; it is never logged.
"""

import asyncio
import random
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypedDict

import aiohttp

from ext_proc.core.events import Scraped, ScrapeFailed
from ext_proc.signals.exposition import parse_metrics
from ext_proc.signals.pod_tls import PodTlsOf, plaintext

METRICS_PATHS: Final[Mapping[str, str]] = {
    "vllm": "/metrics",
    "sglang": "/metrics",
    "llamacpp": "/metrics",
    "custom": "/metrics",
}
"""Where an engine shows its numbers. Engines that are not listed are not scraped: their pages are not understood yet,
and reading TensorRT-LLM's `/metrics` takes the records away from whoever else reads it."""

MAX_PAGE_BYTES: Final = 4 << 20
"""Eighty times vLLM's page for one model; more is not a metrics page, or an attack."""

IDLE_AFTER: Final = 5
"""So many scrapes in a row without any request make an endpoint idle: a second of silence, not a gap between two."""

# Below uvicorn's 5 s of keep-alive, so that no scrape meets a connection that the engine is just closing.
_KEEP_ALIVE_S: Final = 4.0
_CHUNK_BYTES: Final = 1 << 16
# Pauses vary by this share of themselves, so that endpoints do not fall into step.
_JITTER: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScrapeTiming:
    """How often and how patiently; the defaults fit a picker beside its Envoy."""

    interval_s: float = 0.2
    """An engine's queue changes within a batch step of some 50 ms; own picks are known without scraping."""
    idle_interval_s: float = 1.0
    timeout_s: float = 1.0
    """A page that takes longer describes the past."""
    max_backoff_s: float = 5.0
    max_rate_per_s: float = 250.0
    """Of all endpoints together: a scrape costs about half a millisecond, so this is an eighth of a core."""


class _Options(TypedDict, total=False):
    """What an https request of aiohttp takes beside the URL."""

    ssl: ssl.SSLContext
    server_hostname: str


class ScrapeError(Exception):
    """A page could not be read or does not tell the load."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """One endpoint's scraping."""

    engine: str
    task: "asyncio.Task[None]"


@dataclass(slots=True)
class _Pace:
    """Mutable: how one endpoint's last scrapes went."""

    idle: int = 0
    failures: int = 0


class Scraper:
    """Mutable: the watches, the session, the state per address. All on one event loop."""

    def __init__(
        self,
        *,
        on_event: Callable[[Scraped | ScrapeFailed], None],
        clock: Callable[[], float],
        rng: random.Random,
        timing: ScrapeTiming | None = None,
        pod_tls: PodTlsOf = plaintext,
    ) -> None:
        """`on_event` gets each result and must not raise; `clock` gives `at` in monotonic seconds; `pod_tls` is asked
        before each scrape, so that new certificates count at once."""
        self._on_event = on_event
        self._clock = clock
        self._rng = rng
        self._timing = timing or ScrapeTiming()
        self._pod_tls = pod_tls
        self._pools: Mapping[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        self._watches: dict[str, _Watch] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._failing: dict[str, str] = {}

    def start(self) -> None:
        """Opens the client; needs a running event loop."""
        self._session = aiohttp.ClientSession(
            # Every endpoint has at most one request under way: the pool needs no limit of its own.
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=self._timing.timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"accept": "text/plain;version=0.0.4", "accept-encoding": "identity"},
        )

    def set_endpoints(self, endpoints: Mapping[str, str], pools: Mapping[str, str] | None = None) -> None:
        """Scrapes exactly these from now on: address → engine. What stays is not disturbed.

        `pools` are address → pool, for pools that may have TLS.
        """
        self._pools = pools or {}
        wanted = {address: engine for address, engine in endpoints.items() if engine in METRICS_PATHS}
        for address, watch in list(self._watches.items()):
            if wanted.get(address) != watch.engine:
                self._drop(address)
        for address, engine in wanted.items():
            if address not in self._watches:
                task = asyncio.create_task(self._follow(address, METRICS_PATHS[engine]), name=f"scrape {address}")
                self._watches[address] = _Watch(engine, task)

    def failing(self) -> Mapping[str, str]:
        """The endpoints whose last scrape failed, with the reason."""
        return dict(self._failing)

    async def stop(self) -> None:
        """Ends all scraping; harmless when called twice."""
        for address in list(self._watches):
            self._drop(address)
        await asyncio.gather(*self._ending, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _drop(self, address: str) -> None:
        task = self._watches.pop(address).task
        self._failing.pop(address, None)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        task.cancel()

    async def _follow(self, address: str, path: str) -> None:
        pace = _Pace()
        await asyncio.sleep(self._rng.random() * self._timing.interval_s)
        while True:
            event = await self._scrape(address, path)
            self._note(address, event, pace)
            self._on_event(event)
            await asyncio.sleep(self._pause_s(pace))

    def _note(self, address: str, event: Scraped | ScrapeFailed, pace: _Pace) -> None:
        if isinstance(event, ScrapeFailed):
            pace.failures += 1
            self._failing[address] = event.reason
            return
        pace.failures = 0
        pace.idle = 0 if event.running or event.waiting else pace.idle + 1
        self._failing.pop(address, None)

    def _pause_s(self, pace: _Pace) -> float:
        timing = self._timing
        pause = max(timing.interval_s, len(self._watches) / timing.max_rate_per_s)
        if pace.failures:
            # The exponent is bounded only to keep the power a number; the pause is bounded anyway.
            pause = max(pause, min(timing.interval_s * 2.0 ** min(pace.failures, 16), timing.max_backoff_s))
        elif pace.idle >= IDLE_AFTER:
            pause = max(pause, timing.idle_interval_s)
        return pause * (1 + self._rng.uniform(-_JITTER, _JITTER))

    async def _scrape(self, address: str, path: str) -> Scraped | ScrapeFailed:
        try:
            scrape = parse_metrics(await self._read(address, path))
            if scrape.running is None or scrape.waiting is None:
                raise ScrapeError("the page does not tell running and waiting requests")
        except TimeoutError:
            reason = f"no page within {self._timing.timeout_s:g} s"
        except Exception as error:  # whatever an answer from outside trips over must not end the watch
            reason = str(error) or type(error).__name__
        else:
            return Scraped(
                address=address,
                at=self._clock(),
                running=scrape.running,
                waiting=scrape.waiting,
                kv_usage=scrape.kv_usage,
                block_size=scrape.block_size,
                kv_tokens=scrape.kv_tokens,
            )
        return ScrapeFailed(address=address, at=self._clock(), reason=reason)

    async def _read(self, address: str, path: str) -> bytes:
        assert self._session is not None, "start() comes first"
        url, options = f"http://{address}{path}", _Options()
        tls = self._pod_tls(self._pools.get(address, ""))
        if tls is not None:
            if tls.context is None:
                raise ScrapeError("the certificates for its pool are missing")
            url, options = f"https://{address}{path}", _Options(ssl=tls.context)
            if tls.server_name:
                options["server_hostname"] = tls.server_name
        async with self._session.get(url, allow_redirects=False, **options) as response:
            if response.status != 200:
                raise ScrapeError(f"HTTP {response.status}")
            page = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                page += chunk
                if len(page) > MAX_PAGE_BYTES:
                    raise ScrapeError(f"the page has more than {MAX_PAGE_BYTES} bytes")
            return bytes(page)
