"""`least-request`."""

from ext_proc.core.strategies import least_request
from tests.unit.ext_proc.core.strategies.pool import Pool


def test_the_fewest_in_flight_first() -> None:
    """In the order of their load."""
    pool = Pool(3)
    pool.send(0, times=5)
    pool.send(1, times=1)
    pool.send(2, times=3)
    assert pool.order(least_request, pool.view()) == [1, 2, 0]


def test_weight_divides_the_load() -> None:
    """Three in flight at weight 400 are less than one at weight 100, as (3+1)/400 < (1+1)/100."""
    pool = Pool(2, weights=[400, 100])
    pool.send(0, times=3)
    pool.send(1, times=1)
    assert pool.chosen(least_request, pool.view()) == {0}
    pool.send(0, times=5)
    assert pool.chosen(least_request, pool.view()) == {1}


def test_equal_loads_are_chosen_at_random() -> None:
    """Among equals everybody has a chance, and nobody else has."""
    pool = Pool(4)
    pool.send(3)
    assert pool.chosen(least_request, pool.view()) == {0, 1, 2}
