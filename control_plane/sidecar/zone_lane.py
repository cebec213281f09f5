"""Has requests move between places as `control_plane.fleet.zones` says: asks how places are, tells picker and Envoys.

How they are is the picker's judgement where there is one beside it. A control plane alone has discovery's: who is
there, but not how full anybody is and what failed, so that nothing spills over and no step is taken back for errors.

Looked at in a rhythm: what is pushed is bounded by it. Nothing is kept for a restart: then it begins from what is seen.
A policy that is edited changes the rules of what is under way, and nothing else.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from control_plane.compile.localities import Locality, places
from control_plane.fleet.model import Endpoint, Health
from control_plane.fleet.seen import Seen, ShiftRule, State
from control_plane.fleet.shifts import News, Outlook, Shifts
from control_plane.policy.load_balancing import Shift
from control_plane.policy.model import Policy, Pool
from control_plane.policy.places import path_of
from control_plane.sidecar.endpoints_lane import EndpointsLane
from control_plane.sidecar.slow_loop import SlowLoop
from ext_proc.core.survey import Survey

log = logging.getLogger("kvpilot")

LOOK_S = 0.25
"""How often places are looked at. The picker leaves a dark place at once by itself; Envoy's own choices are this much
later. A look at a pool of 1,000 endpoints takes about a millisecond."""

_USABLE = (Health.HEALTHY, Health.DEGRADED)
_COUNTED = (*_USABLE, Health.UNHEALTHY)
"""The others are on their way out, and no lost capacity."""


class ZoneLane:
    """Mutable: the shifts, how often places changed; on one event loop."""

    def __init__(
        self,
        shifts: Shifts,
        endpoints: EndpointsLane,
        policy: Callable[[], Policy],
        clock: Callable[[], float],
        here: Locality,
        survey: Survey | None = None,
        slow_loop: SlowLoop | None = None,
    ) -> None:
        """`shifts` are those that `endpoints` shows, `here` is where the picker's Envoy stands. `survey` is of the
        picker beside us, on the same `clock`."""
        self._shifts = shifts
        self._endpoints = endpoints
        self._policy = policy
        self._clock = clock
        self._here = here
        self._survey = survey
        self._slow_loop = slow_loop
        self.pushes = 0
        """How often shares were changed."""
        self.changes: Counter[tuple[str, str, str]] = Counter()
        """(pool, place, state) → how often it has come into it."""

    async def follow(self) -> None:
        """Looks, until cancelled."""
        while True:
            try:
                self.look()
            except Exception:  # the next look must still come
                log.exception("zones could not be looked at")
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """One look: what is to be told is told."""
        pools = [(pool, shift) for pool in self._policy().pools if (shift := shift_of(pool)) is not None]
        if not pools and self._shifts.is_idle:
            return
        nodes = self._nodes()
        changed, news = self._shifts.look(
            self._clock(), [outlook for pool, shift in pools for outlook in self._outlooks(pool, shift, nodes)]
        )
        for one in news:
            self._tell(one)
        if changed:
            self.pushes += 1
            self._endpoints.restated(changed)

    def status(self) -> list[dict[str, Any]]:
        """JSON values: `Shifts.rows`."""
        return self._shifts.rows(self._clock())

    def _nodes(self) -> Sequence[Locality]:
        """Where Envoys are, our own first."""
        variants = [stream.variant for stream in self._slow_loop.streams] if self._slow_loop is not None else []
        found = (self._here, *(Locality(variant.region, variant.zone) for variant in variants if variant is not None))
        return [node for node in dict.fromkeys(found) if node]

    def _outlooks(self, pool: Pool, shift: Shift, nodes: Sequence[Locality]) -> Iterator[Outlook]:
        seen = self._seen(pool) if nodes else {}
        rule = _rule(shift)
        for node in nodes:
            found = places(seen, node, pool.traffic_policy.load_balancer.locality_lb_setting)
            together: dict[str, Seen] = {}
            for locality, place in found.items():
                one = seen[locality]
                together[place] = one if place not in together else _both(together[place], one)
            yield Outlook(
                pool=pool.name,
                envoys=(node.region, node.zone),
                rule=rule,
                places={(locality.region, locality.zone): place for locality, place in found.items()},
                seen=together,
            )

    def _seen(self, pool: Pool) -> dict[Locality, Seen]:
        if self._survey is None:
            return _by_discovery(self._endpoints.fleet.pools.get(pool.name, ()))
        return {
            Locality(area.region, area.zone): Seen(
                total=area.total,
                usable=area.usable,
                healthy=area.healthy,
                load=area.load,
                tries=area.tries,
                failures=area.failures,
            )
            for area in self._survey.areas(pool.name, self._clock())
            if area.total
        }

    def _tell(self, news: News) -> None:
        change = news.change
        self.changes[news.pool, change.place, change.now.value] += 1
        was = "" if change.was is None else f", was {change.was.value}"
        why = f": {change.why}" if change.why else ""
        level = logging.INFO if change.now is State.ACTIVE else logging.WARNING
        where = path_of(*news.envoys)
        log.log(level, "pool %s, from %s: %s is %s%s%s", news.pool, where, change.place, change.now.value, was, why)


def shift_of(pool: Pool) -> Shift | None:
    """How requests of a pool move between places; None where they do not."""
    return pool.traffic_policy.load_balancer.locality_lb_setting.shifts


def _rule(shift: Shift) -> ShiftRule:
    return ShiftRule(
        step=shift.step,
        every_s=shift.every_s,
        min_healthy=shift.min_healthy,
        max_errors=shift.max_errors,
        stable_s=shift.stable_for_s,
        offline_after_s=shift.offline_after_s,
        spill_at=None if shift.spill_at is None else shift.spill_at / 100,
    )


def _by_discovery(endpoints: Sequence[Endpoint]) -> dict[Locality, Seen]:
    counts: dict[Locality, list[Health]] = {}
    for endpoint in endpoints:
        if endpoint.health in _COUNTED:
            counts.setdefault(Locality(endpoint.region, endpoint.zone), []).append(endpoint.health)
    return {
        locality: Seen(
            total=len(found),
            usable=sum(health in _USABLE for health in found),
            healthy=sum(health is Health.HEALTHY for health in found),
        )
        for locality, found in counts.items()
    }


def _both(one: Seen, other: Seen) -> Seen:
    """Two localities that are one place; how full it is, is the mean by those who can be used."""
    loads = [(each.usable, each.load) for each in (one, other) if each.load is not None]
    weight = sum(usable for usable, _ in loads)
    load = sum(usable * load for usable, load in loads)
    return Seen(
        total=one.total + other.total,
        usable=one.usable + other.usable,
        healthy=one.healthy + other.healthy,
        load=load / weight if weight else None,
        tries=one.tries + other.tries,
        failures=one.failures + other.failures,
    )
