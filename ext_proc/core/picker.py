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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from ext_proc.core.admission import Visitor
from ext_proc.core.alias import Asked, asked_of, replace_model
from ext_proc.core.blocks import block_hashes, tokens_of
from ext_proc.core.decision import Answer, Named, OpenAIError, Rejected, Unpicked, Waiting
from ext_proc.core.events import BlocksRemoved, BlocksStored, CacheCleared, Event, Picked, Scraped, ScrapeFailed
from ext_proc.core.filters import Filter, filters_of, narrowed
from ext_proc.core.first_byte import first_byte_ms
from ext_proc.core.fleet import Fleet
from ext_proc.core.left_out import left_out
from ext_proc.core.levels import Group, Levels, levels
from ext_proc.core.naming import Naming, Narrow, name
from ext_proc.core.places import free_first, is_any_free
from ext_proc.core.prediction import predicted
from ext_proc.core.record import Beside, Decisions, Record, Shape
from ext_proc.core.request import BadRequest, ParsedRequest, RequestFacts, Unpickable, parse_request
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.shadow import Shadow
from ext_proc.core.strategies.kv_aware import prompt_of
from ext_proc.core.strategies.table import strategy
from ext_proc.core.strategies.view import NO_REQUEST, Remembering, Request, Strategy, View
from ext_proc.core.waiting_room import Released, WaitingRoom, without_wait

__all__ = ["Named", "Picker", "Rejected", "Unpicked", "Wanted"]

# The log record of a request's end comes after its timeout: a flush interval, and slack for a slow log.
RESERVATION_SLACK_S = 10.0

# Retry-After of a pool without endpoints: they usually come back by a restart, and a client that asks each second is
# no load.
NO_ENDPOINT_RETRY_AFTER_S = 1

# mean(u) starts here and forgets: about the last fifty requests count.
START_MEAN_TOKENS = 1_000.0
START_GAP_S = 1.0
MEAN_MEMORY = 0.98

# Share of a pool's prompts that have to begin alike for their common beginning to count as everybody's. With several
# applications in one pool, each with a system prompt of its own, copying each of them everywhere costs more than it
# gains: first tokens came 2–5 % later.
EVERYBODY = 0.8


