"""Everything about endpoints that does not come with a request: who is asked, and listened to, as the settings say.

    intake = Intake(messages, on_event=apply, due=due, is_known=picker.knows, clock=time.monotonic, rng=rng, counters=…)
    intake.start(settings)
    intake.apply_settings(changed)
    await intake.stop()

It decides nothing: each source has a module of its own beside this one. An endpoint that is in several pools is asked
as the first of them says.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ext_proc.core.events import Event
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.counters import Counters
from ext_proc.signals.gpu_exporters import Asked, GpuExporters
from ext_proc.signals.kv_feed import KvCounters, source_of
from ext_proc.signals.load_reports import LoadReports
from ext_proc.signals.model_lists import ModelLists
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.readiness import Ask, Readiness
from ext_proc.signals.scrape import Scraper, ScrapeTiming
from ext_proc.signals.trials import TrialOf, Trying
from ext_proc.wire_loads import LoadWire
from protos.messages import Messages

if TYPE_CHECKING:
    from ext_proc.signals.kv_events import KvEvents


class Intake:
    """Mutable: what is running. All on one event loop."""

    def __init__(
        self,
        messages: Messages,
        *,
        on_event: Callable[[Event], None],
        due: Callable[[int], list[str]],
        is_known: Callable[[str], bool],
        clock: Callable[[], float],
        rng: random.Random,
        counters: Counters,
        scrape_timing: ScrapeTiming | None = None,
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
        gpu_token: PodTokenOf = no_token,
    ) -> None:
        """`on_event` gets each event and must not raise; `clock` gives monotonic seconds.

        `due` gives at most so many addresses that are to be asked for a token now; `is_known` says whether an address
        may report its load. `pod_tls` and `pod_token` say how a pool's pods are spoken to, `gpu_token` how the
        exporters of their hardware are.
        """
        self._on_event = on_event
        self._clock = clock
        self._reports = LoadReports(
            LoadWire(messages), on_event=on_event, is_known=is_known, clock=clock, counters=counters
        )
        self._scraper = Scraper(
            on_event=on_event, clock=clock, rng=rng, timing=scrape_timing, pod_tls=pod_tls, pod_token=pod_token
        )
        self._model_lists = ModelLists(on_event=on_event, clock=clock, rng=rng, pod_tls=pod_tls, pod_token=pod_token)
        self._readiness = Readiness(on_event=on_event, clock=clock, rng=rng, pod_tls=pod_tls, pod_token=pod_token)
        self._trying = Trying(due=due, on_event=on_event, clock=clock, pod_tls=pod_tls, pod_token=pod_token)
        self._gpus = GpuExporters(on_event=on_event, clock=clock, rng=rng, pod_tls=pod_tls, token=gpu_token)
        self._kv_events: KvEvents | None = None

    def start(self, settings: PickerSettings) -> None:
        """Begins to ask."""
        self._scraper.start()
        self.apply_settings(settings)

    async def listen_for_reports(self, addresses: Sequence[str], credentials: Any = None) -> list[str]:
        """Takes load reports on `addresses` and gives the bound ones; raises `BindError` or `ValueError`."""
        return await self._reports.start(addresses, credentials)

    async def stop(self) -> None:
        """Ends all of it; harmless when called twice or before `start`."""
        await self._reports.stop(0)
        await self._scraper.stop()
        await self._model_lists.stop()
        await self._readiness.stop()
        await self._trying.stop()
        await self._gpus.stop()
        if self._kv_events is not None:
            await self._kv_events.stop()

    def apply_settings(self, settings: PickerSettings) -> None:
        """Asks, and listens, as these say; to be called after `start`."""
        self._reports.any_reporter = settings.any_reporter
        self._scraper.set_endpoints(
            {endpoint.address: endpoint.engine for pool in settings.pools for endpoint in pool.endpoints},
            {endpoint.address: pool.name for pool in settings.pools for endpoint in pool.endpoints},
            {pool.name: pool.scrape for pool in settings.pools},
        )
        self._model_lists.set_endpoints(_lists(settings))
        self._readiness.set_endpoints(_asks(settings))
        self._trying.set_endpoints(_trials(settings))
        self._gpus.set_endpoints(_gpus(settings))
        self._listen(settings)

    @property
    def kv_counters(self) -> KvCounters | None:
        """What KV events have come to; None while engines are not listened to."""
        return None if self._kv_events is None else self._kv_events.counters

    @property
    def kv_events_failing(self) -> Mapping[str, str]:
        """Addresses whose cache events cannot be listened to, and why."""
        return {} if self._kv_events is None else self._kv_events.failing()

    @property
    def gpus_failing(self) -> Mapping[str, str]:
        """Exporters of hardware numbers that cannot be read, and why."""
        return self._gpus.failing()

    @property
    def gpu_reads(self) -> Mapping[str, int]:
        """How many of their pages were read (`ok`), and how many could not be (`failed`)."""
        return self._gpus.reads

    @property
    def trials(self) -> Mapping[tuple[str, str], int]:
        """How many endpoints that failed were asked for a token, by pool and result (`Trying.results`)."""
        return self._trying.results

    def status(self) -> dict[str, Any]:
        """JSON values: who tells, and what does not work."""
        return {
            "scrapes_failing": self._scraper.failing(),
            "gpus_failing": self.gpus_failing,
            "reporters": self._reports.open_streams,
            "kv_events": {} if self._kv_events is None else self._kv_events.status(),
            "kv_events_failing": self.kv_events_failing,
        }

    def _listen(self, settings: PickerSettings) -> None:
        sources = {
            endpoint.address: source_of(endpoint.address, pool.kv_events)
            for pool, endpoint in _last_to_first(settings)
            if pool.kv_events is not None
        }
        if self._kv_events is None and sources:
            # Most do without, and ZMQ takes its time to load.
            from ext_proc.signals.kv_events import KvEvents

            self._kv_events = KvEvents(on_event=self._on_event, clock=self._clock)
            self._kv_events.start()
        if self._kv_events is not None:
            self._kv_events.set_sources(sources)


def _last_to_first(settings: PickerSettings) -> Iterator[tuple[PoolSettings, EndpointSettings]]:
    """Every endpoint of every pool, so that the first pool has the last word in a table by address."""
    return ((pool, endpoint) for pool in reversed(settings.pools) for endpoint in pool.endpoints)


def _lists(settings: PickerSettings) -> dict[str, str]:
    """Who is asked which models it has, as which pool's."""
    return {
        endpoint.address: pool.name
        for pool, endpoint in _last_to_first(settings)
        if pool.scrape.is_on and any(each.model for each in pool.filters)
    }


def _asks(settings: PickerSettings) -> dict[str, Ask]:
    """Who is asked whether it is ready, and how."""
    return {
        endpoint.address: Ask(
            pool=pool.name, probe=pool.health.probe, model=pool.base_model if pool.health.probe.models else ""
        )
        for pool, endpoint in _last_to_first(settings)
        if pool.health is not None and pool.health.probe is not None
    }


def _trials(settings: PickerSettings) -> dict[str, TrialOf]:
    """Who may be asked for a token, and how."""
    return {
        endpoint.address: TrialOf(pool=pool.name, model=pool.base_model, timeout_s=pool.health.trial.timeout_s)
        for pool, endpoint in _last_to_first(settings)
        if pool.health is not None and pool.health.trial is not None
    }


def _gpus(settings: PickerSettings) -> dict[str, Asked]:
    """Whose hardware is asked for."""
    judged = {
        endpoint.address: (pool.name, pool.health.gpu, endpoint.labels)
        for pool, endpoint in _last_to_first(settings)
        if pool.health is not None
    }
    return {address: Asked(pool=pool, gpu=gpu, labels=labels) for address, (pool, gpu, labels) in judged.items() if gpu}
