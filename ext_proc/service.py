"""The picker as a service: Envoy's questions and records come in over gRPC, the engines' numbers are fetched.

    service = PickerService(Picker(settings), messages, time.monotonic, random.Random())
    (bound,) = await service.start(["127.0.0.1:9002"])
    service.apply_settings(changed)
    await service.stop(grace_s=2.0)

The shell around the pure core: it holds the event loop's side of things and decides nothing. Whatever the core trips
over is counted, logged once, and costs a pick, never a request.
"""

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ext_proc.core.announcements import Announced, Announcements
from ext_proc.core.areas import Area
from ext_proc.core.decision import Answer, Canned, Named, Rejected, Unpicked, Waiting
from ext_proc.core.events import Event, RequestEnded, Scraped, ScrapeFailed, StreamEnded
from ext_proc.core.exchange import Abandon, Action, Decided, Exchange, ExchangeError, Hold, Release, StreamClosed
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.sessions import Sessions
from ext_proc.core.settings import PickerSettings
from ext_proc.core.verdicts import StateChange
from ext_proc.counters import Counters
from ext_proc.prediction_log import tell
from ext_proc.recorder import question_of
from ext_proc.recording import KEY_BYTES, Recording
from ext_proc.signals.gpu_exporters import Asked, GpuExporters
from ext_proc.signals.kv_feed import KvCounters, source_of
from ext_proc.signals.load_reports import LoadReports
from ext_proc.signals.model_lists import ModelLists
from ext_proc.signals.outcomes import Outcomes
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.readiness import Ask, Readiness
from ext_proc.signals.scrape import Scraper, ScrapeTiming
from ext_proc.signals.trials import TrialOf, Trying
from ext_proc.tokens.status import prefix_status
from ext_proc.transport.grpcio import GrpcTransport
from ext_proc.wire import ExchangeWire
from ext_proc.wire_health import HealthWire
from ext_proc.wire_loads import LoadWire
from ext_proc.wire_logs import LogWire
from ext_proc.wire_orca import OrcaWire
from protos.messages import Messages

if TYPE_CHECKING:
    from ext_proc.signals.kv_events import KvEvents
    from ext_proc.tokens.counting import Counting
    from ext_proc.tokens.files import ModelTokens
    from ext_proc.tokens.prompts import TokenCounts

log = logging.getLogger("kvpilot")

EXPIRE_INTERVAL_S: Final = 1.0
"""Reservations live for minutes; a second more does not count."""

MAX_RECORDINGS: Final = 4
"""At once: each hashes every prompt under a key of its own, and nobody needs as many."""


class TooManyRecordingsError(Exception):
    """As many recordings as may be are under way."""


WAITING_INTERVAL_S: Final = 0.05
"""How often it is looked after requests that wait, beside every event that may free a place: for their deadlines."""

MAX_RELEASED: Final = 32
"""Waiting requests that are answered in one go; then others have their turn, for each pick takes about 0.1 ms."""


