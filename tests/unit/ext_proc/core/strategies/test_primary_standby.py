"""`primary-standby`."""

from ext_proc.core.strategies import primary_standby
from tests.unit.ext_proc.core.strategies.pool import Pool


def test_the_first_of_those_that_may_be_named() -> None:
    """In the order of the pool, whatever the load."""
    pool = Pool(4)
    pool.send(0, times=50)
    assert pool.order(primary_standby, pool.view()) == [0, 1, 2, 3]
    assert pool.order(primary_standby, pool.view(among=[2, 3])) == [2, 3]
