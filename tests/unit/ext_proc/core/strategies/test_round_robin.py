"""`round-robin`."""

from ext_proc.core.strategies import round_robin
from tests.unit.ext_proc.core.strategies.pool import Pool


def test_each_in_its_turn() -> None:
    """Every endpoint once in a round, and those after it as its substitutes."""
    pool = Pool(3)
    orders = [pool.order(round_robin, pool.view(turn=turn)) for turn in range(4)]
    assert orders == [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]


def test_load_does_not_matter() -> None:
    """A busy endpoint has its turn too."""
    pool = Pool(2)
    pool.send(0, uncached=10_000, times=50)
    assert pool.order(round_robin, pool.view(turn=0)) == [0, 1]
