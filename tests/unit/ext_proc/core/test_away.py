"""Endpoints that are away for a moment: what is kept of them, for how long, and how much of it."""

import pytest

from ext_proc.core.away import MAX_AWAY, MAX_AWAY_S, Away
from ext_proc.core.speed import Pace

SLOW = Pace(3.0, 20.0, 15.0)


@pytest.mark.parametrize(("away_s", "found"), [(0.0, SLOW), (MAX_AWAY_S, SLOW), (MAX_AWAY_S + 0.1, None)])
def test_for_a_moment(away_s: float, found: Pace | None) -> None:
    """Then it is another endpoint; and of one that never left nothing is known."""
    away = Away()
    away.left("10.0.0.1:80", SLOW, 100.0)
    assert away.back("10.0.0.2:80", 100.0) is None
    assert away.back("10.0.0.1:80", 100.0 + away_s) == found
    assert away.back("10.0.0.1:80", 100.0 + away_s) is None


def test_it_is_bounded() -> None:
    """By number, and by age: who leaves takes those with him who have been away for too long."""
    away = Away()
    for n in range(MAX_AWAY + 3):
        away.left(f"10.0.0.1:{n}", SLOW, 1.0)
    assert (len(away), away.back("10.0.0.1:2", 1.0), away.back("10.0.0.1:3", 1.0)) == (MAX_AWAY, None, SLOW)
    away.left("10.0.0.1:5", SLOW, 2.0)
    away.left("10.0.0.2:80", SLOW, 1.5 + MAX_AWAY_S)
    assert len(away) == 2
