"""What pods tell routers of their prefix caches."""

import pytest

from ext_proc.core.events import BlocksRemoved, BlocksStored
from sim.events import Request
from sim.virtual.cache_events import cache_events
from sim.virtual.pod import Pod
from tests.unit.sim.virtual.fleets import PLAIN


def test_events_carry_the_address_and_the_replays_time() -> None:
    """Stored and removed blocks, each once; time that the pod stood still is added."""
    pod = Pod("10.0.0.1:8000", PLAIN, cache_events=True)
    pod.hang(0.0)
    pod.go_on(2.0)
    pod.submit(Request("a", tuple(range(99)), 9_900, 1), 2.0)
    pod.advance(9.0)
    first, second = cache_events(pod)
    assert first == BlocksStored(address=pod.address, at=2.51, blocks=tuple(range(50)), parent=None)
    assert second == BlocksStored(address=pod.address, at=3.01, blocks=tuple(range(50, 99)), parent=49)
    pod.submit(Request("b", (500, 501), 200, 1), 9.0)
    pod.advance(10.0)
    removed, _ = cache_events(pod)
    assert removed == BlocksRemoved(address=pod.address, at=removed.at, blocks=(98,))
    assert removed.at == pytest.approx(9.03)
    assert cache_events(pod) == []


def test_pods_tell_nothing_unless_asked() -> None:
    """Also not after a restart; one that was asked goes on telling after it."""
    for wanted in (False, True):
        pod = Pod("10.0.0.1:8000", PLAIN, cache_events=wanted)
        pod.crash()
        pod.restart()
        pod.submit(Request("a", (1,), 100, 1), 0.0)
        pod.advance(1.0)
        assert bool(cache_events(pod)) is wanted
