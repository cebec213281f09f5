"""Dynamo's cost."""

import pytest

from ext_proc.core.events import BlocksStored, FirstToken, RequestEnded
from sim.baselines.dynamo import Dynamo
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


def test_with_events_the_index_is_the_engines() -> None:
    """What they told does not age; what was only sent counts for five seconds."""
    play = Play("dynamo", kv_events=True)
    play.rule.observe(BlocksStored(address=A, at=0.0, blocks=(1, 2, 3)))
    play.end(play.put(B, 7, 8))
    play.now = 4.9
    assert play.best(1, 2, 3) == {A}
    assert play.best(7, 8) == {B}
    play.now = 5.0
    assert play.best(7, 8) == {A, B, C}
    play.now = 1_000.0
    assert play.best(1, 2, 3) == {A}


def test_replicas_tell_each_other_of_requests_in_flight() -> None:
    """A replica's request counts as an own one: its queue until its first token, its blocks until its end."""
    one, two = Play("dynamo"), Play("dynamo")
    assert isinstance(one.rule, Dynamo)
    assert one.rule.last_picked() is None
    one.ask(1, 2, 3, tokens=350)
    picked = one.rule.last_picked()
    assert picked is not None
    two.rule.observe(picked)
    address = picked.address
    assert two.keys(9)[address] == one.keys(9)[address] == pytest.approx((3.5 + 1 + 3 + 1 + 0.5,))
    two.rule.observe(FirstToken(decision_id=picked.decision_id, address=address, at=0.0, ttft_ms=1.0))
    assert two.keys(9)[address] == pytest.approx((1 + 3 + 1 + 0.5,))
    two.rule.observe(RequestEnded(decision_id=picked.decision_id, at=0.0, status=200))
    assert two.keys(9)[address] == pytest.approx((1 + 1,))
    assert two.keys(1, 2, 3)[address] == pytest.approx((3 + 3,))  # its index does not know the prompt