@dataclass(frozen=True, slots=True)
class _Pool:
    """A pool's settings, prepared for picking."""

    settings: PoolSettings
    strategy: Strategy
    remembers: Remembering | None
    """The strategy, if it wants to know what it picked."""
    levels: Levels
    filters: tuple[Filter, ...]
    endpoints: Mapping[str, EndpointSettings]
    shadow: Shadow | None
    unavailable: tuple[str, ...]

    @property
    def needs_prompt(self) -> bool:
        """Whether anybody looks at prompts."""
        return self.strategy.needs_prompt or (self.shadow is not None and self.shadow.strategy.needs_prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a place is wanted for: a request that has been read already.

    `blocks` are the chained hashes of its prompt; strategies that do not look at prompts ignore them. After `timeout_s`
    and some slack its reservation is given up.
    """

    model: str
    tokens: int
    blocks: tuple[int, ...] = ()
    timeout_s: float
    request: Request = NO_REQUEST
    """What is known about the request beside its prompt, for strategies that look at it."""
    waited_s: float = 0.0
    """How long it has waited for a place."""


@dataclass(frozen=True, slots=True)
class _Asking:
    """A request that was read, and for which there is a pool: all that a pick needs."""

    request: ParsedRequest
    headers: Mapping[str, str]
    asked: Asked
    body: bytes | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Placed:
    """A reserved place, behind `work` tokens, those of the request itself included."""

    decision_id: str
    endpoints: tuple[str, ...]
    work: int


@dataclass(slots=True)
class _History:
    """What a pool has learned; it outlives settings. Mutable: the picker is the only writer."""

    turn: int = 0
    mean_uncached: float = START_MEAN_TOKENS
    gap_s: float = START_GAP_S
    picked_at: float | None = None
    opening: int | None = None
    opening_share: float = 0.0
    """The block that most of the latest prompts begin with, and how many of them do, from 0 to 1."""

    def is_everybodys(self, blocks: tuple[int, ...]) -> bool:
        """Whether nearly all of the pool's prompts begin as this one does."""
        return bool(blocks) and blocks[0] == self.opening and self.opening_share >= EVERYBODY

    def learn(self, event: Picked) -> None:
        """Takes in one pick of the pool."""
        self.turn += 1
        self.mean_uncached += (1 - MEAN_MEMORY) * (event.uncached_tokens - self.mean_uncached)
        if self.picked_at is not None:
            share = max(1 - MEAN_MEMORY, 1 / self.turn)
            self.gap_s += share * (max(0.0, event.at - self.picked_at) - self.gap_s)
        self.picked_at = event.at
        if event.blocks:
            share = max(1 - MEAN_MEMORY, 1 / self.turn)
            self.opening_share += share * ((event.blocks[0] == self.opening) - self.opening_share)
            if self.opening_share < 0.5:
                self.opening, self.opening_share = event.blocks[0], 0.5


class Picker:
    """Names endpoints for requests.

    `wall_offset_s` is Unix time minus the caller's monotonic clock; the records show it and nothing depends on it.
    `shadow_rng` are the chances of shadows; without it there are none, whatever the settings say.
    Raises ValueError, as `apply_settings` does, for an unknown strategy.

    Mutable: the fleet, the pools' history, the decisions; and settings and pools, which are replaced as a whole.
    """

    def __init__(
        self, settings: PickerSettings, *, wall_offset_s: float = 0.0, shadow_rng: random.Random | None = None
    ) -> None:
        self._wall_offset_s = wall_offset_s
        self._shadow_rng = shadow_rng
        self._fleet = Fleet()
        self._history: dict[str, _History] = {}
        self._pools: dict[str, _Pool] = {}
        self._room: WaitingRoom[_Asking] = WaitingRoom()
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

    def apply_settings(self, settings: PickerSettings) -> None:
        """Takes new settings; all or, raising ValueError, nothing of them."""
        strategies = [self._strategy(pool) for pool in settings.pools]
        shadows = [self._shadow(pool) for pool in settings.pools]
        self._fleet.want({endpoint.address for pool in settings.pools for endpoint in pool.endpoints})
        prepared = [self._prepared(*each) for each in zip(settings.pools, strategies, shadows, strict=True)]
        self._pools = {pool.settings.cluster: pool for pool in prepared}
        self._history = {pool.name: self._history.get(pool.name, _History()) for pool in settings.pools}
        self._settings = settings
        admissions = {pool.cluster: (pool.name, pool.admission) for pool in settings.pools if pool.admission}
        self._room.furnish(admissions)

    def decide(self, facts: RequestFacts, now: float, rng: random.Random) -> Answer:
        """Answers one request and reserves its place; never raises, whatever the request holds."""
        asking = self._read(facts)
        return self._pick(self._pools[facts.cluster], asking, now, rng) if isinstance(asking, _Asking) else asking

    def ask(self, facts: RequestFacts, now: float, rng: random.Random) -> Answer | Waiting:
        """As `decide`, where the pool's admission lets the request in; else it waits, or is refused.

        The answers to those who wait come from `released`.
        """
        if not self._room.has(facts.cluster):
            return self.decide(facts, now, rng)
        asking = self._read(facts)
        if not isinstance(asking, _Asking):
            return asking
        tokens = tokens_of(b"".join(asking.request.prompt_parts))
        visitor = Visitor(kind=asking.request.kind, tokens=tokens, headers=facts.headers)
        is_free = self._is_free(facts.cluster, now)
        answer = self._room.arrive(facts.cluster, visitor, asking, now, is_free=is_free)
        return self._pick(self._pools[facts.cluster], asking, now, rng) if answer is None else answer

    @property
    def waiting(self) -> int:
        """How many were told to wait and have no answer yet."""
        return len(self._room)

    def released(self, now: float, rng: random.Random) -> Iterator[Released]:
        """The answers that can be given now; to be fetched after every event, and often enough to keep deadlines."""

        def let_in(cluster: str, asking: _Asking, waited_s: float) -> Answer:
            return self._pick(self._pools[cluster], asking, now, rng, waited_s)

        return self._room.released(now, lambda cluster: self._is_free(cluster, now), let_in)

    def leave(self, ticket: int) -> None:
        """A client that waited went away."""
        self._room.leave(ticket)

    def close(self) -> None:
        """Nobody waits any more, and nobody is asked to: it is left to Envoy where those go."""
        self._room.close()

    def _read(self, facts: RequestFacts) -> _Asking | Answer:
        request = parse_request(facts)
        match request:
            case Unpickable():
                return Unpicked(request.reason)
            case BadRequest():
                return Rejected(status=400, error=request.error)
        pool = self._pools.get(facts.cluster)
        if pool is None:
            return Unpicked("the route leads to no pool")
        asked = asked_of(self._settings, facts.route, request.model)
        if asked is None:
            return Unpicked("unknown model")
        if not len(pool.levels.slots):
            return _no_endpoint(pool.settings.name)
        body = replace_model(facts.body, asked.engine_model) if asked.engine_model != request.model else None
        timeout_s = self._settings.timeouts_s.get(facts.route, pool.settings.request_timeout_s)
        return _Asking(request, facts.headers, asked, body, timeout_s)

    def _is_free(self, cluster: str, now: float) -> bool:
        """Whether somebody in a pool that has admission has a place."""
        pool = self._pools[cluster]
        limits = pool.settings.admission
        return limits is None or is_any_free(limits, self._fleet, pool.levels, now)

    def place(self, cluster: str, wanted: Wanted, now: float, rng: random.Random) -> Answer:
        """As `decide`, for a request without a body: whoever replays prompts has their blocks and nothing else.

        Its first byte is not limited.
        """
        pool = self._pools.get(cluster)
        if pool is None:
            return Unpicked("the route leads to no pool")
        if not len(pool.levels.slots):
            return _no_endpoint(pool.settings.name)
        placed = self._place(pool, wanted, now, rng)
        return Named(decision_id=placed.decision_id, endpoints=placed.endpoints)

    def apply(self, event: Event) -> None:
        """Learns from one event; events about unknown or ended requests change nothing that counts."""
        match event:
            case Scraped() | ScrapeFailed() | BlocksStored() | BlocksRemoved() | CacheCleared():
                self._fleet.apply(event, None)
            case Picked():
                if event.decision_id not in self._fleet.ledger:  # a peer may tell twice
                    self._fleet.apply(event, None)
                    self._learn(event)
            case _:
                record = self.decisions.get(event.decision_id)
                self._fleet.apply(event if record is None else without_wait(event, record.waited_s), record)
                if record is not None:
                    record.outcome.apply(event)

    def expire(self, now: float) -> int:
        """Ends reservations past their age, to be called about once a second; returns how many there were."""
        return self._fleet.expire(now)

    def status(self, now: float) -> dict[str, Any]:
        """JSON values by pool name, with one entry for each endpoint."""
        return {
            pool.name: {
                "strategy": pool.strategy,
                **self._room.status(pool.cluster, now),
                **self._shadow_status(pool),
                "endpoints": [self._endpoint_status(endpoint, now) for endpoint in pool.endpoints],
            }
            for pool in self._settings.pools
        }

    def _strategy(self, pool: PoolSettings) -> Strategy:
        """A new one, or that which the pool has, with all that it remembers, where nothing about it has changed."""
        known = self._pools.get(pool.cluster)
        if known is not None and _says_of_strategy(known.settings) == _says_of_strategy(pool):
            return known.strategy
        return strategy(pool.strategy, pool.parameters.get(pool.strategy), pool.own)

    def _shadow(self, pool: PoolSettings) -> Shadow | None:
        """A new one, or that which the pool has, with its counts, where nothing about either strategy has changed."""
        if not pool.shadow or self._shadow_rng is None:
            return None
        known = self._pools.get(pool.cluster)
        if known is not None and _says_of_shadow(known.settings) == _says_of_shadow(pool):
            return known.shadow
        return Shadow(pool.shadow, strategy(pool.shadow, pool.parameters.get(pool.shadow), pool.shadow_own))

    def _prepared(self, pool: PoolSettings, chosen: Strategy, shadow: Shadow | None) -> _Pool:
        return _Pool(
            settings=pool,
            strategy=chosen,
            remembers=chosen if isinstance(chosen, Remembering) else None,
            levels=levels(pool.endpoints, self._fleet.slots),
            filters=filters_of(pool, self._fleet.slots),
            endpoints={endpoint.address: endpoint for endpoint in pool.endpoints},
            shadow=shadow,
            unavailable=tuple(endpoint.address for endpoint in pool.endpoints if not endpoint.available),
        )

    def _pick(
        self,
        pool: _Pool,
        asking: _Asking,
        now: float,
        rng: random.Random,
        waited_s: float = 0.0,
    ) -> Named:
        request, asked, timeout_s = asking.request, asking.asked, asking.timeout_s
        text = b"".join(request.prompt_parts)
        # What the engine is asked for is what its cache knows the prompt under.
        blocks = block_hashes(text, asked.engine_model, request.salt) if pool.needs_prompt else ()
        tokens = tokens_of(text)
        about = Request(
            kind=request.kind,
            model=asked.engine_model,
            tokens=tokens,
            max_tokens=request.max_tokens,
            session=request.session,
            user=request.user,
            headers=asking.headers,
        )
        wanted = Wanted(
            model=asked.model, tokens=tokens, blocks=blocks, timeout_s=timeout_s, request=about, waited_s=waited_s
        )
        placed = self._place(pool, wanted, now, rng)
        limit_ms = first_byte_ms(request, pool.settings, placed.work, timeout_s)
        return Named(
            decision_id=placed.decision_id, endpoints=placed.endpoints, first_byte_ms=limit_ms, body=asking.body
        )

    def _place(self, pool: _Pool, wanted: Wanted, now: float, rng: random.Random) -> _Placed:
        """Ranks a pool that has endpoints, keeps the record, and reserves what it names first."""
        tokens = wanted.tokens
        blocks = wanted.blocks if pool.needs_prompt else ()
        make_view = self._view_maker(pool, tokens, blocks, wanted.request, now, pool.strategy.needs_prompt)
        narrow = self._narrowing(pool, wanted.request, now)
        naming = name(pool.levels, self._fleet, pool.strategy, make_view, now, rng, narrow)
        beside = None if pool.shadow is None else self._beside(pool, pool.shadow, wanted, blocks, naming, now)
        record = self._record(f"{rng.getrandbits(64):016x}", pool, wanted, naming, now, beside)
        self.decisions.add(record)
        view, best = naming.view, int(naming.ranking.order[0])
        if pool.remembers is not None:
            pool.remembers.picked(view, best)
        uncached = tokens if view.prompt is None else int(view.prompt.uncached[best])
        work = int(self._fleet.ledger.queued_tokens[view.slots[best]]) + uncached
        self.apply(
            Picked(
                decision_id=record.id,
                at=now,
                address=record.endpoints[0],
                uncached_tokens=uncached,
                prompt_tokens=tokens,
                max_age_s=wanted.timeout_s + RESERVATION_SLACK_S,
                pool=pool.settings.name,
                blocks=blocks,
            )
        )
        return _Placed(record.id, record.endpoints, work)

    def _narrowing(self, pool: _Pool, request: Request, now: float) -> Narrow:
        limits, filters = pool.settings.admission, pool.filters
        if limits is None and not filters:
            return iter
        by_filters: Narrow = iter
        if filters:
            by_filters = partial(narrowed, filters=filters, request=request, adapters=self._fleet.adapters)
        if limits is None:
            return by_filters
        # Filters are wishes; limits are not.
        return lambda groups: free_first(by_filters(groups), limits, self._fleet, now)

    def _view_maker(
        self, pool: _Pool, tokens: int, blocks: tuple[int, ...], request: Request, now: float, needs_prompt: bool
    ) -> Callable[[Group], View]:
        history = self._history[pool.settings.name]
        turn, mean_uncached, gap_s = history.turn, history.mean_uncached, history.gap_s
        if not needs_prompt:
            return lambda group: View(
                group.slots, group.weights, self._fleet, now, turn, mean_uncached, None, request, pool.endpoints
            )
        match = self._fleet.index.match(blocks)
        depths = match.depths(self._fleet.slots.capacity)
        is_everybodys = history.is_everybodys(blocks)

        def made(group: Group) -> View:
            prompt = prompt_of(tokens, match, depths[group.slots], is_everybodys=is_everybodys)
            return View(
                group.slots,
                group.weights,
                self._fleet,
                now,
                turn,
                mean_uncached,
                prompt,
                request,
                pool.endpoints,
                gap_s,
            )

        return made

    def _beside(
        self, pool: _Pool, shadow: Shadow, wanted: Wanted, blocks: tuple[int, ...], naming: Naming, now: float
    ) -> Beside | None:
        """What the pool's shadow would do, on the endpoints that the first name was chosen from."""
        assert self._shadow_rng is not None, "no shadow is made without"
        view = naming.view
        if shadow.strategy.needs_prompt and view.prompt is None:
            group = Group(0, view.slots, view.weights)
            view = self._view_maker(pool, wanted.tokens, blocks, wanted.request, now, True)(group)
        return shadow.look(view, naming.ranking, self._shadow_rng)

    def _shadow_status(self, pool: PoolSettings) -> dict[str, Any]:
        shadow = self._pools[pool.cluster].shadow
        return {} if shadow is None else {"shadow": shadow.status()}

    def _record(
        self, decision_id: str, pool: _Pool, wanted: Wanted, naming: Naming, now: float, beside: Beside | None
    ) -> Record:
        request, view = wanted.request, naming.view
        missing = left_out(pool.levels, pool.unavailable, pool.filters, request, view.slots, self._fleet, now)
        reason = naming.reason
        if wanted.waited_s:
            reason += f"; waited {wanted.waited_s:.3g} s for a place"
        return Record(
            id=decision_id,
            time=now + self._wall_offset_s,
            at=now,
            model=wanted.model,
            pool=pool.settings.name,
            strategy=pool.settings.strategy,
            endpoints=naming.addresses,
            reason=reason,
            candidates=naming.candidates,
            waited_s=wanted.waited_s,
            shadow=beside,
            request=Shape(
                kind=request.kind,
                engine_model=request.model,
                tokens=wanted.tokens,
                max_tokens=request.max_tokens,
                has_session=bool(request.session),
            ),
            predicted=predicted(view, naming.ranking),
            left_out=missing.endpoints,
            left_out_count=missing.count,
        )

    def _learn(self, event: Picked) -> None:
        history = self._history.get(event.pool)
        if history is not None:
            history.learn(event)

    def _endpoint_status(self, endpoint: EndpointSettings, now: float) -> dict[str, Any]:
        status = self._fleet.status(endpoint.address, now)
        return status if endpoint.available else {**status, "health": "unavailable"}


def _says_of_strategy(pool: PoolSettings) -> tuple[object, ...]:
    return pool.strategy, pool.parameters.get(pool.strategy), pool.own


def _says_of_shadow(pool: PoolSettings) -> tuple[object, ...]:
    return *_says_of_strategy(pool), pool.shadow, pool.parameters.get(pool.shadow), pool.shadow_own


def _no_endpoint(pool: str) -> Rejected:
    return Rejected(
        status=503,
        error=OpenAIError(
            message=f"no endpoint of pool {pool} is available", type="service_unavailable", code="no_endpoint"
        ),
        retry_after_s=NO_ENDPOINT_RETRY_AFTER_S,
    )
