"""Quantiles by nearest rank."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.ranks import nearest_rank


@pytest.mark.parametrize(
    ("ordered", "percent", "value"),
    [((7,), 1, 7), ((7,), 100, 7), ((1, 2), 50, 1), ((1, 2), 51, 2), (range(1, 101), 99, 99), (range(1, 11), 90, 9)],
)
def test_values(ordered: Sequence[int], percent: int, value: int) -> None:
    """A share that falls between two places takes the later one."""
    assert nearest_rank(ordered, percent) == value


@given(st.lists(st.integers(), min_size=1), st.integers(1, 100))
def test_that_share_is_not_above(values: list[int], percent: int) -> None:
    """At least that share is at most the value, and less than that share lies before its first place."""
    found = nearest_rank(sorted(values), percent)
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    assert 100 * sum(value < found for value in values) < percent * len(values)
