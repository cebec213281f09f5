"""Endpoints that fail more of their requests than the others: a bound on their share, whatever the strategy.

Who refuses at once has nothing in flight, no queue and all of its memory free, so to most strategies it looks like the
best of all, and whoever is turned away there gets an error, or pays for another try. Ejection does not end that: it
takes failures in a row, and an engine that says that it is full (429, 503) is not broken. So under strategies whose
cost does not say it such an endpoint has a bound:

    share = max(LEAST_SHARE, (1 − errors in excess of the others') ^ SEVERITY) of its weight's part

kept by counting, as for cold endpoints (`ext_proc.core.warming`): with every pick of a group it earns that part, a
request costs one, and with less than one it is named after the others. What all of them fail alike is held against
none (`Latencies.excess_errors`), and what is held against one is half forgotten after half a minute.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from ext_proc.core.latency import Latencies
from ext_proc.core.levels import Group
from ext_proc.core.slots import BoolArray, FloatArray, IntArray
from ext_proc.core.warming import A_REQUEST, MAX_CREDIT, after_the_others

LEAST_SHARE = 0.05
"""One request of twenty tells soon enough that it is well again, as under `weighted`."""

SEVERITY = 4
"""As of learned weights (`control_plane.fleet.speeds`): half of them failing costs all but a sixteenth, since each is
another try elsewhere, or an error for a client."""

LOOK_AT_ERRORS = frozenset({"kv-aware"})
"""Strategies whose cost has them already (`ext_proc.core.charges`); under `weighted` they take half a chance."""


class Failing:
    """Mutable: what each of them has saved up, by slot, and when there were any; the picker is the only writer."""

    def __init__(self, latencies: Latencies) -> None:
        self._latencies = latencies
        self._credits: dict[int, float] = {}
        self._found_at = -math.inf

    def held_back(self, slots: IntArray, now: float) -> BoolArray | None:
        """Which of a group's `slots` have had their part; None for none, or for all."""
        excess = self._excess(slots, now)
        if excess is None:
            return None
        self._found_at = now
        held = np.zeros(len(slots), dtype=np.bool_)
        for position in np.flatnonzero(excess).tolist():
            held[position] = self._credits.get(int(slots[position]), 0.0) < A_REQUEST
        return held if held.any() and not held.all() else None

    def picked(self, slots: IntArray, weights: FloatArray, best: int, now: float) -> None:
        """A request was given to the slot `best` of a group; `slots` and `weights` include those held back."""
        # For most picks there is nothing to be said of anybody, which `held_back` has found out in the same moment.
        excess = self._excess(slots, now) if now == self._found_at else None
        if excess is None:
            return
        due = weights * np.maximum(LEAST_SHARE, (1.0 - excess) ** SEVERITY)
        due /= due.sum()
        for position in np.flatnonzero(excess).tolist():
            slot = int(slots[position])
            earned = min(MAX_CREDIT, self._credits.get(slot, 0.0) + float(due[position]))
            self._credits[slot] = max(0.0, earned - 1.0) if slot == best else earned

    def is_held(self, slot: int) -> bool:
        """Whether it has had its part, as far as it is bounded."""
        return self._credits.get(slot, A_REQUEST) < A_REQUEST

    def reset(self, slot: int) -> None:
        """The slot is somebody else's."""
        self._credits.pop(slot, None)

    def _excess(self, slots: IntArray, now: float) -> FloatArray | None:
        if len(slots) < 2 or not self._latencies.may_have_errors(now):
            return None
        excess = self._latencies.excess_errors(slots, now)
        return excess if excess.any() else None


def sound_first(groups: Iterable[Group], failing: Failing, now: float) -> Iterator[Group]:
    """The groups without those who are held back, then these."""
    return after_the_others(groups, lambda slots: failing.held_back(slots, now), "fail more than the others")
