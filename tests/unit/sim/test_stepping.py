"""The clock of engines: steps one by one and several at once, and who may not skip the end of one."""

import pytest

from sim.events import Event, Finished, Usage
from sim.pace import Row
from sim.profile import Profile
from sim.stepping import Stepping

STEP_NS = 10_000_000


class Counting(Stepping):
    """Ten equal steps of 10 ms, then nothing."""

    def __init__(self) -> None:
        super().__init__(Profile())
        self.done = 0
        self._step_ends = STEP_NS

    def _quiet_steps(self) -> int:
        return 10 - self.done - 1

    def _row(self) -> Row:
        return Row(STEP_NS, 0)

    def _go_on(self, count: int) -> int:
        self.done += count
        return count

    def _finish_step(self, leapt: int, events: list[Event]) -> None:
        self.done += 1
        events.append(Finished("step", self.done, Usage(0, 0, 1 + leapt)))
        assert self._step_ends is not None
        self._step_ends = self._step_ends + STEP_NS if self.done < 10 else None

    def submit(self, now: float) -> int:
        """As an engine begins to take a request."""
        return self._checked(now)


def test_a_leap_ends_where_single_steps_end() -> None:
    """One long `advance` and many short ones take the same steps and stop at the same time."""
    single, leaping = Counting(), Counting()
    for step in range(1, 7):
        assert len(single.advance(step / 100)) == 1
    assert [event.usage.output_tokens for event in leaping.advance(0.06) if isinstance(event, Finished)] == [6]
    assert single.done == leaping.done == 6
    assert single.next_event_at() == leaping.next_event_at() == 0.07


def test_the_next_change_is_the_end_of_the_last_equal_step() -> None:
    """Nobody needs to look before it; and nothing comes when all is done."""
    engine = Counting()
    assert engine.next_change_at() == 0.1
    engine.advance(1.0)
    assert engine.done == 10
    assert engine.next_change_at() is engine.next_event_at() is None


def test_the_end_of_a_step_is_not_skipped() -> None:
    """What is done at a time behind it would be done in the past."""
    engine = Counting()
    assert engine.submit(0.01) == STEP_NS
    with pytest.raises(ValueError, match=r"a step ended at 0\.01: advance to 0\.02 first"):
        engine.submit(0.02)


def test_slowdown() -> None:
    """It is told as it was set."""
    engine = Counting()
    engine.set_slowdown(3.0)
    assert engine.slowdown == 3.0
