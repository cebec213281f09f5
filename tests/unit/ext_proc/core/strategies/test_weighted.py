"""`weighted`."""

import random
from collections import Counter

import pytest

from ext_proc.core.strategies.weighted import LEAST_SCORE, Parameters, Weighted
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked


def shares(pool: Pool, parameters: Parameters | None = None) -> list[float]:
    """The shares of 4,000 picks."""
    rng = random.Random(1)
    chosen = Weighted(parameters)
    picks = Counter(int(chosen.rank(pool.view(), rng).order[0]) for _ in range(4_000))
    return [picks[n] / 4_000 for n in range(len(pool.slots))]


def learned(*latencies: float) -> Pool:
    """A pool whose endpoints have answered often, in so many seconds."""
    pool = Pool(len(latencies))
    for position, seconds in enumerate(latencies):
        for _ in range(500):
            pool.fleet.latencies.answered(position, seconds, 0.0)
    return pool


def test_the_score() -> None:
    """Half from the latency below 5 s, half from the error rate below 10 %."""
    pool = learned(1.0, 1.0, 1.0)
    for n in range(1_000):
        pool.fleet.latencies.ended(1, 0.0, is_error=n % 20 == 0)
        pool.fleet.latencies.ended(2, 0.0, is_error=True)
    score = ranked(Weighted(), pool.view()).terms["score"]
    assert score[0] == pytest.approx(0.9)
    assert score[1] == pytest.approx(0.65, abs=0.15)
    assert score[2] == pytest.approx(0.4)


def test_quick_endpoints_are_picked_more_often() -> None:
    """In proportion to their scores: 1 s has 0.9, 3 s has 0.7 and 9 s has 0.5."""
    got = shares(learned(1.0, 3.0, 9.0))
    assert got == [pytest.approx(share, abs=0.04) for share in (0.43, 0.33, 0.24)]


def test_weights_count() -> None:
    """A score times a weight."""
    pool = Pool(2, weights=[300, 100])
    assert shares(pool)[0] == pytest.approx(0.75, abs=0.03)


def test_the_worst_keeps_a_small_chance() -> None:
    """Or nobody would see that it is well again."""
    pool = learned(0.001, 60.0)
    for _ in range(500):
        pool.fleet.latencies.ended(1, 0.0, is_error=True)
    assert 0.2 * LEAST_SCORE < shares(pool)[1] < 2 * LEAST_SCORE


def test_other_limits() -> None:
    """At a limit of 2 s, 3 s are as bad as 9 s."""
    score = ranked(Weighted(Parameters(latency_limit_s=2.0, error_limit=0.5)), learned(1.0, 3.0, 9.0).view()).terms
    assert score["score"].tolist() == [pytest.approx(0.75, abs=0.05), 0.5, 0.5]
