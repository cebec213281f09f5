"""The picker: one question, one answer; then it learns from events what came of it.

    picker = Picker(settings)
    match picker.decide(facts, now, rng):
        case Named(decision_id=id, endpoints=addresses): ...
    picker.apply(RequestEnded(decision_id=id, ...))

It ties the parts together and decides nothing that one of them could. All of it runs on one thread. `now` is the
caller's monotonic clock in seconds. What is known about endpoints (`ext_proc.core.fleet`) and pools outlives every
change of the settings.
"""

import random
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ext_proc.core.choice import Choice
from ext_proc.core.decision import Answer, Named, Rejected, Unpicked, Waiting
from ext_proc.core.events import (
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    Event,
    LoadReported,
    ModelsListed,
    Picked,
    Probed,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    Tried,
)
from ext_proc.core.failing import LOOK_AT_ERRORS
from ext_proc.core.first_byte import first_byte_ms
from ext_proc.core.fleet import Fleet
from ext_proc.core.gpus import GpusTold, GpusUntold
from ext_proc.core.history import History
from ext_proc.core.homing import homing
from ext_proc.core.learned import Learned
from ext_proc.core.pool import Pool, deciders, prepared
from ext_proc.core.prediction import predicted
from ext_proc.core.reception import Reception
from ext_proc.core.record import Decisions, Record
from ext_proc.core.request import RequestFacts
from ext_proc.core.sessions import Sessions
from ext_proc.core.settings import PickerSettings
from ext_proc.core.survey import Survey
from ext_proc.core.truth import Change
from ext_proc.core.waiting_room import Released, without_wait
from ext_proc.core.wanted import Asking, Wanted, no_endpoint, read, wanted_of
from ext_proc.core.warming import newcomers

__all__ = ["Named", "Picker", "Rejected", "Unpicked", "Wanted"]

# The log record of a request's end comes after its timeout: a flush interval, and slack for a slow log.
RESERVATION_SLACK_S = 10.0


class _Placed(NamedTuple):
    """A reserved place, behind `work` tokens, those of the request itself included."""

    decision_id: str
    endpoints: tuple[str, ...]
    work: int


