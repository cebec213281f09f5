"""Dynamo's cost."""

import pytest

from tests.unit.sim.baselines.play import A, B, C, Play


def test_the_cost_in_blocks() -> None:
    """Prefill blocks (active + incoming − overlap) + distinct decode blocks with this request."""
    play = Play("dynamo")
    play.put(A, 1, 2, 3, uncached=300)
    play.hold(A, 4, 5)
    play.put(B, 8, 9, begun=True)
    keys = play.keys(1, 2, 3, 4, 5, tokens=550)
    # A: 3 queued + 0.5 of its own; 3 active + 2 new + 0.5. B: 5.5 of its own; 2 active + 5 new + 0.5. C: nothing yet.
    assert [keys[address][0] for address in (A, B, C)] == pytest.approx([3 + 0.5 + 5.5, 5.5 + 7.5, 5.5 + 5.5])
    assert play.best(1, 2, 3, 4, 5) == {A}


def test_a_queue_outweighs_the_overlap() -> None:
    """Each queued block counts as much as a block of overlap."""
    play = Play("dynamo")
    play.hold(A, 1, 2, 3)
    play.put(A, 70, 71, uncached=200)
    assert A not in play.best(1, 2, 3)


def test_entries_live_120_seconds() -> None:
    """Blocks sent longer ago are believed to be gone."""
    play = Play("dynamo")
    play.hold(A, 1, 2, 3)
    play.now = 119.0
    assert play.best(1, 2, 3) == {A}
    play.now = 120.0
    assert play.best(1, 2, 3) == {A, B, C}
