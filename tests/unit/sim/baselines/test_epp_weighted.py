"""EPP's weighted sum."""

import pytest

from tests.unit.sim.baselines.play import A, B, C, Play


def test_the_sum() -> None:
    """2 × queue + 2 × (1 − KV) + 3 × prefix + 2 × no-hit-lru, the last one 0.5 for all when anybody has a hit."""
    play = Play("epp-weighted")
    play.scrape(A, waiting=0, kv=0.9)
    play.scrape(B, waiting=10, kv=0.1)
    play.scrape(C, waiting=5, kv=0.5)
    play.hold(B, 1, 2, 3)
    keys = play.keys(1, 2, 3, 4)
    assert [-keys[address][0] for address in (A, B, C)] == pytest.approx([2 + 0.2 + 1, 1.8 + 2.25 + 1, 1 + 1 + 1])
    assert play.ask(1, 2, 3, 4) == B
    assert play.best(7, 8) == {A}, "without a hit, the empty queue wins"


def test_equal_queues_all_score_one() -> None:
    """Without scrapes nothing distinguishes the endpoints, and the score is the greatest."""
    keys = Play("epp-weighted").keys(1)
    assert set(keys.values()) == {(-(2 + 2 + 0 + 2),)}


def test_cold_prompts_go_round() -> None:
    """`no-hit-lru` sends each cold prompt to the endpoint that got one longest ago; a warm one does not count."""
    play = Play("epp-weighted")
    first = [play.ask(n) for n in range(3)]
    assert sorted(first) == [A, B, C]
    assert play.ask(2, 50) == first[2], "warm"
    assert [play.ask(n) for n in range(3, 6)] == first
    assert [-play.keys(99)[address][0] for address in first] == pytest.approx([6.0, 5.0, 4.0])
