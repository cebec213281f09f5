"""Where requests come in: which pool each of them goes to, whether it waits, and what it is told instead. Pure.

    reception = Reception(fleet, sizes, pick, first_token_ms)
    reception.apply_settings(settings, pools, now)
    reception.ask(facts, now, rng)                           # Named(...), Rejected(...), Waiting(ticket=0, ...)
    for released in reception.released(now, rng): ...

Two things lie between a request and its pick. Where its model may be degraded and its pool cannot serve it, it is led
to another one (`ext_proc.core.elsewhere`). And a pool with admission lets in no more than it has places for: the others
wait (`ext_proc.core.waiting_room`), and are led elsewhere when a place is free there. A model that may be degraded is
answered with a label wherever the answer is not what was asked for.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ext_proc.core.admission import Visitor
from ext_proc.core.decision import Answer, Named, Rejected, Waiting
from ext_proc.core.elsewhere import Elsewhere, PredictedMs
from ext_proc.core.fleet import Fleet
from ext_proc.core.places import is_any_free
from ext_proc.core.pool import Pool
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import PickerSettings
from ext_proc.core.token_sizes import TokenSizes
from ext_proc.core.waiting_room import Released, WaitingRoom
from ext_proc.core.wanted import Asking, no_endpoint, read

Pick = Callable[[Pool, Asking, float, random.Random, float], Named]
"""Names somebody of a pool that has endpoints, for a request that waited so many seconds (the last argument), and
reserves the place; the others are the time and the chances."""

FirstTokenMs = Callable[[Pool, Asking, float, random.Random], float | None]
"""When the first token of a request would come, in ms, if it were picked for now in a pool that has endpoints; None
where nobody knows."""


class Reception:
    """Mutable: who waits, which models are degraded, and the settings, which are replaced as a whole.

    The picker is the only one to call it.
    """

    def __init__(
        self, fleet: Fleet, sizes: TokenSizes, pick: Pick, first_token_ms: FirstTokenMs, *, wall_offset_s: float = 0.0
    ) -> None:
        """`wall_offset_s` is Unix time minus the caller's monotonic clock, in seconds; only answers of the policy's own
        show it."""
        self._fleet = fleet
        self._sizes = sizes
        self._pick = pick
        self._first_token_ms = first_token_ms
        self._wall_offset_s = wall_offset_s
        self._settings = PickerSettings(version="")
        self._pools: Mapping[str, Pool] = {}
        self._elsewhere = Elsewhere(fleet, sizes)
        self._room: WaitingRoom[Asking] = WaitingRoom(self._elsewhere.group)

    def apply_settings(self, settings: PickerSettings, pools: Mapping[str, Pool], now: float | None = None) -> None:
        """What holds from `now` on, None: from the beginning. `pools` are by cluster."""
        self._settings, self._pools = settings, pools
        self._elsewhere.apply_settings(settings, pools, now)
        self._room.furnish({pool.cluster: (pool.name, pool.admission) for pool in settings.pools if pool.admission})
        for cluster, pool in pools.items():
            if not len(pool.levels.slots):
                self._room.dismiss(cluster, no_endpoint(pool))

    def ask(self, facts: RequestFacts, now: float, rng: random.Random) -> Answer | Waiting:
        """The answer to a request, or that it waits for one; never raises, whatever the request holds."""
        asking = read(facts, self._settings, self._pools, self._sizes)
        if not isinstance(asking, Asking):
            return asking
        if not self._elsewhere.has(asking):
            return self._enter(asking, now, rng)
        asking = replace(asking, came_at=now)
        found = self._elsewhere.where(asking, self._expecting(now, rng), now)
        answer = no_endpoint(self._pools[facts.cluster]) if found is None else self._enter(found, now, rng)
        return answer if isinstance(answer, Waiting) else self._told_instead(answer, asking, now)

    @property
    def waiting(self) -> int:
        """How many were told to wait and have no answer yet."""
        return len(self._room)

    def released(self, now: float, rng: random.Random) -> Iterator[Released]:
        """The answers that can be given now to those who wait."""

        def is_free(cluster: str) -> bool:
            return self._is_free(cluster, now)

        def let_in(cluster: str, asking: Asking, waited_s: float) -> Answer:
            return self._let_in(cluster, asking, waited_s, now, rng)

        def may_leave(asking: Asking) -> bool:
            return self._elsewhere.may_leave(asking, now)

        for released in self._room.released(now, is_free, let_in, may_leave):
            asking = released.asked
            if isinstance(released.answer, Rejected) and isinstance(asking, Asking) and self._elsewhere.has(asking):
                yield replace(released, answer=self._not_let_in(released.answer, asking, now, rng))
            else:
                yield released

    def leave(self, ticket: int) -> None:
        """A client that waited went away."""
        self._room.leave(ticket)

    def close(self) -> None:
        """Nobody waits any more, and nobody is asked to: it is left to Envoy where those go."""
        self._room.close()

    def look(self, now: float) -> None:
        """To be called about once a second: pools that were in trouble may be well for long enough."""
        self._elsewhere.look(now)

    def degraded(self) -> list[dict[str, Any]]:
        """JSON values: the models whose requests are answered otherwise than they were asked (`Detours.open`)."""
        return self._elsewhere.open()

    def status(self, cluster: str, now: float) -> dict[str, Any]:
        """JSON values about who waits for a pool (`WaitingRoom.status`)."""
        return self._room.status(cluster, now)

    def _enter(self, asking: Asking, now: float, rng: random.Random) -> Answer | Waiting:
        """Through the door of the pool that the request wants a place in."""
        facts = asking.facts
        pool = self._pools[facts.cluster]
        if not len(pool.levels.slots):
            return no_endpoint(pool)
        if not self._room.has(facts.cluster):
            return self._pick(pool, asking, now, rng, 0.0)
        visitor = Visitor(
            kind=asking.request.kind,
            model=asking.asked.model,
            route=facts.route,
            tokens=asking.tokens,
            headers=facts.headers,
        )
        is_free = self._is_free(facts.cluster, now)
        answer = self._room.arrive(facts.cluster, visitor, asking, now, is_free=is_free)
        return self._pick(pool, asking, now, rng, 0.0) if answer is None else answer

    def _let_in(self, cluster: str, asking: Asking, waited_s: float, now: float, rng: random.Random) -> Answer:
        """Whose turn it is, by then perhaps elsewhere."""
        if not self._elsewhere.has(asking):
            return self._pick(self._pools[cluster], asking, now, rng, waited_s)
        if self._elsewhere.is_lost(asking, now) or not self._is_free(cluster, now):
            asking = self._again(asking, now, rng) or asking
        answer = self._pick(self._pools[asking.facts.cluster], asking, now, rng, waited_s)
        self._elsewhere.note(answer, asking, now)
        return answer

    def _not_let_in(self, answer: Answer, asking: Asking, now: float, rng: random.Random) -> Answer:
        """The answer to a request that waited in vain: somebody else may have a place by now."""
        found = self._again(asking, now, rng)
        if found is not None and found.degraded is not None:
            answer = self._pick(self._pools[found.facts.cluster], found, now, rng, 0.0)
        return self._told_instead(answer, asking, now)

    def _told_instead(self, answer: Answer, asking: Asking, now: float) -> Answer:
        """The answer to a request for a model that may be degraded."""
        if isinstance(answer, Rejected):
            answer = self._elsewhere.instead(asking, answer, now + self._wall_offset_s)
        self._elsewhere.note(answer, asking, now)
        return answer

    def _again(self, asking: Asking, now: float, rng: random.Random) -> Asking | None:
        return self._elsewhere.again(asking, self._expecting(now, rng), now)

    def _expecting(self, now: float, rng: random.Random) -> PredictedMs:
        def expected(asking: Asking) -> float | None:
            pool = self._pools[asking.facts.cluster]
            return self._first_token_ms(pool, asking, now, rng) if len(pool.levels.slots) else None

        return expected

    def _is_free(self, cluster: str, now: float) -> bool:
        pool = self._pools[cluster]
        return is_any_free(pool.settings.admission, self._fleet, pool.levels, now)
