"""Who of a pool was no candidate for a request, and why: for the record alone, after the choice was made."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.core.filters import Filter, is_about, members_of
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Levels
from ext_proc.core.slots import BoolArray, IntArray
from ext_proc.core.strategies.view import Request

# As many as candidates: enough to recognise what is wrong; of a pool in which half stand in another zone they would be
# hundreds for every pick.
MAX_LEFT_OUT = 8

_FULL = "full"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Some endpoints with a word on each, and how many there were in all."""

    endpoints: tuple[tuple[str, str], ...] = ()
    count: int = 0


NOBODY = LeftOut()


def left_out(
    levels: Levels,
    unavailable: Sequence[tuple[str, str]],
    filters: Sequence[Filter],
    request: Request,
    chosen: IntArray,
    fleet: Fleet,
    now: float,
) -> LeftOut:
    """Those of a pool that the strategy did not choose among.

    `chosen` are the slots between which it chose, `unavailable` those who drain or are unhealthy and so in no level,
    with that in a word.
    """
    missing = len(levels.slots) - len(chosen)
    if not missing and not unavailable:
        return NOBODY
    found = [(address, state or "unavailable") for address, state in unavailable[:MAX_LEFT_OUT]]
    if missing and len(found) < MAX_LEFT_OUT:
        is_chosen = np.zeros(fleet.slots.capacity, dtype=np.bool_)
        is_chosen[chosen] = True
        others = np.flatnonzero(~is_chosen[levels.slots])[: MAX_LEFT_OUT - len(found)]
        nearest = _priority(levels, int(np.flatnonzero(is_chosen[levels.slots])[0]))
        reasons = tuple(_reasons(filters, request, chosen, fleet))
        for position in others.tolist():
            slot = int(levels.slots[position])
            state = fleet.health.state(slot, now)
            word = fleet.soundness.word(slot, now)
            if state != "healthy":
                why = f"{state} after failures"
            elif word != "healthy":
                why = f"{word}: {fleet.soundness.why(slot)}"
            elif (priority := _priority(levels, position)) > nearest:
                why = f"priority {priority}, priority {nearest} has somebody"
            elif priority < nearest:
                why = f"priority {priority}, part of its requests is moved"
            else:
                why = _filtered(reasons, slot)
                if fleet.warming.share(slot, now) < 1 and not why.startswith("filters"):
                    why = "warming up, and has had its part"
                elif why == _FULL and fleet.failing.is_held(slot):
                    why = "fails more than the others, and has had its part"
            found.append((fleet.slots.address(slot), why))
    return LeftOut(tuple(found), missing + len(unavailable))


def _priority(levels: Levels, position: int) -> int:
    return next(priority for priority, part in levels.parts if part.start <= position < part.stop)


def _reasons(
    filters: Sequence[Filter], request: Request, chosen: IntArray, fleet: Fleet
) -> Iterator[tuple[str, BoolArray]]:
    """Each filter that made a difference, and whom it left out, by slot; one that nobody passed was no filter."""
    for index, each in enumerate(filters):
        if not is_about(each.settings, request):
            continue
        members = members_of(each, request, fleet)
        if each.settings.batch is not None and len(chosen) == 1:
            members = np.zeros(len(members), dtype=np.bool_)
            members[chosen] = True
        if members[chosen].all():
            yield f"filters[{index}]", ~members


def _filtered(reasons: Sequence[tuple[str, BoolArray]], slot: int) -> str:
    """Which filters it did not pass. What else there is are full endpoints."""
    return " and ".join(name for name, without in reasons if without[slot]) or _FULL
