"""`queue-depth`."""

import pytest

from ext_proc.core.strategies.queue_depth import Parameters, QueueDepth
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked


def test_the_shallowest_queue_first() -> None:
    """Waiting requests count before running ones."""
    pool = Pool(3)
    pool.scrape(0, running=1, waiting=3)
    pool.scrape(1, running=200, waiting=0)
    pool.scrape(2, running=100, waiting=0)
    assert pool.order(QueueDepth(), pool.view()) == [2, 1, 0]


def test_a_burst_does_not_herd() -> None:
    """Between two scrapes, picks go to the idle one only until it is as deep as the others."""
    pool = Pool(2)
    pool.scrape(0, running=4, waiting=4)
    pool.scrape(1, running=4, waiting=0)
    chosen = []
    for seed in range(10):
        best = pool.order(QueueDepth(), pool.view(), seed)[0]
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
    assert pool.chosen(QueueDepth(), pool.view(now=0)) == {0}
    assert pool.chosen(QueueDepth(), pool.view(now=100)) == {1}


def test_equal_queues_are_chosen_at_random() -> None:
    """Without any scrape, all idle ones have a chance."""
    pool = Pool(3)
    pool.send(0)
    assert pool.chosen(QueueDepth(), pool.view()) == {1, 2}


def test_a_queue_is_as_long_as_its_endpoint_is_slow() -> None:
    """Three waiting at a quick endpoint are sooner done than two at a slow one."""
    pool = Pool(2)
    pool.scrape(0, running=1, waiting=3)
    pool.scrape(1, running=1, waiting=2)
    assert pool.chosen(QueueDepth(), pool.view()) == {1}
    for _ in range(50):
        pool.fleet.latencies.answered(0, 0.5, 0.0)
        pool.fleet.latencies.answered(1, 2.0, 0.0)
    assert pool.chosen(QueueDepth(), pool.view()) == {0}
    cost = ranked(QueueDepth(), pool.view()).cost
    assert cost[0] == pytest.approx(3 * 0.5, abs=0.3)
    assert cost[1] == pytest.approx(2 * 2.0, abs=0.3)


def test_a_full_queue_comes_last() -> None:
    """However quick the endpoint is; when all are full, the shallowest is named."""
    pool = Pool(3)
    for position, waiting in enumerate((20, 19, 25)):
        pool.scrape(position, running=1, waiting=waiting)
    for _ in range(50):
        pool.fleet.latencies.answered(0, 0.01, 0.0)
        pool.fleet.latencies.answered(1, 60.0, 0.0)
    assert pool.order(QueueDepth(), pool.view()) == [1, 0, 2]
    assert pool.order(QueueDepth(Parameters(maximum_depth=5)), pool.view()) == [1, 0, 2]
    assert "all queues full" in ranked(QueueDepth(Parameters(maximum_depth=5)), pool.view()).reason
    assert pool.order(QueueDepth(Parameters(maximum_depth=30)), pool.view())[0] == 0
