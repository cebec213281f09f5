"""How long the steps of an engine last, in whole nanoseconds: one at a time, and many decode steps in a row.

Pure. In a row of decode steps each is longer than the one before by the same whole number (every request has one more
token to look at), so that sums are exact, and many steps at once end when they would end one by one.
"""

from dataclasses import dataclass
from math import isqrt

from sim.profile import Profile

NS = 1_000_000_000
"""Nanoseconds in a second."""


@dataclass(frozen=True, slots=True)
class Row:
    """Decode steps in a row: the length of the first one, and by how much each later one is longer; nanoseconds."""

    first: int
    growth: int

    def total(self, count: int) -> int:
        """Length of `count` steps."""
        return count * self.first + self.growth * (count * (count - 1) // 2)

    def fitting(self, span: int) -> int:
        """The largest number of steps whose total is at most `span`."""
        if not self.growth:
            return span // self.first
        # From count * first + growth * count * (count - 1) / 2 <= span.
        middle = 2 * self.first - self.growth
        return (isqrt(middle * middle + 8 * self.growth * span) - middle) // (2 * self.growth)


class Pace:
    """Step lengths of one profile under a slowdown."""

    # What changes: the slowdown. The single writer is the engine that owns it.
    __slots__ = ("_profile", "_read_ns", "slowdown")

    def __init__(self, profile: Profile) -> None:
        """Start at the profile's own speed."""
        self._profile = profile
        self.set_slowdown(1.0)

    def set_slowdown(self, factor: float) -> None:
        """Make every later step last `factor` times as long. Raises ValueError unless it is positive."""
        if not factor > 0:
            raise ValueError("the slowdown must be positive")
        self.slowdown = factor
        self._read_ns = round(self._profile.kv_read_ns_per_token * factor)

    def step(self, requests: int, prefill_tokens: int, pairs: int, context: int) -> int:
        """Length of one step; `context` tokens are looked at by its decodes. For the others see `Profile.step_s`."""
        fixed = round(self._profile.step_s(requests, prefill_tokens, pairs) * self.slowdown * NS)
        return max(1, fixed) + self._read_ns * context

    def row(self, requests: int, context: int) -> Row:
        """Steps in which `requests` decode, `context` being that of the first one."""
        return Row(self.step(requests, 0, 0, context), self._read_ns * requests)
