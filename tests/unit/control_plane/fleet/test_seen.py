"""What counts of a place."""

import pytest

from control_plane.fleet.seen import NOBODY, Seen, ShiftRule


@pytest.mark.parametrize(
    ("healthy", "total", "min_healthy", "is_ready"),
    [(2, 4, 50, True), (1, 4, 50, False), (1, 3, 33, True), (1, 3, 34, False), (1, 100, 1, True), (4, 4, 100, True)],
)
def test_ready(healthy: int, total: int, min_healthy: int, is_ready: bool) -> None:
    """With so many percent that are healthy."""
    seen = Seen(total=total, usable=healthy, healthy=healthy)
    assert seen.is_ready(ShiftRule(min_healthy=min_healthy)) is is_ready


def test_nobody() -> None:
    """Who is not there is dark and never ready; who is degraded can be used."""
    assert (NOBODY.is_dark, NOBODY.well, NOBODY.is_ready(ShiftRule(min_healthy=1))) == (True, 0.0, False)
    degraded = Seen(total=2, usable=2, healthy=0)
    assert (degraded.is_dark, degraded.is_ready(ShiftRule(min_healthy=1))) == (False, False)
