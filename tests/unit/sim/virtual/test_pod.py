"""A pod: its engine's time while it stands still, and its process."""

from dataclasses import replace
from math import inf

import pytest

from sim.engine import Engine
from sim.events import Finished, FirstToken, Request
from sim.slots import SlotEngine
from sim.virtual.pod import Pod
from tests.unit.sim.virtual.fleets import PLAIN


def pod_with_work(output: int = 3) -> Pod:
    """A pod that computes 1,000 tokens from 0 s on."""
    pod = Pod("a", PLAIN)
    pod.submit(Request("r", (), 1_000, output), 0.0)
    return pod


def test_a_profile_says_which_engine_it_is() -> None:
    """Also after a restart."""
    for profile, engine in ((PLAIN, Engine), (replace(PLAIN, engine="llamacpp"), SlotEngine)):
        pod = Pod("a", profile)
        assert isinstance(pod.engine, engine)
        pod.restart()
        assert isinstance(pod.engine, engine)


def test_the_next_change_is_in_the_replays_time() -> None:
    """After a pause later by its length; nothing changes while a pod stands still, is down, or has nothing to do."""
    pod = pod_with_work(output=5)
    assert pod.next_at == pytest.approx(0.11)
    pod.hang(0.05)
    assert pod.next_at == inf
    pod.go_on(1.05)
    assert pod.next_at == pytest.approx(1.11)
    assert [type(event) for event in pod.advance(pod.next_at)] == [FirstToken]
    assert pod.next_at == pytest.approx(1.15)
    assert [type(event) for event in pod.advance(pod.next_at)] == [Finished]
    assert pod.next_at == inf


def test_what_clients_see_are_beginnings_and_ends() -> None:
    """The tokens between are left out; time that has passed is not told twice."""
    pod = pod_with_work()
    assert pod.advance(0.1) == []
    assert [(type(event), event.at) for event in pod.advance(1.0)] == [(FirstToken, 0.11), (Finished, 0.13)]
    assert pod.advance(2.0) == []
    assert pod.served == 1


def test_standing_still_shifts_what_comes() -> None:
    """Two pauses of 1 s and 2 s, one before and one within the decoding."""
    pod = pod_with_work()
    pod.advance(0.05)
    pod.hang(0.05)
    pod.hang(0.5)  # it already does
    assert pod.is_hung
    assert pod.advance(1.0) == []
    pod.go_on(1.05)
    first = pod.advance(1.115)
    pod.hang(1.115)
    pod.go_on(3.115)
    assert [event.at for event in first + pod.run_out()] == pytest.approx([1.11, 3.13])
    assert not pod.is_hung


def test_what_a_hung_pod_takes_waits() -> None:
    """Requests are queued at the moment at which its time stands."""
    pod = Pod("a", PLAIN)
    pod.hang(1.0)
    pod.submit(Request("r", (), 1_000, 1), 5.0)
    assert pod.advance(6.0) == []
    pod.go_on(7.0)
    assert [event.at for event in pod.run_out()] == pytest.approx([7.11, 7.11])


def test_a_crash_ends_everything_and_a_restart_begins_anew() -> None:
    """A pod that is down does nothing, one that is back is idle and cold, and as slow as it was."""
    pod = pod_with_work()
    pod.engine.set_slowdown(3.0)
    pod.crash()
    assert (pod.is_down, pod.advance(9.0), pod.run_out()) == (True, [], [])
    pod.restart()
    assert (pod.is_down, pod.gauges().running, pod.run_out()) == (False, 0, [])
    assert pod.engine.slowdown == 3.0


def test_a_long_wait_runs_out_in_pieces() -> None:
    """Running out goes on however long it takes."""
    pod = pod_with_work(output=9_000)
    pod.engine.set_slowdown(1_000)
    assert [type(event) for event in pod.run_out()] == [FirstToken, Finished]
