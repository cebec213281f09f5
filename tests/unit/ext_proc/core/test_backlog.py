"""The backlog: what is due drains by the clock, first tokens set it right, and it returns to nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.backlog import GRACE_MS, Backlog

SLOT = np.array([3])


def wait_ms(backlog: Backlog, now: float) -> float:
    """Of the one slot."""
    return float(backlog.wait_ms(SLOT, now)[0])


def test_work_is_done_when_it_is_due() -> None:
    """A first token is due after the work and the step; until the work alone remains, all of it is before the next."""
    backlog = Backlog(8)
    due_at, _ = backlog.enter(3, 10.0, work_ms=40, step_ms=20)
    assert due_at == pytest.approx(10.060)
    assert wait_ms(backlog, 10.0) == wait_ms(backlog, 10.015) == 40
    assert wait_ms(backlog, 10.050) == pytest.approx(10)
    assert wait_ms(backlog, 10.070) == 0
    assert backlog.owed_ms(SLOT).tolist() == [40]
    assert backlog.wait_ms(np.array([2]), 10.0).tolist() == [0]


def test_requests_stand_behind_each_other() -> None:
    """The second one's first token is due after both."""
    backlog = Backlog(8)
    backlog.enter(3, 0.0, work_ms=40, step_ms=20)
    due_at, _ = backlog.enter(3, 0.010, work_ms=30, step_ms=20)
    assert due_at == pytest.approx(0.010 + 0.040 + 0.030 + 0.020)


def test_a_late_first_token_moves_those_behind_it() -> None:
    """What was due after it is due as much later."""
    backlog = Backlog(8)
    due_at, place = backlog.enter(3, 0.0, work_ms=40, step_ms=0)
    backlog.enter(3, 0.0, work_ms=30, step_ms=0)
    backlog.answered(3, due_at + 0.050, due_at, place)
    backlog.leave(3, 40, is_done=True)
    assert wait_ms(backlog, 0.090) == 30
    assert wait_ms(backlog, 0.110) == pytest.approx(10)


def test_a_later_first_token_answers_for_the_earlier_ones() -> None:
    """Engines serve in order: nothing is left before it. What comes late about an earlier one changes nothing."""
    backlog = Backlog(8)
    first_due, first = backlog.enter(3, 0.0, work_ms=40, step_ms=0)
    second_due, second = backlog.enter(3, 0.0, work_ms=30, step_ms=0)
    backlog.answered(3, 0.020, second_due, second)
    assert wait_ms(backlog, 0.0) == 0
    backlog.enter(3, 0.020, work_ms=10, step_ms=0)
    backlog.answered(3, 5.0, first_due, first)
    assert wait_ms(backlog, 0.020) == pytest.approx(10)


def test_an_endpoint_that_owes_too_much_is_behind() -> None:
    """Only so much may be taken for done without being known: a pod that hangs does not look idle."""
    backlog = Backlog(8)
    for _ in range(10):
        backlog.enter(3, 0.0, work_ms=100, step_ms=0)
    assert wait_ms(backlog, 60.0) == 1_000 - GRACE_MS


def test_what_is_gone_leaves_nothing() -> None:
    """Sums of floats do: 0.1 + 0.2 - 0.1 - 0.2 is not 0, and whoever seems to owe it never teaches how fast he is."""
    backlog = Backlog(8)
    for work in (0.1, 0.2):
        backlog.enter(3, 0.0, work_ms=work, step_ms=0)
    for work in (0.1, 0.2):
        backlog.leave(3, work, is_done=False)
    assert backlog.owed_at(3) == 0


def test_grows_and_forgets() -> None:
    """New slots have nothing to do, and a slot that is given away neither."""
    backlog = Backlog(4)
    backlog.enter(3, 0.0, work_ms=40, step_ms=0)
    backlog.grow(16)
    assert backlog.wait_ms(np.array([3, 15]), 0.0).tolist() == [40, 0]
    backlog.reset(3)
    assert wait_ms(backlog, 0.0) == backlog.left_ms(3, 0.0) == 0


_WORK = st.floats(0, 1e5)
_STEPS = st.lists(
    st.tuples(st.sampled_from(["enter", "answer", "leave"]), st.integers(0, 20), _WORK, st.floats(0, 10)), max_size=60
)


@given(_STEPS)
def test_everything_in_any_order_ends_in_nothing(steps: list[tuple[str, int, float, float]]) -> None:
    """Waits are never negative, never more than is owed, and nothing is owed when all are gone."""
    backlog = Backlog(8)
    waiting: list[tuple[float, float, float]] = []
    now = 0.0
    for kind, which, work, gap in steps:
        now += gap
        if kind == "enter":
            waiting.append((work, *backlog.enter(3, now, work, 10.0)))
        elif waiting:
            gone, due_at, place = waiting.pop(which % len(waiting))
            if kind == "answer":
                backlog.answered(3, now, due_at, place)
            backlog.leave(3, gone, is_done=kind == "answer")
        owed = sum(work for work, _, _ in waiting)
        assert -1e-3 <= wait_ms(backlog, now) <= owed + 1e-3
    for work, _, _ in waiting:
        backlog.leave(3, work, is_done=False)
    assert wait_ms(backlog, now) == backlog.owed_at(3) == 0
