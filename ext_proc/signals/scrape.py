"""Asks every engine for its numbers, over and over, and says what it found.

    scraper = Scraper(on_event=picker.apply, clock=time.monotonic, rng=rng)
    scraper.start()
    scraper.set_endpoints({"10.0.0.1:8000": "vllm"})
    ...
    await scraper.stop()

Scrapes only correct what the picker knows from its own picks (`ext_proc.core.ledger`), so nothing here is urgent and
nothing here may hurt: one request at a time per endpoint, each bounded in time and size, fewer when an endpoint is idle
or broken or asks to be left alone, and a bound on all together. A failed scrape is an event like another; it is never
logged.

Which pages an engine has, and how they are read: `ext_proc.signals.engines`.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from ext_proc.core.events import Scraped, ScrapeFailed
from ext_proc.core.settings import ScrapeSettings
from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.engines.table import adapter_of
from ext_proc.signals.fetch import PageError, PageMissingError, PageRefusedError
from ext_proc.signals.numbers import Scrape, merged
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.rounds import JITTER, Ending, PodPages

IDLE_AFTER: Final = 5
"""So many scrapes in a row without any request make an endpoint idle: a second of silence, not a gap between two."""

DETAIL_INTERVAL_S: Final = 1.0
"""Pages of details tell memory and counters, which change slower than a queue."""

MISSING_S: Final = 60.0
"""A page that an engine does not have is asked for again after this time: the engine may have been exchanged."""


MOST_OF_TIME: Final = 0.02
"""Of the time, to read one endpoint's pages: nobody is picked meanwhile. A usual page takes 0.1 ms, the largest that is
taken some 0.3 s, if it is made to."""


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
    """Of all endpoints together: a large page costs about 0.7 ms, so this is a fifth of a core at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked, and how: the engine behind an endpoint of a pool."""

    address: str
    host: str
    """Host and port of its pages."""
    adapter: Adapter
    pool: str = ""
    interval_s: float | None = None
    """None: that of the timing."""


@dataclass(frozen=True, slots=True)
class _Watch:
    """One endpoint's scraping, and from what it was made."""

    wanted: "_Wanted"
    task: "asyncio.Task[None]"


_Wanted = tuple[str, str, ScrapeSettings]
"""Engine, pool and settings of an endpoint."""


@dataclass(slots=True)
class _Pace:
    """Mutable: how one endpoint's last scrapes went, and what was learned of its pages."""

    idle: int = 0
    failures: int = 0
    retry_after_s: float = 0.0
    """What the engine asked for the last time."""
    reading_s: float = 0.0
    """How long it took to read the last pages."""
    detailed_at: float | None = None
    missing: dict[str, float] = field(default_factory=dict)
    """Path of a page that is not there → until when it is not asked for."""


