"""A difference of two policies with its interval, and what can be said of it.

Pure. An interval is made from resamples of stretches of time, as `sim.virtual.compare` draws them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, sqrt
from typing import Any, Final, Literal

STRETCHES: Final = 10
"""Of a trace that is long enough. As few as an interval can be made of: a stretch should hold the rise and the fall of
a queue. Between seeds of made chats, differences of means vary up to twice as much as intervals of 30 stretches admit,
and up to twelve times as much as those of a bootstrap over sessions, which takes waiting in the same queue for chance.
"""

LEAST_STRETCHES: Final = 8
"""Of fewer, drawing again tells nothing: no interval is given."""

LEVEL_PERCENT: Final = 95

_Z: Final = 1.959964
"""Standard deviations on each side of the normal distribution's middle 95 %."""

AGREEING: Final = Fraction(2, 3)
"""Of the seeds, how many at least have to differ in the direction of all together: both of two, two of three."""

Verdict = Literal["better", "worse", "no difference seen", "seeds disagree", "too little to say"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """One number for both policies and their difference, new less old; None: nothing was measured.

    `low` and `high` are the ends of the interval of the difference; None: too little to give one. `by_seed` are the
    differences of each seed.
    """

    old: float | None
    new: float | None
    difference: float | None
    low: float | None
    high: float | None
    is_less_better: bool
    by_seed: tuple[float | None, ...]

    @property
    def agreeing(self) -> int:
        """How many seeds differ in the direction of all together; where these do not differ, how many do not."""
        whole = self.difference or 0.0
        return sum(s is not None and (s > 0) == (whole > 0) and (s < 0) == (whole < 0) for s in self.by_seed)

    @property
    def verdict(self) -> Verdict:
        """What can be said: a difference only where the interval leaves 0 out, and the seeds agree."""
        if self.low is None or self.high is None:
            return "too little to say"
        if self.low <= 0 <= self.high:
            return "no difference seen"
        if self.agreeing < AGREEING * len(self.by_seed):
            return "seeds disagree"
        return "better" if (self.high < 0) == self.is_less_better else "worse"

    def as_dict(self) -> dict[str, Any]:
        """The JSON values."""
        return {
            "old": self.old,
            "new": self.new,
            "difference": self.difference,
            "interval": None if self.low is None else [self.low, self.high],
            "verdict": self.verdict,
            "by_seed": list(self.by_seed),
        }


def interval(difference: float, found: Sequence[float], units: Collection[int]) -> tuple[float, float] | None:
    """The ends, from the differences of the resamples; None when there are too few stretches."""
    if len(units) < LEAST_STRETCHES or not found:
        return None
    ordered = sorted(found)
    beyond = (100 - LEVEL_PERCENT) / 200
    low, high = (ordered[ceil(share * len(ordered)) - 1] for share in (beyond, 1 - beyond))
    # Drawn within each trace, so that each has one degree of freedom less than it has stretches.
    wider = _wider(max(1, len(units) - len({unit // STRETCHES for unit in units})), len(units))
    return difference + wider * (low - difference), difference + wider * (high - difference)


def _wider(freedom: int, units: int) -> float:
    """How much wider the interval of few stretches is: Student's t over z, and what drawing loses of the variance.

    t by its expansion in 1/freedom (Abramowitz and Stegun, 26.7.5).
    """
    t = _Z + (_Z**3 + _Z) / (4 * freedom) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * freedom**2)
    return t / _Z * sqrt(units / freedom)
