"""How a pool's regions and zones are, each as a whole: who can be used there, how full they are, what failed. Pure.

*Usable* is who may be named, *healthy* who is not degraded besides. Who drains is on its way out and no lost capacity.

*Load* is 1 where an area is full: the highest of

- the mean of the KV memory in use, by the engines' own numbers;
- requests that engines have, by those that they run, once any waits there: twice as many make 2;
- where the pool has limits (`AdmissionSettings`), the mean endpoint's part of them.

Only what was told lately counts: nobody is full because nothing is known of it.
"""

from dataclasses import dataclass

import numpy as np

from ext_proc.core.fleet import Fleet
from ext_proc.core.places import load_share
from ext_proc.core.pool import Pool
from ext_proc.core.slots import IntArray

# From here on somebody waits: old numbers fade, and a hundredth of a request is none.
_ONE = 0.5

_DOWN = "unhealthy"
"""The state of endpoints that discovery or a check found to be down; all others that cannot be named are to go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One region and zone; `load` is None where nobody told anything. `tries` and `failures` only grow."""

    region: str
    zone: str
    total: int
    usable: int
    healthy: int
    load: float | None = None
    tries: int = 0
    failures: int = 0


def areas(pool: Pool, fleet: Fleet, now: float) -> list[Area]:
    """Those of a pool that have endpoints, in no order."""
    members: dict[tuple[str, str], list[int]] = {}
    down: dict[tuple[str, str], int] = {}
    for endpoint in pool.endpoints.values():
        place = (endpoint.region, endpoint.zone)
        if endpoint.available:
            members.setdefault(place, []).append(fleet.slots.acquire(endpoint.address))
        elif endpoint.state == _DOWN:
            down[place] = down.get(place, 0) + 1
    usable = np.zeros(fleet.slots.capacity, dtype=np.bool_)
    standing = fleet.health.standing(pool.levels.slots, now)
    usable[pool.levels.slots] = True if standing is None else standing.sound
    worse = np.zeros(fleet.slots.capacity, dtype=np.bool_)
    degraded = fleet.health.degraded(pool.levels.slots)
    if degraded is not None:
        worse[pool.levels.slots] = degraded
    found = []
    for place in members.keys() | down.keys():
        slots = np.array(members.get(place, ()), dtype=np.int64)
        here = usable[slots]
        tries, failures = fleet.tries.of(slots)
        found.append(
            Area(
                region=place[0],
                zone=place[1],
                total=len(slots) + down.get(place, 0),
                usable=int(np.count_nonzero(here)),
                healthy=int(np.count_nonzero(here & ~worse[slots])),
                load=_load(pool, fleet, slots[here], now),
                tries=tries,
                failures=failures,
            )
        )
    return found


def _load(pool: Pool, fleet: Fleet, slots: IntArray, now: float) -> float | None:
    if not len(slots):
        return None
    found = []
    memory = fleet.memory.told_usage(slots, now)
    if memory is not None:
        found.append(memory)
    told = fleet.gauges.queues(slots, now)
    if told is not None:
        waiting, running = told
        found.append((waiting + running) / max(1.0, running) if waiting > _ONE else 0.0)
    if pool.settings.admission is not None:
        found.append(load_share(pool.settings.admission, fleet, slots, now))
    return max(found, default=None)
