"""From what discovery finds to what is served: refused if it takes away too much, made for the pools that changed.

A result that would take away too much is refused pool by pool: pools that lose nothing get their new endpoints, the
others keep theirs until discovery finds them again, or until somebody forces it. Who drains is shown so in all of them,
and is nobody's loss: it was to go.
"""

import asyncio
import logging
from collections.abc import Callable

from control_plane.fleet.drains import Drains
from control_plane.fleet.mirror import Mirror
from control_plane.fleet.model import Fleet, Health
from control_plane.fleet.shifts import Shifts
from control_plane.fleet.sources import FleetSources
from control_plane.fleet.weights import Weights
from control_plane.sidecar.policy_state import PolicyState
from control_plane.sidecar.slow_loop import SlowLoop
from control_plane.sidecar.versions import INLINE_ENDPOINTS
from control_plane.xds.guard import Inventory, inventory, refusal

log = logging.getLogger("kvpilot")


class EndpointsLane:
    """Mutable: the fleet that is served, the pools to be made, the task that makes them; on one event loop."""

    def __init__(
        self,
        sources: FleetSources,
        state: PolicyState,
        served: Callable[[frozenset[str]], None],
        drains: Drains | None = None,
        mirror: Mirror | None = None,
        weights: Weights | None = None,
        shifts: Shifts | None = None,
    ) -> None:
        """`served` is called when other endpoints of these pools are ready to be pushed; `drains`, `mirror`,
        `weights` and `shifts` are only read."""
        self._sources = sources
        self._slow_loop: SlowLoop | None = None
        self._state = state
        self._served = served
        self._max_removed_percent = 100
        self._held_back: frozenset[str] = frozenset()
        self._due: set[str] = set()
        self._working: asyncio.Task[None] | None = None
        self._drains = Drains() if drains is None else drains
        self._mirror = Mirror() if mirror is None else mirror
        self._weights = Weights() if weights is None else weights
        self._shifts = Shifts() if shifts is None else shifts
        self._taken = Fleet(pools={})

    @property
    def fleet(self) -> Fleet:
        """What is served."""
        return self.shown(self._taken)

    @property
    def taken(self) -> Fleet:
        """What was found and taken, without what is known or was learned beside it."""
        return self._taken

    def shown(self, found: Fleet) -> Fleet:
        """What is found, as it is to be served: with who drains, and what was found out and learned."""
        known = self._mirror.shown(self._drains.shown(found))
        return self._shifts.shown(self._weights.shown(known))

    @property
    def is_making(self) -> bool:
        """Whether something of it is still to be pushed."""
        return bool(self._due) or (self._working is not None and not self._working.done())

    def begin(self, before: Fleet, max_removed_percent: int) -> Fleet:
        """The fleet of a start: what discovery has found by now, as it may follow on what an earlier process had."""
        self.reset(before, max_removed_percent)
        self.changed(frozenset({**before.pools, **self._sources.fleet.pools}))
        return self.fleet

    def attach(self, slow_loop: SlowLoop | None, served: Fleet) -> None:
        """From now on there is somebody to make them for, who has `served` so far."""
        self._slow_loop = slow_loop
        late = frozenset(pool for pool, has in self.fleet.pools.items() if has != served.pools.get(pool))
        if late:
            self._make(late)

    def reset(self, fleet: Fleet, max_removed_percent: int, found: Fleet | None = None) -> None:
        """A policy was applied, with this fleet; pools that discovery `found` otherwise are still held back."""
        self._taken, self._max_removed_percent = fleet, max_removed_percent
        held = () if found is None else (name for name, has in found.pools.items() if has != fleet.pools.get(name))
        self._held_back = frozenset(held)
        if not self._held_back:
            self._state.fleet_error = ""

    def without_held_back(self, found: Fleet, pools: frozenset[str]) -> Fleet:
        """`found`, but those of the `pools` whose result was refused have what they have."""
        kept = {pool: self._taken.pools.get(pool, ()) for pool in self._held_back & pools}
        return Fleet(pools={**found.pools, **kept})

    def removal(self, fleet: Fleet, max_removed_percent: int) -> str:
        """Why going on to `fleet` takes away too much; empty if it does not."""
        return refusal(self._lasting(), _inventory(fleet), max_removed_percent)

    def changed(self, pools: frozenset[str], *, force: bool = False) -> None:
        """Discovery found other endpoints for these pools."""
        found = self._sources.fleet
        pools |= self._held_back
        why = "" if force else self._refusal(found)
        self._held_back = frozenset(pool for pool in pools if why and self._loses(pool, found))
        if why and why != self._state.fleet_error:
            log.error("discovery: %s; these pools keep what they have: %s", why, ", ".join(sorted(self._held_back)))
        self._state.fleet_error = why
        taken = frozenset(pools - self._held_back)
        self._taken = Fleet(pools={**self._taken.pools, **{pool: found.pools.get(pool, ()) for pool in taken}})
        if taken:
            self._make(taken)

    def restated(self, pools: frozenset[str]) -> None:
        """Somebody in these pools drains, or does no more; or something else was found out about somebody."""
        here = pools & self._taken.pools.keys()
        if here:
            self._make(here)

    def force(self) -> None:
        """Serves what was refused."""
        if self._held_back:
            self.changed(self._held_back, force=True)

    async def stop(self) -> None:
        """Ends what is being made."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    def _refusal(self, found: Fleet) -> str:
        return refusal(self._lasting(), _inventory(found), self._max_removed_percent)

    def _lasting(self) -> Inventory:
        """What there is and is not about to go."""
        going = (Health.DRAINING, Health.REMOVED, Health.DRAINED)
        pools = self.fleet.pools.items()
        return inventory({pool: [e.address for e in has if e.health not in going] for pool, has in pools})

    def _loses(self, pool: str, found: Fleet) -> bool:
        before = {endpoint.address for endpoint in self._taken.pools.get(pool, ())}
        return bool(before - {endpoint.address for endpoint in found.pools.get(pool, ())})

    def _make(self, pools: frozenset[str]) -> None:
        if self._slow_loop is None:
            self._served(pools)
            return
        self._due |= pools
        if self._working is not None and not self._working.done():
            return  # it takes what is due when it has done the last
        size = sum(len(self.fleet.pools.get(pool, ())) for pool in self._due) * self._slow_loop.kinds
        if size <= INLINE_ENDPOINTS:
            due, self._due = frozenset(self._due), set()
            self._slow_loop.fleet_changed(self.fleet, due)
            self._served(due)
            return
        self._working = asyncio.create_task(self._make_elsewhere(self._slow_loop), name="endpoints")

    async def _make_elsewhere(self, slow_loop: SlowLoop) -> None:
        while self._due:
            due, self._due = frozenset(self._due), set()
            made = await asyncio.to_thread(slow_loop.updates.prepare_endpoints(self.fleet, due))
            slow_loop.updates.apply_endpoints(made)
            self._served(due)


def _inventory(fleet: Fleet) -> Inventory:
    return inventory({pool: [e.address for e in endpoints] for pool, endpoints in fleet.pools.items()})
