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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from ext_proc.core.announcements import Announced, Announcements
from ext_proc.core.decision import Answer, Canned, Named, Rejected, Unpicked, Waiting
from ext_proc.core.events import Event, RequestEnded, Scraped, ScrapeFailed, StreamEnded
from ext_proc.core.exchange import Release
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.sessions import Sessions
from ext_proc.core.settings import PickerSettings
from ext_proc.core.waiting_room import Released
from ext_proc.counters import Counters
from ext_proc.prediction_log import tell
from ext_proc.recordings import Recordings
from ext_proc.signals.intake import Intake
from ext_proc.signals.outcomes import Outcomes
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf, no_token, plaintext
from ext_proc.signals.scrape import ScrapeTiming
from ext_proc.stream import Stream
from ext_proc.tokens.status import prefix_status
from ext_proc.transport.grpcio import GrpcTransport
from ext_proc.waiters import Holder, Waiters
from ext_proc.wire import ExchangeWire
from ext_proc.wire_health import HealthWire
from ext_proc.wire_logs import LogWire
from ext_proc.wire_orca import OrcaWire
from protos.messages import Messages

if TYPE_CHECKING:
    from ext_proc.tokens.counting import Counting
    from ext_proc.tokens.files import ModelTokens
    from ext_proc.tokens.prompts import TokenCounts

log = logging.getLogger("kvpilot")

EXPIRE_INTERVAL_S: Final = 1.0
"""Reservations live for minutes; a second more does not count."""


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
        self.survey = picker.survey
        """What the picker knows; its times are those of `clock`."""
        self.recordings = Recordings(lambda: picker.settings, clock, self._note_bug)
        self._waiters = Waiters(picker, clock, rng, answered=self._note_waiter, note_bug=self._note_bug)
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
        self.intake = Intake(
            messages,
            on_event=self._apply,
            due=self._due_trials,
            is_known=picker.knows,
            clock=clock,
            rng=rng,
            counters=self.counters,
            scrape_timing=scrape_timing,
            pod_tls=pod_tls,
            pod_token=pod_token,
            gpu_token=gpu_token,
        )
        """What is asked of endpoints, and heard from them, beside requests."""
        self._pod_tls = pod_tls
        self._pod_token = pod_token
        self._counting: Counting | None = None
        self._models: Mapping[str, ModelTokens] = {}
        self._expiry: asyncio.Task[None] | None = None
        if picker.settings.tokenizers:
            self._picker.apply_settings(self._counted(picker.settings))

    async def start(self, addresses: Sequence[str], credentials: Any = None) -> list[str]:
        """Listens on `addresses` and gives the bound ones; raises `BindError` or `ValueError`, with nothing started.

        With `credentials` (`grpc.ServerCredentials`) it speaks TLS, without them plaintext.
        """
        bound = await self._transport.start(addresses, credentials)
        self._expiry = asyncio.create_task(self._expire(), name="expire reservations")
        self._outcomes.orca_names = self._picker.settings.orca
        self.intake.start(self._picker.settings)
        return bound

    async def stop(self, grace_s: float) -> None:
        """Stops within `grace_s`; harmless when called twice or before `start`.

        Requests that wait for a place go on without a pick.
        """
        self._waiters.close()
        await self._transport.stop(grace_s)
        await self.intake.stop()
        if self._counting is not None:
            await self._counting.prompts.stop()
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
            self._outcomes.orca_names = settings.orca
            self.intake.apply_settings(settings)
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
        pools = self.survey.pools(self._clock())
        for pool in self._picker.settings.pools:
            pools[pool.name]["prefix_index"] = prefix_status(pool, self._counting, pools[pool.name].pop("telling"))
        return {
            "pools": pools,
            "index": self.survey.index(),
            "token_sizes": self.survey.token_sizes(),
            "speed": self.survey.speed(),
            "sessions": self._picker.sessions.as_dict(),
            "open_streams": self.open_streams,
            "recordings": self.recordings.status(),
            **self.intake.status(),
        }

    @property
    def sessions(self) -> Sessions:
        """`ext_proc.core.picker.Picker.sessions`."""
        return self._picker.sessions

    @property
    def announcements(self) -> tuple[Announced, ...]:
        """What engines say of themselves now."""
        return self._announcements.standing()

    def decisions(self, limit: int) -> list[dict[str, Any]]:
        """The latest decisions as JSON values, newest first."""
        return [record.as_dict() for record in self._picker.decisions.latest(limit)]

    def decision(self, decision_id: str) -> dict[str, Any] | None:
        """One decision as JSON values; None when it is not, or no longer, known."""
        record = self._picker.decisions.get(decision_id)
        return None if record is None else record.as_dict()

    @property
    def open_streams(self) -> int:
        """How many ext_proc streams are open now."""
        return self._transport.open_streams

    @property
    def open_reservations(self) -> int:
        """How many requests the picker counts as in flight."""
        return self._picker.open_reservations

    def open(self) -> Stream:
        """A new ext_proc stream has come (for the transport)."""
        self.counters.streams += 1
        return Stream(self, self._wire, self.counters)

    def decide(self, facts: RequestFacts) -> Answer | Waiting:
        """The answer to one request, or that it waits for one (for its stream, like what follows)."""
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
            self._waiters.asked(answer.ticket, facts)
            return answer
        self._note_answer(facts, answer, started)
        return answer

    def _note_answer(self, facts: RequestFacts, answer: Answer, at: float) -> None:
        self._count(facts, answer)
        if self.recordings and isinstance(answer, Named):
            # After the answer is on its way: who is recorded waits no longer than others.
            cluster = _cluster(facts, answer)
            pool = self._pools.get(cluster, ("", ""))[0]
            served = replace(facts, cluster=cluster)
            asyncio.get_running_loop().call_soon(self.recordings.picked, served, pool, answer.decision_id, at)

    def _note_waiter(self, facts: RequestFacts, released: Released, now: float) -> None:
        self._note_answer(facts, released.answer, now - (released.waited_s or 0.0))
        if released.waited_s is not None:
            self.counters.wait_seconds.observe(released.waited_s)

    def hold(self, ticket: int, decided: Holder) -> None:
        """`decided` is to be called with the answer of this ticket."""
        if ticket < 0:
            assert self._counting is not None, "who gave the ticket"
            self._counting.when_done(ticket, lambda facts: decided(self._ask(facts)))
        else:
            self._waiters.hold(ticket, decided)

    def abandon(self, ticket: int) -> None:
        """The stream of this ticket is over."""
        if ticket < 0:
            assert self._counting is not None, "who gave the ticket"
            self._counting.abandon(ticket)
        else:
            self._waiters.abandon(ticket)

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
        self.recordings.apply(event)
        if len(self._waiters):
            self._waiters.look()

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

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_INTERVAL_S)
            try:
                self.counters.reservations_expired += self._picker.expire(self._clock())
            except Exception:
                self._note_bug("the expiry of reservations")
            self.recordings.tick()


def _cluster(facts: RequestFacts, named: Named) -> str:
    """Where the request goes: mostly where Envoy would send it by itself."""
    elsewhere = "" if named.degraded is None else named.degraded.cluster
    return elsewhere or facts.cluster


def _nobody_cares(announced: Announced) -> None:
    """Until somebody asks to be told."""


def _pools(settings: PickerSettings) -> dict[str, tuple[str, str]]:
    return {pool.cluster: (pool.name, pool.strategy) for pool in settings.pools}
