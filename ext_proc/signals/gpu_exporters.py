"""Asks exporters of hardware numbers how the GPUs behind endpoints are, each exporter once for all its endpoints.

    exporters = GpuExporters(on_event=picker.apply, clock=time.monotonic, rng=rng)
    exporters.set_endpoints({"10.0.0.1:8000": Asked(pool="chat", gpu=GpuSettings(), labels={})})
    ...
    await exporters.stop()

An exporter usually runs once on a node and tells of all its GPUs. One that cannot be read is no broken GPU: that is
told as `GpusUntold`, and shown in `failing`. What pages tell: `ext_proc.signals.gpu_pages`.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Final

from ext_proc.core.endpoint_text import LabelError, filled
from ext_proc.core.gpus import Gpu, GpusTold, GpusUntold
from ext_proc.core.settings import GpuSettings
from ext_proc.signals.fetch import PageClient, PageError
from ext_proc.signals.gpu_pages import Row, matching, read
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.rounds import Rounds

log = logging.getLogger(__name__)

MAX_TIMEOUT_S: Final = 60.0
"""Of the client; each pool has a bound of its own below it."""

MAX_REASON: Final = 200
"""Characters of a reason, which may hold words of the exporter's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One endpoint, whose labels say where its exporter is and which of its GPUs are meant."""

    pool: str
    gpu: GpuSettings
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Terms:
    """How an exporter is asked. `pool` is whose certificates and token are used; empty where neither is needed, so that
    endpoints of several pools are one question."""

    pool: str
    has_token: bool
    interval_s: float
    timeout_s: float


_Match = tuple[tuple[str, str], ...]
_Asker = tuple[str, _Match]
"""Address of an endpoint, and labels of its GPUs."""

_NOWHERE: Final = ""
"""In place of a URL, for endpoints that have none: nothing is learned of them, in the same rounds as of others."""


class GpuExporters:
    """Mutable: the rounds, who is asked for whom, the client, the counts. All on one event loop."""

    def __init__(
        self,
        *,
        on_event: Callable[[GpusTold | GpusUntold], None],
        clock: Callable[[], float],
        rng: random.Random,
        pod_tls: PodTlsOf = plaintext,
        token: PodTokenOf = no_token,
    ) -> None:
        """As for `Scraper`: `on_event` must not raise, `clock` gives `at`; certificates and tokens are asked for each
        time. `pod_tls` is used for https alone, and `token` is the exporter's."""
        self._on_event = on_event
        self._clock = clock
        self._pod_tls = pod_tls
        self._token = token
        self._client: PageClient | None = None
        self._askers: dict[tuple[str, _Terms], list[_Asker]] = {}
        self._failing: dict[tuple[str, _Terms], str] = {}
        self._unplaced: dict[str, str] = {}
        self._shared: Set[str] = frozenset()
        self._rounds: Rounds[_Terms] = Rounds(self._ask, lambda terms: terms.interval_s, rng, "GPUs")
        self.reads: Counter[str] = Counter()
        """Pages that were read (`ok`) and that were not (`failed`)."""

    def set_endpoints(self, asked: Mapping[str, Asked]) -> None:
        """Asks for exactly these from now on. Needs a running event loop; exporters that stay are not disturbed."""
        if asked and self._client is None:
            self._client = PageClient(timeout_s=MAX_TIMEOUT_S)
        askers: dict[tuple[str, _Terms], list[_Asker]] = {}
        unplaced: dict[str, str] = {}
        for address, each in asked.items():
            try:
                url = filled(each.gpu.url, address, each.labels, is_url=True)
                match = tuple((name, filled(value, address, each.labels)) for name, value in each.gpu.match)
            except LabelError as error:
                unplaced[address] = str(error)
                url, match = _NOWHERE, ()
            askers.setdefault((url, _terms(url, each)), []).append((address, match))
        self._askers, self._unplaced = askers, unplaced
        self._tell_shared()
        self._failing = {key: reason for key, reason in self._failing.items() if key in askers}
        self._rounds.set(askers)

    def failing(self) -> Mapping[str, str]:
        """Exporters that could not be read the last time, and endpoints that have none, with the reason."""
        return {**self._unplaced, **{url: reason for (url, _), reason in self._failing.items()}}

    def _tell_shared(self) -> None:
        """A line for pages of which several endpoints have all GPUs: discovery may have brought them."""
        shared = {url for (url, _), each in self._askers.items() if url and sum(not match for _, match in each) > 1}
        if new := sorted(shared - self._shared):
            log.warning(
                "%s%s: several endpoints are judged by all GPUs there; `match` says whose is whose",
                *(new[0], f" and {len(new) - 1} more" if len(new) > 1 else ""),
            )
        self._shared = shared

    async def stop(self) -> None:
        """Ends all asking; harmless when called twice."""
        await self._rounds.stop()
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def _ask(self, url: str, terms: _Terms) -> float:
        """Tells what an exporter says; gives the seconds until the next question."""
        pause_s = terms.interval_s
        if url == _NOWHERE:
            for address, _ in self._askers.get((url, terms), ()):
                self._on_event(GpusUntold(address=address, at=self._clock()))
            return pause_s
        rows: tuple[Row, ...] = ()
        fault = ""
        try:
            rows = await self._read(url, terms)
        except PageError as error:
            fault, pause_s = str(error), max(pause_s, error.retry_after_s)
        except TimeoutError:
            fault = f"no answer within {terms.timeout_s:g} s"
        except Exception as error:  # whatever an answer from outside trips over must not end the asking
            fault = str(error) or type(error).__name__
        self.reads["failed" if fault else "ok"] += 1
        askers = self._askers.get((url, terms), ())
        missing = [address for address, match in askers if not self._tell(address, matching(rows, match), url, match)]
        if missing and not fault:
            fault = f"no GPU there matches {', '.join(missing)}"
        if fault:
            self._failing[url, terms] = fault[:MAX_REASON]
        else:
            self._failing.pop((url, terms), None)
        return pause_s

    def _tell(self, address: str, gpus: tuple[Gpu, ...], url: str, match: _Match) -> bool:
        at = self._clock()
        if not gpus:
            self._on_event(GpusUntold(address=address, at=at))
            return False
        source = " ".join((url, *(f"{name}={value}" for name, value in match)))
        self._on_event(GpusTold(address=address, at=at, gpus=gpus, source=source))
        return True

    async def _read(self, url: str, terms: _Terms) -> tuple[Row, ...]:
        assert self._client is not None, "there is one while anybody is asked for"
        tls = self._pod_tls(terms.pool) if url.startswith("https:") else None
        token = self._token(terms.pool) if terms.has_token else ""
        if tls is not None and tls.context is None:
            raise PageError("the certificates for its pool are missing")
        if token is None:
            raise PageError("the token file for it is missing")
        async with asyncio.timeout(terms.timeout_s):
            return read(await self._client.get(url, tls=tls, token=token))


def _terms(url: str, asked: Asked) -> _Terms:
    gpu = asked.gpu
    pool = asked.pool if gpu.has_token or url.startswith("https:") else ""
    return _Terms(pool=pool, has_token=gpu.has_token, interval_s=gpu.interval_s, timeout_s=gpu.timeout_s)
