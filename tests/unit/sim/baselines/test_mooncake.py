"""Mooncake's conductor."""

import pytest

from tests.unit.sim.baselines.play import A, B, C, Play


def test_queue_plus_prefill() -> None:
    """At 1,000 tokens a second, one queued prompt of 600 tokens costs as much as 600 uncached ones."""
    play = Play("mooncake")
    play.hold(A, 1, 2, 3, 4)
    play.put(A, uncached=600)
    keys = play.keys(1, 2, 3, 4, 5)
    assert [keys[address][0] for address in (A, B, C)] == pytest.approx([0.7, 0.5, 0.5], abs=1e-4)
    play.put(B, uncached=300)
    play.put(C, uncached=300)
    assert play.best(1, 2, 3, 4, 5) == {A}


def test_the_queue_empties_with_first_tokens() -> None:
    """What has begun does not wait any more."""
    play = Play("mooncake")
    ids = [play.put(A, uncached=tokens) for tokens in (100, 200, 300)]
    for name in ids:
        play.first(name, A)
    assert play.keys(1)[A] == play.keys(1)[B]
