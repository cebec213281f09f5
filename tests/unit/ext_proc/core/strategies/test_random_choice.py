"""`random`."""

import random
from collections import Counter

from ext_proc.core.strategies import random_choice
from tests.unit.ext_proc.core.strategies.pool import Pool


def test_each_by_its_weight() -> None:
    """Three times the weight, three times the picks; load does not matter."""
    pool = Pool(3, weights=[300, 100, 100])
    pool.send(0, times=50)
    rng = random.Random(1)
    picks = Counter(int(random_choice.rank(pool.view(), rng).order[0]) for _ in range(5_000))
    assert 2_800 < picks[0] < 3_200
    assert 900 < picks[1] < 1_100


def test_further_names_are_drawn_as_well() -> None:
    """All orders occur."""
    pool = Pool(3)
    assert len({tuple(pool.order(random_choice, pool.view(), seed)) for seed in range(200)}) == 6
