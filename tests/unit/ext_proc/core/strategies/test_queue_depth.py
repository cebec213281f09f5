"""`queue-depth`."""

from ext_proc.core.strategies import queue_depth
from tests.unit.ext_proc.core.strategies.pool import Pool


def test_the_shallowest_queue_first() -> None:
    """Waiting requests count before running ones."""
    pool = Pool(3)
    pool.scrape(0, running=1, waiting=3)
    pool.scrape(1, running=200, waiting=0)
    pool.scrape(2, running=100, waiting=0)
    assert pool.order(queue_depth, pool.view()) == [2, 1, 0]


def test_a_burst_does_not_herd() -> None:
    """Between two scrapes, picks go to the idle one only until it is as deep as the others."""
    pool = Pool(2)
    pool.scrape(0, running=4, waiting=4)
    pool.scrape(1, running=4, waiting=0)
    chosen = []
    for seed in range(10):
        best = pool.order(queue_depth, pool.view(), seed)[0]
        chosen.append(best)
        pool.send(best)
    assert chosen[:4] == [1, 1, 1, 1]
    assert sorted(chosen[4:]) == [0, 0, 0, 1, 1, 1]


def test_an_old_idle_number_stops_attracting() -> None:
    """A scrape of long ago is worth less than what was sent since."""
    pool = Pool(2)
    pool.send(0, times=3)
    pool.scrape(0, running=0, waiting=0)
    pool.scrape(1, running=0, waiting=1)
    assert pool.chosen(queue_depth, pool.view(now=0)) == {0}
    assert pool.chosen(queue_depth, pool.view(now=100)) == {1}


def test_equal_queues_are_chosen_at_random() -> None:
    """Without any scrape, all idle ones have a chance."""
    pool = Pool(3)
    pool.send(0)
    assert pool.chosen(queue_depth, pool.view()) == {1, 2}
