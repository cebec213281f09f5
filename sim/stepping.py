"""The clock of an engine that works in steps: what happens when, and several equal steps taken at once. Pure.

Time inside is integer nanoseconds, so that one long `advance` and many short ones end in exactly the same state.
"""

from abc import ABC, abstractmethod

from sim.events import Event
from sim.pace import NS, Pace, Row
from sim.profile import Profile


class Stepping(ABC):
    """An engine's time; what a step does is the subclass's. Not thread-safe; the clock never goes back."""

    # What changes: the end of the step in flight, the slowdown. Single writer: the caller.
    def __init__(self, profile: Profile) -> None:
        """Idle, at the profile's own speed."""
        self.profile = profile
        self._pace = Pace(profile)
        self._step_ends: int | None = None

    @property
    def slowdown(self) -> float:
        """How many times as long as the profile says each step lasts."""
        return self._pace.slowdown

    def set_slowdown(self, factor: float) -> None:
        """Make every later step last `factor` times as long. Raises ValueError unless it is positive."""
        self._pace.set_slowdown(factor)

    def next_event_at(self) -> float | None:
        """When the step in flight ends (seconds); None while there is nothing to do."""
        return None if self._step_ends is None else self._step_ends / NS

    def next_change_at(self) -> float | None:
        """No first token and no end comes before this time (seconds), unless something is submitted or aborted.

        It is the end of a step, at or after `next_event_at`; to sleep until then makes virtual time fast. None while
        there is nothing to do.
        """
        if self._step_ends is None:
            return None
        count = self._certain_steps()
        return (self._step_ends + (self._row().total(count) if count > 0 else 0)) / NS

    def advance(self, now: float) -> list[Event]:
        """Let time pass until `now`; return what happened since, in order.

        Tokens that one request gets in a row may come as one `Token` event when `now` lies several steps ahead.
        """
        now_ns = round(now * NS)
        events: list[Event] = []
        while self._step_ends is not None and self._step_ends <= now_ns:
            self._finish_step(self._leap(now_ns), events)
        return events

    def _checked(self, now: float) -> int:
        now_ns = round(now * NS)
        if self._step_ends is not None and now_ns > self._step_ends:
            raise ValueError(f"a step ended at {self.next_event_at()}: advance to {now} first")
        return now_ns

    def _leap(self, now_ns: int) -> int:
        """Take as many equal steps as end by `now_ns`, the last one left in flight; return how many came before it."""
        assert self._step_ends is not None
        left = now_ns - self._step_ends
        count = self._quiet_steps() if left else 0
        if count <= 0:
            return 0
        row = self._row()
        count = self._go_on(min(count, row.fitting(left)))
        self._step_ends += row.total(count)
        return count

    def _certain_steps(self) -> int:
        """As `_quiet_steps`, where those that are not certain to be equal do not count."""
        return self._quiet_steps()

    @abstractmethod
    def _quiet_steps(self) -> int:
        """How many steps after the one in flight can start before anybody ends or joins."""

    @abstractmethod
    def _row(self) -> Row:
        """The steps after the one in flight, while all go on."""

    @abstractmethod
    def _go_on(self, count: int) -> int:
        """Do what up to `count` such steps do; return how many it came to."""

    @abstractmethod
    def _finish_step(self, leapt: int, events: list[Event]) -> None:
        """End the step in flight, `leapt` equal ones having gone before it, and start the next one if there is work."""