class PickerService:
    """Mutable: the picker, the counters, what is running. All on one event loop, so nothing is locked."""

    def __init__(
        self,
        picker: Picker,
        messages: Messages,
        clock: Callable[[], float],
        rng: random.Random,
        *,
        scrape_timing: ScrapeTiming | None = None,
        pod_tls: PodTlsOf = plaintext,
        pod_token: PodTokenOf = no_token,
        gpu_token: PodTokenOf = no_token,
    ) -> None:
        """`clock` gives monotonic seconds, `rng` breaks ties and makes decision ids; `pod_tls` and `pod_token` say how
        a pool's pods are spoken to, `gpu_token` how the exporters of their hardware are."""
        self.counters = Counters()
        self.announced: Callable[[Announced], None] = _nobody_cares
        """Told at once when an engine says of itself that it wants nothing new, or that it does again."""
        self.watched: Callable[[Event], None] | None = None
        """Told of each event, after it was taken; None while nobody wants to know."""
        self._announcements = Announcements()
        self._picker = picker
        self._clock = clock
        self._rng = rng
        self._wire = ExchangeWire(messages)
        self._pools = _pools(picker.settings)
        self._outcomes = Outcomes(
            LogWire(messages), OrcaWire(messages), on_event=self._apply, clock=clock, counters=self.counters
        )
        self._transport = GrpcTransport(self, self._outcomes, HealthWire(messages))
        self._reports = LoadReports(
            LoadWire(messages), on_event=self._apply, is_known=picker.knows, clock=clock, counters=self.counters
        )
        self._scraper = Scraper(
            on_event=self._apply, clock=clock, rng=rng, timing=scrape_timing, pod_tls=pod_tls, pod_token=pod_token
        )
        self._model_lists = ModelLists(on_event=self._apply, clock=clock, rng=rng, pod_tls=pod_tls, pod_token=pod_token)
        self._readiness = Readiness(on_event=self._apply, clock=clock, rng=rng, pod_tls=pod_tls, pod_token=pod_token)
        self._trying = Trying(
            due=self._due_trials, on_event=self._apply, clock=clock, pod_tls=pod_tls, pod_token=pod_token
        )
        self._gpus = GpuExporters(on_event=self._apply, clock=clock, rng=rng, pod_tls=pod_tls, token=gpu_token)
        self._kv_events: KvEvents | None = None
        self._pod_tls = pod_tls
        self._pod_token = pod_token
        self._counting: Counting | None = None
        self._models: Mapping[str, ModelTokens] = {}
        self._recordings: list[Recording] = []
        self._expiry: asyncio.Task[None] | None = None
        self._waiting: dict[int, _Stream] = {}
        self._asked: dict[int, RequestFacts] = {}
        self._next_look: asyncio.TimerHandle | None = None
        if picker.settings.tokenizers:
            self._picker.apply_settings(self._counted(picker.settings))

    async def start(self, addresses: Sequence[str], credentials: Any = None) -> list[str]:
        """Listens on `addresses` and gives the bound ones; raises `BindError` or `ValueError`, with nothing started.

        With `credentials` (`grpc.ServerCredentials`) it speaks TLS, without them plaintext.
        """
        bound = await self._transport.start(addresses, credentials)
        self._scraper.start()
        self._expiry = asyncio.create_task(self._expire(), name="expire reservations")
        self._ask_all(self._picker.settings)
        return bound

    async def listen_for_reports(self, addresses: Sequence[str], credentials: Any = None) -> list[str]:
        """Takes load reports on `addresses`; raises as `start` does, which comes first."""
        return await self._reports.start(addresses, credentials)

    async def stop(self, grace_s: float) -> None:
        """Stops within `grace_s`; harmless when called twice or before `start`.

        Requests that wait for a place go on without a pick.
        """
        self._picker.close()
        for _ in range(len(self._waiting) // MAX_RELEASED + 1):
            self._answer_waiting()
        await self._reports.stop(0)
        await self._transport.stop(grace_s)
        await self._scraper.stop()
        await self._model_lists.stop()
        await self._readiness.stop()
        await self._trying.stop()
        await self._gpus.stop()
        if self._counting is not None:
            await self._counting.prompts.stop()
        if self._kv_events is not None:
            await self._kv_events.stop()
        if self._expiry is not None:
            self._expiry.cancel()
            await asyncio.gather(self._expiry, return_exceptions=True)
            self._expiry = None

    def apply_settings(self, settings: PickerSettings) -> None:
        """Picks under `settings` from now on; what is known about endpoints that stay is kept."""
        settings = self._counted(settings)
        self._picker.apply_settings(settings, self._clock())
        here = {endpoint.address for pool in settings.pools for endpoint in pool.endpoints}
        left = self._announcements.keep(here)
        self._pools = _pools(settings)
        if self._expiry is not None:
            self._ask_all(settings)
        for announced in left:  # not urgent, and whoever is told may want other settings again
            asyncio.get_running_loop().call_soon(self.announced, announced)

    def set_models(self, models: "Mapping[str, ModelTokens]") -> None:
        """The tokenizers of models that were read from files, by canonical name."""
        self._models = models
        if self._counting is not None:
            self._counting.prompts.set_models(models)

    def _counted(self, settings: PickerSettings) -> PickerSettings:
        """What of `settings` can be obeyed, as far as it depends on tokens."""
        if self._counting is None and settings.tokenizers:
            # As with KV events: most do without.
            from ext_proc.tokens.counting import Counting

            self._counting = Counting(self._clock, self._someone, self._pod_tls, self._pod_token, self.apply_settings)
            self._counting.prompts.set_models(self._models)
        return settings if self._counting is None else self._counting.apply_settings(settings)

    def _someone(self, cluster: str) -> str | None:
        return self._picker.someone(cluster, self._clock())

    @property
    def token_counts(self) -> "TokenCounts | None":
        """What became of requests for models with a tokenizer; None while there is none."""
        return None if self._counting is None else self._counting.prompts.counts

    def status(self) -> dict[str, Any]:
        """JSON values: the pools with their endpoints, and what does not work."""
        pools = self._picker.status(self._clock())
        for pool in self._picker.settings.pools:
            pools[pool.name]["prefix_index"] = prefix_status(pool, self._counting, pools[pool.name].pop("telling"))
        return {
            "pools": pools,
            "index": self._picker.index_status,
            "token_sizes": self._picker.sizes_status,
            "speed": self._picker.speed_status,
            "sessions": self._picker.sessions.as_dict(),
            "open_streams": self.open_streams,
            "recordings": [recording.status() for recording in self._recordings],
            "scrapes_failing": self._scraper.failing(),
            "gpus_failing": self.gpus_failing,
            "reporters": self._reports.open_streams,
            "kv_events": {} if self._kv_events is None else self._kv_events.status(),
            "kv_events_failing": self.kv_events_failing,
        }

    @property
    def sessions(self) -> Sessions:
        """`ext_proc.core.picker.Picker.sessions`."""
        return self._picker.sessions

    @property
    def kv_counters(self) -> KvCounters | None:
        """What KV events have come to; None while engines are not listened to."""
        return None if self._kv_events is None else self._kv_events.counters

    def is_sound(self, address: str) -> bool:
        """Whether nothing is held against an endpoint now."""
        return self._picker.is_sound(address, self._clock())

    def out(self) -> list[tuple[str, list[str], int]]:
        """`ext_proc.core.picker.Picker.out`, now."""
        return self._picker.out(self._clock())

    def why(self, address: str) -> str:
        """`ext_proc.core.fleet.Fleet.why`."""
        return self._picker.why(address)

    @property
    def is_anyone_out(self) -> bool:
        """`ext_proc.core.picker.Picker.is_anyone_out`."""
        return self._picker.is_anyone_out

    def health(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """`ext_proc.core.picker.Picker.health`, now."""
        return self._picker.health(self._clock())

    def degraded(self) -> list[dict[str, Any]]:
        """`ext_proc.core.picker.Picker.degraded`."""
        return self._picker.degraded()

    def areas(self, pool: str) -> list[Area]:
        """`ext_proc.core.picker.Picker.areas`, now."""
        return self._picker.areas(pool, self._clock())

    def take_health_changes(self) -> list[tuple[str, StateChange]]:
        """`ext_proc.core.picker.Picker.take_health_changes`."""
        return self._picker.take_health_changes()

    def doubted(self) -> list[tuple[str, str, float, str]]:
        """`ext_proc.core.picker.Picker.doubted`."""
        return self._picker.doubted()

    def switched_off(self) -> list[tuple[str, str]]:
        """`ext_proc.core.picker.Picker.switched_off`."""
        return self._picker.switched_off()

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

    @property
    def announcements(self) -> tuple[Announced, ...]:
        """What engines say of themselves now."""
        return self._announcements.standing()

    def load(self, address: str) -> tuple[int, float, float | None] | None:
        """`ext_proc.core.fleet.Fleet.load` of an endpoint, now."""
        return self._picker.load(address, self._clock())

    def in_flight(self, addresses: Iterable[str]) -> list[int]:
        """`ext_proc.core.picker.Picker.in_flight`."""
        return self._picker.in_flight(addresses)

    def decisions(self, limit: int) -> list[dict[str, Any]]:
        """The latest decisions as JSON values, newest first."""
        return [record.as_dict() for record in self._picker.decisions.latest(limit)]

    def decision(self, decision_id: str) -> dict[str, Any] | None:
        """One decision as JSON values; None when it is not, or no longer, known."""
        record = self._picker.decisions.get(decision_id)
        return None if record is None else record.as_dict()

    def record(self, name: str, *, pool: str = "", requests: int | None = None) -> Recording:
        """Begins to record picked requests, of one pool or of all, at most so many; `stop_recording` ends it.

        Raises KeyError for a pool that there is not, and TooManyRecordingsError.
        """
        if pool and all(each.name != pool for each in self._picker.settings.pools):
            raise KeyError(pool)
        if len(self._recordings) >= MAX_RECORDINGS:
            raise TooManyRecordingsError
        key = secrets.token_bytes(KEY_BYTES)
        recording = Recording(name, key, started_at=self._clock(), pool=pool, requests=requests)
        self._recordings.append(recording)
        return recording

    def stop_recording(self, recording: Recording) -> None:
        """Nothing is recorded there any more; harmless when called twice."""
        if recording in self._recordings:
            self._recordings.remove(recording)

    @property
    def open_streams(self) -> int:
        """How many ext_proc streams are open now."""
        return self._transport.open_streams

    @property
    def open_reservations(self) -> int:
        """How many requests the picker counts as in flight."""
        return self._picker.open_reservations

    def open(self) -> "_Stream":
        """A new ext_proc stream has come (for the transport)."""
        self.counters.streams += 1
        return _Stream(Exchange(self._decide), self._wire, self, self.counters)

    def _decide(self, facts: RequestFacts) -> Answer | Waiting:
        if self._counting is None:
            return self._ask(facts)
        try:
            found = self._counting.begin(facts)
        except Exception:
            self._note_bug("the tokens of a prompt")
            return self._ask(facts)
        return found if isinstance(found, Waiting) else self._ask(found)

    def _ask(self, facts: RequestFacts) -> Answer | Waiting:
        started = self._clock()
        answer: Answer | Waiting
        try:
            answer = self._picker.ask(facts, started, self._rng)
        except Exception:
            self._note_bug("a pick")
            answer = Unpicked(reason="internal error")
        self.counters.decision_seconds.observe(self._clock() - started)
        if isinstance(answer, Waiting):
            self._asked[answer.ticket] = facts
            return answer
        self._note_answer(facts, answer, started)
        return answer

    def _note_answer(self, facts: RequestFacts, answer: Answer, at: float) -> None:
        self._count(facts, answer)
        if self._recordings and isinstance(answer, Named):
            # After the answer is on its way: who is recorded waits no longer than others.
            served = replace(facts, cluster=_cluster(facts, answer))
            asyncio.get_running_loop().call_soon(self._tell, served, answer.decision_id, at)

    def hold(self, ticket: int, stream: "_Stream") -> None:
        """A stream waits for the answer of this ticket."""
        if ticket < 0:
            assert self._counting is not None, "who gave the ticket"
            self._counting.when_done(ticket, lambda facts: stream.decided(self._ask(facts)))
            return
        self._waiting[ticket] = stream
        # Not at once: the stream is told first that it waits.
        asyncio.get_running_loop().call_soon(self._look_after_waiting)

    def abandon(self, ticket: int) -> None:
        """The stream of this ticket is over."""
        if ticket < 0:
            assert self._counting is not None, "who gave the ticket"
            self._counting.abandon(ticket)
            return
        self._waiting.pop(ticket, None)
        self._asked.pop(ticket, None)
        self._picker.leave(ticket)

    def _look_after_waiting(self) -> None:
        """Answers who can be answered, and comes again while anybody waits."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if not self._waiting:
            return
        is_more = self._answer_waiting()
        if self._waiting:
            delay_s = 0.0 if is_more else WAITING_INTERVAL_S
            self._next_look = asyncio.get_running_loop().call_later(delay_s, self._look_after_waiting)

    def _answer_waiting(self) -> bool:
        """Answers some of those who wait; whether there may be more that can be answered now."""
        answered = 0
        now = self._clock()
        try:
            for released in self._picker.released(now, self._rng):
                stream = self._waiting.pop(released.ticket)
                stream.decided(released.answer)
                arrived_at = now - (released.waited_s or 0.0)
                self._note_answer(self._asked.pop(released.ticket), released.answer, arrived_at)
                if released.waited_s is not None:
                    self.counters.wait_seconds.observe(released.waited_s)
                answered += 1
                if answered == MAX_RELEASED:
                    return True
        except Exception:
            self._note_bug("the answer to a request that waited")
        return False

    def _tell_recordings(self, what: Callable[[Recording], None]) -> None:
        try:
            for recording in self._recordings:
                what(recording)
        except Exception:
            self._note_bug("a recording")

    def _tell(self, facts: RequestFacts, decision_id: str, at: float) -> None:
        """Tells the recordings of one pick."""
        pool = self._pools.get(facts.cluster, ("", ""))[0]
        wanting = [recording for recording in self._recordings if recording.wants(pool)]
        if not wanting:
            return
        try:
            question = question_of(self._picker.settings, facts, pool, decision_id, at)
            if question is not None:
                for recording in wanting:
                    recording.picked(question)
        except Exception:
            self._note_bug("a recording")

    def _count(self, facts: RequestFacts, answer: Answer) -> None:
        if not isinstance(answer, Unpicked) and answer.degraded is not None:
            self.counters.degraded[answer.degraded.model, str(answer.degraded.level), answer.degraded.to] += 1
        match answer:
            case Named():
                self.counters.picked[self._pools.get(_cluster(facts, answer), ("", ""))] += 1
            case Rejected() | Canned():
                self.counters.rejected[answer.status] += 1
            case Unpicked():
                self.counters.count_unpicked(answer.reason)

    def release(self, release: Release) -> None:
        """The stream of a decision is over."""
        self._apply(StreamEnded(decision_id=release.decision_id, at=self._clock(), closed_by_us=release.closed_by_us))

    def _apply(self, event: Event) -> None:
        match event:
            case Scraped():
                self.counters.scrapes_ok += 1
            case ScrapeFailed():
                self.counters.scrapes_failed += 1
            case RequestEnded():
                self.counters.count_ended(event.status, aborted=event.aborted)
                self.counters.count_tokens(event.prompt_tokens, event.cached_tokens, event.completion_tokens)
            case _:
                pass
        try:
            self._picker.apply(event)
            if self.watched is not None:
                self.watched(event)
            announced = self._announcements.apply(event)
            if announced is not None:
                self.announced(announced)
            if isinstance(event, RequestEnded):
                for change in self._picker.take_changes():
                    tell(change, self.counters.predictions_changed)
        except Exception:
            self._note_bug(f"an event of type {type(event).__name__}")
        if self._recordings:
            self._tell_recordings(lambda recording: recording.apply(event))
        if self._waiting:
            self._look_after_waiting()

    def _due_trials(self, most: int) -> list[str]:
        try:
            return self._picker.due_trials(self._clock(), most)
        except Exception:
            self._note_bug("the choice of who is tried")
            return []

    def _note_bug(self, what: str) -> None:
        self.counters.internal_errors += 1
        if self.counters.internal_errors == 1:
            log.exception("%s failed inside the picker; requests go on, further failures are only counted", what)

    def _ask_all(self, settings: PickerSettings) -> None:
        self._outcomes.orca_names = settings.orca
        self._reports.any_reporter = settings.any_reporter
        self._scrape_all(settings)
        self._readiness.set_endpoints(_asks(settings))
        self._trying.set_endpoints(_trials(settings))
        self._gpus.set_endpoints(_gpus(settings))
        self._listen_all(settings)

    def _listen_all(self, settings: PickerSettings) -> None:
        sources = {
            endpoint.address: source_of(endpoint.address, pool.kv_events)
            for pool in reversed(settings.pools)  # an endpoint in several pools is what the first one says
            if pool.kv_events is not None
            for endpoint in pool.endpoints
        }
        if self._kv_events is None and sources:
            # Most do without, and ZMQ takes its time to load.
            from ext_proc.signals.kv_events import KvEvents

            self._kv_events = KvEvents(on_event=self._apply, clock=self._clock)
            self._kv_events.start()
        if self._kv_events is not None:
            self._kv_events.set_sources(sources)

    def _scrape_all(self, settings: PickerSettings) -> None:
        self._scraper.set_endpoints(
            {endpoint.address: endpoint.engine for pool in settings.pools for endpoint in pool.endpoints},
            {endpoint.address: pool.name for pool in settings.pools for endpoint in pool.endpoints},
            {pool.name: pool.scrape for pool in settings.pools},
        )
        self._model_lists.set_endpoints(
            {
                endpoint.address: pool.name
                for pool in reversed(settings.pools)
                if pool.scrape.is_on and any(each.model for each in pool.filters)
                for endpoint in pool.endpoints
            }
        )

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_INTERVAL_S)
            try:
                self.counters.reservations_expired += self._picker.expire(self._clock())
            except Exception:
                self._note_bug("the expiry of reservations")
            self._tell_recordings(lambda recording: recording.tick(self._clock()))


def _asks(settings: PickerSettings) -> dict[str, Ask]:
    """Who is asked whether it is ready, and how; an endpoint in several pools as the first one says."""
    return {
        endpoint.address: Ask(
            pool=pool.name, probe=pool.health.probe, model=pool.base_model if pool.health.probe.models else ""
        )
        for pool in reversed(settings.pools)
        if pool.health is not None and pool.health.probe is not None
        for endpoint in pool.endpoints
    }


def _gpus(settings: PickerSettings) -> dict[str, Asked]:
    """Whose hardware is asked for; an endpoint in several pools as the first one says."""
    judged = {
        endpoint.address: (pool.name, pool.health.gpu, endpoint.labels)
        for pool in reversed(settings.pools)
        if pool.health is not None
        for endpoint in pool.endpoints
    }
    return {address: Asked(pool=pool, gpu=gpu, labels=labels) for address, (pool, gpu, labels) in judged.items() if gpu}


def _cluster(facts: RequestFacts, named: Named) -> str:
    """Where the request goes: mostly where Envoy would send it by itself."""
    elsewhere = "" if named.degraded is None else named.degraded.cluster
    return elsewhere or facts.cluster


def _trials(settings: PickerSettings) -> dict[str, TrialOf]:
    """Who may be asked for a token, and how; an endpoint in several pools as the first one says."""
    return {
        endpoint.address: TrialOf(pool=pool.name, model=pool.base_model, timeout_s=pool.health.trial.timeout_s)
        for pool in reversed(settings.pools)
        if pool.health is not None and pool.health.trial is not None
        for endpoint in pool.endpoints
    }


def _nobody_cares(announced: Announced) -> None:
    """Until somebody asks to be told."""


def _pools(settings: PickerSettings) -> dict[str, tuple[str, str]]:
    return {pool.cluster: (pool.name, pool.strategy) for pool in settings.pools}


class _Stream:
    """One ext_proc stream (a `StreamHandler`). Mutable: its exchange, and the answer that it waits for."""

    __slots__ = ("_counters", "_exchange", "_later", "_service", "_wire")

    def __init__(self, exchange: Exchange, wire: ExchangeWire, service: PickerService, counters: Counters) -> None:
        self._exchange = exchange
        self._wire = wire
        self._service = service
        self._counters = counters
        self._later: asyncio.Future[list[bytes]] | None = None

    @property
    def is_answered(self) -> bool:
        return self._exchange.is_answered

    @property
    def later(self) -> "asyncio.Future[list[bytes]] | None":
        return self._later

    def feed(self, data: bytes) -> list[bytes]:
        try:
            actions = self._exchange.handle(self._wire.decode(data))
        except ExchangeError:
            self._counters.stream_errors += 1
            raise
        self._hold(actions)
        return self._encoded(actions)

    def _hold(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Hold):
                self._later = asyncio.get_running_loop().create_future()
                self._service.hold(action.ticket, self)

    def decided(self, answer: Answer | Waiting) -> None:
        """The answer has come, or that the request has to wait on."""
        later = self._later
        assert later is not None, "who did not wait has its answer"
        actions = self._exchange.handle(Decided(answer))
        self._hold(actions)
        later.set_result(self._encoded(actions))

    def ended(self, *, by_us: bool) -> None:
        for action in self._exchange.handle(StreamClosed(by_us=by_us)):
            if isinstance(action, Release):
                self._service.release(action)
            elif isinstance(action, Abandon):
                self._service.abandon(action.ticket)

    def _encoded(self, actions: Sequence[Action]) -> list[bytes]:
        answers = (self._wire.encode(action) for action in actions)
        return [answer for answer in answers if answer is not None]