class Scraper:
    """Mutable: the watches, the client, the state per address. All on one event loop."""

    def __init__(
        self,
        *,
        on_event: Callable[[Scraped | ScrapeFailed], None],
        clock: Callable[[], float],
        rng: random.Random,
        timing: ScrapeTiming | None = None,
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
    ) -> None:
        """`on_event` gets each result and must not raise; `clock` gives `at` in monotonic seconds; `pod_tls` and
        `pod_token` are asked before each scrape, so that new certificates and tokens count at once."""
        self._on_event = on_event
        self._clock = clock
        self._rng = rng
        self._timing = timing or ScrapeTiming()
        self._pages = PodPages(pod_tls, pod_token)
        self._watches: dict[str, _Watch] = {}
        self._ending = Ending()
        self._failing: dict[str, str] = {}

    def start(self) -> None:
        """Opens the client; needs a running event loop."""
        self._pages.open(self._timing.timeout_s)

    def set_endpoints(
        self,
        endpoints: Mapping[str, str],
        pools: Mapping[str, str] | None = None,
        settings: Mapping[str, ScrapeSettings] | None = None,
    ) -> None:
        """Scrapes exactly these from now on: address → engine. What stays as it is is not disturbed.

        `pools` are address → pool, `settings` pool → how its engines are asked. Engines that nobody knows are left
        alone, and so are pools whose settings say so or name what cannot be (their strategies do without).
        """
        pools, settings = pools or {}, settings or {}
        wanted = {
            address: (engine, pools.get(address, ""), settings.get(pools.get(address, ""), ScrapeSettings()))
            for address, engine in endpoints.items()
        }
        for address, watch in list(self._watches.items()):
            if wanted.get(address) != watch.wanted:
                self._drop(address)
        for address, each in wanted.items():
            if address not in self._watches and (target := target_of(address, *each)) is not None:
                task = asyncio.create_task(self._follow(target), name=f"scrape {address}")
                self._watches[address] = _Watch(each, task)

    def failing(self) -> Mapping[str, str]:
        """The endpoints whose last scrape failed, with the reason."""
        return dict(self._failing)

    async def stop(self) -> None:
        """Ends all scraping; harmless when called twice."""
        for address in list(self._watches):
            self._drop(address)
        await self._ending.wait()
        await self._pages.close()

    def _drop(self, address: str) -> None:
        self._ending.end(self._watches.pop(address).task)
        self._failing.pop(address, None)

    async def _follow(self, target: Target) -> None:
        pace = _Pace()
        # Spread over a whole round: a thousand endpoints that began together would go on in bursts.
        await asyncio.sleep(self._rng.random() * self._round_s(target.interval_s))
        while True:
            event = await self._scrape(target, pace)
            self._note(target.address, event, pace)
            self._on_event(event)
            await asyncio.sleep(self._pause_s(pace, target.interval_s))

    def _note(self, address: str, event: Scraped | ScrapeFailed, pace: _Pace) -> None:
        if isinstance(event, ScrapeFailed):
            pace.failures += 1
            self._failing[address] = event.reason
            return
        pace.failures = 0
        pace.idle = 0 if event.running or event.waiting else pace.idle + 1
        self._failing.pop(address, None)

    def _pause_s(self, pace: _Pace, interval_s: float | None = None) -> float:
        timing = self._timing
        interval_s = interval_s or timing.interval_s
        pause = self._round_s(interval_s)
        if pace.failures:
            # The exponent is bounded only to keep the power a number; the pause is bounded anyway.
            pause = max(pause, min(interval_s * 2.0 ** min(pace.failures, 16), timing.max_backoff_s))
        elif pace.idle >= IDLE_AFTER:
            pause = max(pause, timing.idle_interval_s)
        jittered = pause * (1 + self._rng.uniform(-JITTER, JITTER))
        return max(jittered, pace.retry_after_s, pace.reading_s / MOST_OF_TIME)

    def _round_s(self, interval_s: float | None) -> float:
        """The time in which each endpoint is asked once, under load."""
        return max(interval_s or self._timing.interval_s, len(self._watches) / self._timing.max_rate_per_s)

    async def _scrape(self, target: Target, pace: _Pace) -> Scraped | ScrapeFailed:
        pace.retry_after_s = pace.reading_s = 0.0
        try:
            scrape = await self._look(target, pace)
        except PageError as error:
            pace.retry_after_s = error.retry_after_s
            reason = str(error)
        except Exception as error:  # whatever an answer from outside trips over must not end the watch
            reason = str(error) or type(error).__name__
        else:
            return Scraped(address=target.address, at=self._clock(), **scrape.values())
        return ScrapeFailed(address=target.address, at=self._clock(), reason=reason)

    async def _look(self, target: Target, pace: _Pace) -> Scrape:
        """What the engine's pages tell together; raises PageError unless that is the load."""
        scrape, refused, wait_s = Scrape(), [], 0.0
        for page in self._due(target.adapter, pace):
            if page.is_detail and scrape.tells_load and not self._wants_details(pace):
                continue
            if page.is_detail:
                pace.detailed_at = self._clock()
            try:
                body = await self._pages.get(target.pool, target.host, page.path)
                scrape = merged(scrape, self._read(page, body, pace))
            except PageRefusedError as error:
                refused.append(_refusal(page, error))
                wait_s = max(wait_s, error.retry_after_s)
                if isinstance(error, PageMissingError):
                    pace.missing[page.path] = self._clock() + MISSING_S
            except PageError:
                if not (page.is_detail and scrape.tells_load):
                    raise
        if not scrape.tells_load:
            raise PageError("; ".join(refused) or _tells_nothing(target.adapter, scrape), wait_s)
        return scrape

    def _read(self, page: Page, body: bytes, pace: _Pace) -> Scrape:
        began = self._clock()
        scrape = page.read(body)
        pace.reading_s += self._clock() - began
        return scrape

    def _due(self, adapter: Adapter, pace: _Pace) -> tuple[Page, ...]:
        """The pages that are there as far as is known; all of them if none is."""
        now = self._clock()
        there = tuple(page for page in adapter.pages if pace.missing.get(page.path, now) <= now)
        return there or adapter.pages

    def _wants_details(self, pace: _Pace) -> bool:
        return pace.detailed_at is None or self._clock() - pace.detailed_at >= DETAIL_INTERVAL_S


def target_of(address: str, engine: str, pool: str = "", settings: ScrapeSettings | None = None) -> Target | None:
    """What is asked for an endpoint's numbers; None where nothing can be."""
    settings = settings or ScrapeSettings()
    try:
        adapter = adapter_of(engine, settings.metrics, settings.path) if settings.is_on else None
        if adapter is None:
            return None
        port = settings.port or adapter.port
        host = f"{address.rpartition(':')[0]}:{port}" if port else address
    except ValueError:
        return None  # the policy's own check has said so
    return Target(address=address, host=host, adapter=adapter, pool=pool, interval_s=settings.interval_s)


def _refusal(page: Page, error: PageRefusedError) -> str:
    needs = f" (it needs {page.needs})" if page.needs and isinstance(error, PageMissingError) else ""
    return f"{page.path}: {error}{needs}"


def _tells_nothing(adapter: Adapter, scrape: Scrape) -> str:
    untold = scrape.untold_load
    why = "; ".join(dict.fromkeys(adapter.missing[name] for name in untold if name in adapter.missing))
    return f"the page does not tell {' and '.join(untold)} requests" + (f" ({why})" if why else "")
