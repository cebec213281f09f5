"""`weighted-round-robin`."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.strategies.view import View
from ext_proc.core.strategies.weighted_round_robin import WeightedRoundRobin
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked


def picks(chosen: WeightedRoundRobin, view: View, count: int) -> list[int]:
    """The slots of so many picks in a row."""
    slots = []
    for _ in range(count):
        best = int(ranked(chosen, view).order[0])
        chosen.picked(view, best)
        slots.append(int(view.slots[best]))
    return slots


def test_the_smooth_order() -> None:
    """nginx's own example: the heavy one is not sent its five in a row."""
    pool = Pool(3, weights=[5, 1, 1])
    assert "".join("abc"[slot] for slot in picks(WeightedRoundRobin(), pool.view(), 14)) == "aabacaa" * 2


def test_equal_weights_are_round_robin() -> None:
    """Each in the order of the pool."""
    assert picks(WeightedRoundRobin(), Pool(3).view(), 7) == [0, 1, 2, 0, 1, 2, 0]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_shares_are_exact(weights: list[int]) -> None:
    """After as many picks as the weights add up to, each has had exactly its weight of them."""
    pool = Pool(len(weights), weights=weights)
    had = Counter(picks(WeightedRoundRobin(), pool.view(), sum(weights)))
    assert [had[n] for n in range(len(weights))] == weights


def test_who_was_away_has_nothing_to_catch_up_on() -> None:
    """An endpoint that comes back gets its share from then on, not what it missed."""
    pool = Pool(3)
    chosen = WeightedRoundRobin()
    picks(chosen, pool.view(), 3)
    assert set(picks(chosen, pool.view(among=[0, 1]), 100)) == {0, 1}
    assert Counter(picks(chosen, pool.view(), 6)) == {0: 2, 1: 2, 2: 2}


def test_a_ranking_without_a_pick_is_no_turn() -> None:
    """Only what was picked is remembered."""
    pool = Pool(2)
    chosen = WeightedRoundRobin()
    assert [int(ranked(chosen, pool.view()).order[0]) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("size", [64, 65, 200])
def test_more_endpoints_than_at_first(size: int) -> None:
    """The account grows with the fleet."""
    chosen = WeightedRoundRobin()
    small = Pool(2)
    picks(chosen, small.view(), 1)
    assert max(picks(chosen, Pool(size).view(), size)) == size - 1