class Picker:
    """Names endpoints for requests.

    `wall_offset_s` is Unix time minus the caller's monotonic clock, in seconds; records and the policy's own answers
    show it, and nothing depends on it. `shadow_rng` are the chances of shadows; without it there are none, whatever the
    settings say. `session_key` is that of `ext_proc.core.sessions`. `own_clock` takes the time of users' own
    strategies, in seconds.
    Raises ValueError, as `apply_settings` does, for an unknown strategy.

    Mutable: the fleet, the pools' history, the decisions; and settings and pools, which are replaced as a whole.
    """

    def __init__(
        self,
        settings: PickerSettings,
        *,
        wall_offset_s: float = 0.0,
        shadow_rng: random.Random | None = None,
        session_key: bytes = b"",
        own_clock: Callable[[], float] | None = None,
    ) -> None:
        self._wall_offset_s = wall_offset_s
        self._shadow_rng = shadow_rng
        self._own_clock = own_clock
        self._fleet = Fleet(session_key)
        self._learned = Learned()
        self._history: dict[str, History] = {}
        self._pools: dict[str, Pool] = {}
        self._reception = Reception(
            self._fleet, self._learned.sizes, self._pick, self._first_token_ms, wall_offset_s=wall_offset_s
        )
        self._telling: frozenset[str] = frozenset()
        self.survey = Survey(self._fleet, self._learned, self._reception)
        """What is known, for whoever looks."""
        self.decisions = Decisions()
        self.apply_settings(settings)

    @property
    def settings(self) -> PickerSettings:
        """What the picker obeys now."""
        return self._settings

    @property
    def open_reservations(self) -> int:
        """Requests that are accounted for as being in flight."""
        return len(self._fleet.ledger)

    def apply_settings(self, settings: PickerSettings, now: float | None = None) -> None:
        """Takes new settings; all or, raising ValueError, nothing of them.

        Who joins a pool that serves already is cold from `now` on; without it nobody is.
        """
        has_shadows = self._shadow_rng is not None
        who = [
            deciders(pool, self._pools.get(pool.cluster), has_shadows=has_shadows, clock=self._own_clock)
            for pool in settings.pools
        ]
        joining = newcomers(settings.pools, {cluster: pool.settings for cluster, pool in self._pools.items()})
        # Who left and comes back while requests still run there has kept what is known of it, and its cache.
        joining = frozenset(address for address in joining if self._fleet.slots.get(address) is None)
        telling = _telling(settings)
        self._fleet.want({endpoint.address for pool in settings.pools for endpoint in pool.endpoints}, now)
        for address in self._telling - telling:
            self._fleet.unheard(address)
        self._telling = telling
        self._fleet.warm_up(settings.pools, joining, now)
        self._fleet.soundness.configure(settings.pools)
        made = [prepared(pool, each, self._fleet.slots) for pool, each in zip(settings.pools, who, strict=True)]
        self._pools = {pool.settings.cluster: pool for pool in made}
        self._history = {pool.name: self._history.get(pool.name, History()) for pool in settings.pools}
        self._learned.want(settings.pools)
        self._settings = settings
        self._reception.apply_settings(settings, self._pools, now)
        self.survey.apply_settings({pool.settings.name: pool for pool in made}, self._history)

    def decide(self, facts: RequestFacts, now: float, rng: random.Random) -> Answer:
        """Answers one request and reserves its place; never raises, whatever the request holds."""
        asking = read(facts, self._settings, self._pools, self._learned.sizes)
        if not isinstance(asking, Asking):
            return asking
        pool = self._pools[facts.cluster]
        return self._pick(pool, asking, now, rng) if len(pool.levels.slots) else no_endpoint(pool)

    def ask(self, facts: RequestFacts, now: float, rng: random.Random) -> Answer | Waiting:
        """As `decide`, where the pool's admission lets the request in; else it waits, or is refused. A model that may
        be degraded goes elsewhere where its pool cannot serve it (`ext_proc.core.reception`).

        The answers to those who wait come from `released`.
        """
        return self._reception.ask(facts, now, rng)

    @property
    def waiting(self) -> int:
        """How many were told to wait and have no answer yet."""
        return self._reception.waiting

    def released(self, now: float, rng: random.Random) -> Iterator[Released]:
        """The answers that can be given now; to be fetched after every event, and often enough to keep deadlines."""
        return self._reception.released(now, rng)

    def leave(self, ticket: int) -> None:
        """A client that waited went away."""
        self._reception.leave(ticket)

    def close(self) -> None:
        """Nobody waits any more, and nobody is asked to: it is left to Envoy where those go."""
        self._reception.close()

    def due_trials(self, now: float, most: int) -> list[str]:
        """At most so many addresses that are to be asked for a token now (`ext_proc.core.trials`), each once; `Tried`
        tells the end."""
        return self._fleet.soundness.due(now, most)

    def someone(self, cluster: str, now: float) -> str | None:
        """An endpoint to ask something of beside a request: of those that may be named the one with the fewest."""
        pool = self._pools.get(cluster)
        if pool is None or not len(pool.levels.slots):
            return None
        slots = next(pool.levels.groups(self._fleet.health, now)).slots
        return self._fleet.slots.address(int(slots[self._fleet.ledger.in_flight[slots].argmin()]))

    def place(self, cluster: str, wanted: Wanted, now: float, rng: random.Random) -> Answer:
        """As `decide`, for a request without a body: whoever replays prompts has their blocks and nothing else.

        Its first byte is not limited.
        """
        pool = self._pools.get(cluster)
        if pool is None:
            return Unpicked("the route leads to no pool")
        if not len(pool.levels.slots):
            return no_endpoint(pool)
        placed = self._place(pool, wanted, now, rng)
        return Named(decision_id=placed.decision_id, endpoints=placed.endpoints)

    def apply(self, event: Event) -> None:
        """Learns from one event; events about unknown or ended requests change nothing that counts."""
        match event:
            case Scraped() | ScrapeFailed() | Probed() | Tried() | LoadReported() | ModelsListed():
                self._told(event)
            case BlocksStored() | BlocksRemoved() | CacheCleared() | GpusTold() | GpusUntold():
                self._told(event)
            case Picked():
                if event.decision_id not in self._fleet.ledger:  # a peer may tell twice
                    self._fleet.apply(event, None)
                    self._learn(event)
            case _:
                record = self.decisions.get(event.decision_id)
                self._fleet.apply(event if record is None else without_wait(event, record.waited_s), record)
                if record is not None:
                    record.outcome.apply(event)
                    if isinstance(event, RequestEnded):
                        self._check(event, record)

    def knows(self, address: str) -> bool:
        """Whether it is an endpoint, of which something may be told."""
        return self._fleet.slots.get(address) is not None

    def _told(self, event: Event) -> None:
        """An endpoint told something that is about no single request."""
        match event:
            case BlocksStored() | BlocksRemoved() if not self._learned.hears(event.address):
                return
            case CacheCleared():
                self._learned.cleared(event.address)
            case Scraped():
                self._learned.scraped(event)
            case _:
                pass
        self._fleet.apply(event, None)

    def _check(self, event: RequestEnded, record: Record) -> None:
        """Holds what was predicted of a request against what came of it."""
        slot = self._fleet.slots.get(event.served)
        is_precise = slot is not None and self._fleet.index.is_precise(slot)
        for address in self._learned.ended(event, record, is_precise=is_precise):
            self._fleet.disbelieve(address)

    def expire(self, now: float) -> int:
        """Ends reservations past their age, to be called about once a second; returns how many there were."""
        self._reception.look(now)
        return self._fleet.expire(now)

    def take_changes(self) -> list[Change]:
        """What was found out since the last question about how right predictions are."""
        return self._learned.take_news()

    @property
    def sessions(self) -> Sessions:
        """Where sessions are at home; to be read, and restored before the first pick."""
        return self._fleet.sessions

    def _pick(self, pool: Pool, asking: Asking, now: float, rng: random.Random, waited_s: float = 0.0) -> Named:
        wanted = wanted_of(asking, needs_prompt=pool.needs_prompt, waited_s=waited_s)
        placed = self._place(pool, wanted, now, rng)
        limit_ms = first_byte_ms(asking.request, pool.settings, placed.work, asking.timeout_s)
        if limit_ms is not None and not wanted.is_whole:
            self._fleet.expect(placed.decision_id, placed.endpoints[0], now, limit_ms / 1e3)
        return Named(
            decision_id=placed.decision_id,
            endpoints=placed.endpoints,
            first_byte_ms=limit_ms,
            body=asking.body,
            degraded=asking.degraded,
        )

    def _place(self, pool: Pool, wanted: Wanted, now: float, rng: random.Random) -> _Placed:
        """Names somebody of a pool that has endpoints, keeps the record, and reserves what is named first."""
        blocks = wanted.blocks if pool.needs_prompt else ()
        choice = self._choice(pool, wanted, now)
        naming = choice.naming(rng)
        beside = choice.beside(naming, self._shadow_rng)
        decision_id = f"{rng.getrandbits(64):016x}"
        self.decisions.add(choice.record(decision_id, naming, beside, wall_offset_s=self._wall_offset_s))
        view, best = naming.view, int(naming.ranking.order[0])
        if pool.remembers is not None:
            pool.remembers.picked(view, best)
        slot = int(view.slots[best])
        self._fleet.adapter_slots.picked(slot, wanted.request.model)
        self._earn(pool, slot, now)
        uncached = wanted.tokens if view.prompt is None else int(view.prompt.uncached[best])
        work = int(self._fleet.ledger.queued_tokens[slot]) + uncached
        self.apply(
            Picked(
                decision_id=decision_id,
                at=now,
                address=naming.addresses[0],
                uncached_tokens=uncached,
                prompt_tokens=wanted.tokens,
                max_age_s=wanted.timeout_s + RESERVATION_SLACK_S,
                pool=pool.settings.name,
                blocks=blocks,
                is_guess=wanted.size > 0,
                is_whole=wanted.is_whole,
                session=b"" if choice.homing is None else choice.homing.settled(slot),
            )
        )
        return _Placed(decision_id, naming.addresses, work)

    def _choice(self, pool: Pool, wanted: Wanted, now: float) -> Choice:
        truth = self._learned.truth(pool.settings.name)
        return Choice(
            pool=pool,
            history=self._history[pool.settings.name],
            fleet=self._fleet,
            wanted=wanted,
            blocks=wanted.blocks if pool.needs_prompt else (),
            now=now,
            truth=truth if truth.is_doubting else None,
            homing=homing(pool, wanted.request, self._fleet.sessions, now),
        )

    def _first_token_ms(self, pool: Pool, asking: Asking, now: float, rng: random.Random) -> float | None:
        """When the first token would come, if somebody were picked now."""
        wanted = wanted_of(asking, needs_prompt=pool.needs_prompt)
        naming = self._choice(pool, wanted, now).naming(rng)
        return predicted(naming.view, naming.ranking).ttft_ms

    def _earn(self, pool: Pool, slot: int, now: float) -> None:
        """Those with a bound on their share, among whom the pick was made, earn their part of it."""
        fleet = self._fleet
        is_bounded = pool.settings.strategy not in LOOK_AT_ERRORS and fleet.latencies.may_have_errors(now)
        if not is_bounded and not fleet.warming:
            return
        for group in pool.levels.groups(fleet.health, now):
            if slot in group.slots:
                fleet.warming.picked(group.slots, group.weights, slot, now)
                if is_bounded:
                    fleet.failing.picked(group.slots, group.weights, slot, now)
                return

    def _learn(self, event: Picked) -> None:
        history = self._history.get(event.pool)
        if history is not None:
            history.learn(event)


def _telling(settings: PickerSettings) -> frozenset[str]:
    """Endpoints whose own word on their blocks is taken."""
    return frozenset(
        endpoint.address
        for pool in settings.pools
        if pool.kv_events is not None and pool.kv_events.is_exact
        for endpoint in pool.endpoints
    )
