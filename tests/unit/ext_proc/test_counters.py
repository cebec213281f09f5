"""The picker's own counts."""

import pytest

from ext_proc.counters import MAX_REASONS, OTHER, Counters, Histogram


def test_histogram() -> None:
    """A value counts once, in the first bucket that it does not exceed; what exceeds all has a place of its own."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 14.0


@pytest.mark.parametrize(
    ("status", "aborted", "outcome"),
    [
        (200, False, "ok"),
        (404, False, "client_error"),
        (503, False, "server_error"),
        (0, False, "server_error"),
        (200, True, "aborted"),
        (0, True, "aborted"),
    ],
)
def test_ended(status: int, aborted: bool, outcome: str) -> None:
    """An end is counted as what it was for the client; a client that left is nobody's failure."""
    counters = Counters()
    counters.count_ended(status, aborted=aborted)
    assert counters.ended == {outcome: 1}


def test_reasons_are_bounded() -> None:
    """However many reasons there are, they do not become endless labels."""
    counters = Counters()
    for number in range(1_000):
        counters.count_unpicked(f"reason {number}")
    counters.count_unpicked("reason 0")
    assert len(counters.unpicked) == MAX_REASONS + 1
    assert counters.unpicked["reason 0"] == 2
    assert counters.unpicked[OTHER] == 1_000 - MAX_REASONS
