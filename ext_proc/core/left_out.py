"""Who of a pool was no candidate for a request, and why: for the record alone, after the choice was made."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.core.filters import Filter, is_about
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Levels
from ext_proc.core.slots import IntArray
from ext_proc.core.strategies.view import Request

# As many as candidates: enough to recognise what is wrong; of a pool in which half stand in another zone they would be
# hundreds for every pick.
MAX_LEFT_OUT = 8


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Some endpoints with a word on each, and how many there were in all."""

    endpoints: tuple[tuple[str, str], ...] = ()
    count: int = 0


NOBODY = LeftOut()


def left_out(
    levels: Levels,
    unavailable: Sequence[str],
    filters: Sequence[Filter],
    request: Request,
    chosen: IntArray,
    fleet: Fleet,
    now: float,
) -> LeftOut:
    """Those of a pool that the strategy did not choose among.

    `chosen` are the slots between which it chose, `unavailable` the addresses that discovery or Envoy's health checks
    keep out of the levels.
    """
    missing = len(levels.slots) - len(chosen)
    if not missing and not unavailable:
        return NOBODY
    found = [(address, "unavailable: discovery says unhealthy or draining") for address in unavailable[:MAX_LEFT_OUT]]
    if missing and len(found) < MAX_LEFT_OUT:
        is_chosen = np.zeros(fleet.slots.capacity, dtype=np.bool_)
        is_chosen[chosen] = True
        others = np.flatnonzero(~is_chosen[levels.slots])[: MAX_LEFT_OUT - len(found)]
        nearest = _priority(levels, int(np.flatnonzero(is_chosen[levels.slots])[0]))
        for position in others.tolist():
            slot = int(levels.slots[position])
            state = fleet.health.state(slot, now)
            if state != "healthy":
                why = f"{state} after failures"
            elif (priority := _priority(levels, position)) != nearest:
                why = f"priority {priority}, priority {nearest} has somebody"
            else:
                why = _filtered(filters, request, slot, chosen, fleet)
            found.append((fleet.slots.address(slot), why))
    return LeftOut(tuple(found), missing + len(unavailable))


def _priority(levels: Levels, position: int) -> int:
    return next(priority for priority, part in levels.parts if part.start <= position < part.stop)


def _filtered(filters: Sequence[Filter], request: Request, slot: int, chosen: IntArray, fleet: Fleet) -> str:
    """Which filters it did not pass; one that nobody passed was no filter. What else there is are full endpoints."""
    names = []
    for index, each in enumerate(filters):
        members = each.members
        if each.settings.adapter:
            members = members & fleet.adapters.members(request.model, len(members))
        if is_about(each.settings, request) and not members[slot] and members[chosen].all():
            names.append(f"filters[{index}]")
    return " and ".join(names) if names else "full"
