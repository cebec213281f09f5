"""All strategies: they choose only whom they may, each endpoint once, and the same again from the same seed."""

import random
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.record import MAX_CANDIDATES
from ext_proc.core.strategies.table import STRATEGIES, strategy
from ext_proc.core.strategies.view import best_first, jitter
from tests.unit.ext_proc.core.strategies.pool import Pool

_LOADS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3_000), st.booleans()), min_size=1, max_size=20)


@pytest.mark.parametrize("name", STRATEGIES)
@given(loads=_LOADS, data=st.data(), turn=st.integers(0, 10**9), seed=st.integers(0))
def test_chooses_only_the_eligible(
    name: str, loads: list[tuple[int, int, bool]], data: st.DataObject, turn: int, seed: int
) -> None:
    """Distinct endpoints of the view, as many as there are up to the limit, with a cost and terms for each."""
    pool = Pool(len(loads))
    for position, (times, uncached, is_decoding) in enumerate(loads):
        pool.send(position, uncached=uncached, times=times, is_decoding=is_decoding)
        if position % 2:
            pool.scrape(position, running=times * 2, waiting=uncached // 500)
    among = data.draw(st.lists(st.integers(0, len(loads) - 1), min_size=1, unique=True))
    view = pool.view(turn=turn, among=among, now=data.draw(st.floats(0, 100)))
    order = pool.order(strategy(name), view, seed)
    assert len(order) == len(set(order)) == min(len(among), MAX_CANDIDATES)
    assert set(order) <= set(among)
    assert pool.order(strategy(name), view, seed) == order
    ranking = strategy(name).rank(view, random.Random(seed))
    assert {len(ranking.cost), *map(len, ranking.terms.values())} == {len(among)}
    assert np.isfinite(ranking.cost).all()
    assert pool.addresses[order[0]] in ranking.reason


def test_unknown_names_are_refused() -> None:
    """With the names that there are."""
    with pytest.raises(ValueError, match=r"'fastest'; there are kv-aware, round-robin"):
        strategy("fastest")


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_best_first_is_the_start_of_sorting(keys: list[float]) -> None:
    """The least keys in order."""
    array = np.array(keys)
    assert array[best_first(array)].tolist() == sorted(keys)[:MAX_CANDIDATES]


def test_jitter_is_random_in_its_range() -> None:
    """Values from 0 to below 1, spread, and the same from the same seed."""
    values = jitter(1_000, random.Random(1))
    assert 0 <= values.min() < 0.1
    assert 0.9 < values.max() < 1
    assert cast(bool, (values == jitter(1_000, random.Random(1))).all())
