"""Streams whose headers came and nothing else."""

from ext_proc.core.overdue import GRACE_S, Overdue
from ext_proc.core.signs import ASLEEP_S


def looking(until: float) -> Overdue:
    """Somebody looked each second up to then."""
    overdue = Overdue()
    for second in range(int(until) + 1):
        assert overdue.take(float(second)) == []
    return overdue


def test_overdue_once() -> None:
    """After its limit and the grace, and then it is told no more."""
    overdue = looking(10.0)
    overdue.expect("d", "a", 10.0, 3.0)
    assert overdue.take(12.9 + GRACE_S) == []
    assert overdue.take(13.0 + GRACE_S) == [("a", 10.0)]
    assert overdue.take(14.0 + GRACE_S) == []


def test_what_came_is_not_awaited() -> None:
    """Nor what is unknown."""
    overdue = looking(10.0)
    overdue.expect("d", "a", 10.0, 1.0)
    overdue.over("d")
    overdue.over("e")
    overdue.moved("e", "b", 10.0)
    assert overdue.take(14.0) == []


def test_another_try_has_its_own_limit() -> None:
    """It is the endpoint that is tried now that is late, from the moment when it was asked."""
    overdue = looking(10.0)
    overdue.expect("d", "a", 10.0, 1.0)
    overdue.moved("d", "b", 12.0)
    assert overdue.take(12.9 + GRACE_S) == []
    assert overdue.take(13.0 + GRACE_S) == [("b", 10.0)]


def test_after_a_sleep_nobody_is_late() -> None:
    """What came meanwhile is still to be heard; what does not come is late all the same."""
    overdue = looking(10.0)
    overdue.expect("d", "a", 10.0, 1.0)
    later = 10.0 + ASLEEP_S + 1.0
    assert overdue.take(later) == []
    assert overdue.take(later + GRACE_S) == [("a", 10.0)]
