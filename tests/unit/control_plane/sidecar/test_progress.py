"""Envoys of a first group that go, come back, or have not come back yet."""

from control_plane.compile import Node
from control_plane.xds.rollout import Event
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD
from tests.unit.control_plane.sidecar.slow_loops import CANARY, accept, connect, offer, started


def test_a_canary_that_dies_of_it() -> None:
    """One that goes and does not come back has not accepted: the rest never sees the policy, and its name is told.
    One that is back at once breaks no soak."""
    loop = started(FIRST, more=CANARY)
    canary = connect(loop, Node(id="canary-1"))
    accept(loop, canary)
    offer(loop, SECOND, more=CANARY, now=0.0)
    accept(loop, canary)
    assert loop.tick(1.0) is None
    loop.answers.disconnected(canary)
    assert loop.tick(5.9) is None
    canary = connect(loop, Node(id="canary-1"))
    accept(loop, canary)
    assert loop.tick(6.0) is Event.PROMOTED
    offer(loop, THIRD, more=CANARY, now=10.0)
    accept(loop, canary)
    loop.tick(11.0)
    loop.answers.disconnected(canary)
    assert [loop.tick(now) for now in (15.9, 16.0, 44.9)] == [None, None, None]
    assert loop.tick(45.0) is Event.TIMED_OUT
    assert "by canary-1, which has gone" in loop.rollout.reason


def test_nobody_has_come_back_yet() -> None:
    """Right after a start an empty first group is no acceptance; after a while it is."""
    loop = started(FIRST, more=CANARY)
    loop.progress.await_comeback(100.0)
    offer(loop, SECOND, more=CANARY, now=100.0)
    assert [loop.tick(now) for now in (100.1, 129.0, 130.0)] == [None, None, None]
    assert loop.tick(135.0) is Event.PROMOTED


def test_one_who_comes_back_late_has_his_time() -> None:
    """The wait for a comeback does not count against the one who comes back at the end of it."""
    loop = started(FIRST, more=CANARY)
    loop.progress.await_comeback(100.0)
    offer(loop, SECOND, more=CANARY, now=100.0)
    assert loop.tick(129.0) is None
    connect(loop, Node(id="canary-1"))
    assert loop.tick(158.9) is None
    assert loop.tick(159.0) is Event.TIMED_OUT
