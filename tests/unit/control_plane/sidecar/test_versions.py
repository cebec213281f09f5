"""One build for each kind of Envoy: shared, bounded, made elsewhere where it is long."""

from collections.abc import Callable

import pytest

from control_plane.compile import Node
from control_plane.sidecar import versions
from control_plane.sidecar.versions import MAX_VARIANTS
from control_plane.xds.kinds import LISTENERS
from tests.unit.control_plane.sidecar.in_process import FIRST, THIRD
from tests.unit.control_plane.sidecar.slow_loops import addresses_of, count, fleet_of, offer, served, started


def test_nodes_of_one_kind_share_a_snapshot() -> None:
    """Ids and clusters of nodes do not matter, their localities and versions do."""
    loop = started()
    first = loop.offers.snapshot_for(Node(id="a", cluster="x", zone="z", version=(1, 40, 0)))
    assert loop.offers.snapshot_for(Node(id="b", cluster="y", zone="z", version=(1, 40, 0))) is first
    assert loop.offers.snapshot_for(Node(id="a", cluster="x", zone="other", version=(1, 40, 0))) is not first
    assert loop.offers.snapshot_for(Node(id="a", cluster="x", zone="z", version=(1, 20, 0))) is not first
    assert count(loop) == 4


def test_invented_localities_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of builds stays bounded; an evicted one is compiled anew, to the same bytes."""
    monkeypatch.setattr(versions, "MAX_VARIANTS", 4)
    loop = started(FIRST)
    first = served(loop, Node(id="0", zone="zone-0"))
    for number in range(9):
        loop.offers.snapshot_for(Node(id="x", zone=f"zone-1-{number}"))
        assert count(loop) <= 4
    offer(loop, FIRST)
    assert count(loop) == 1, "nobody is connected"
    again = served(loop, Node(id="0", zone="zone-0"))
    assert again is not first
    assert again.versions == first.versions
    assert MAX_VARIANTS >= 64


def test_where_resources_come_from() -> None:
    """A refused resource leads to its line in the policy; one that comes from none leads nowhere."""
    loop = started()
    mark = loop.document.mark("pools.p")
    assert mark is not None
    assert loop.versions.places("pool/p") == [str(mark)]
    assert loop.versions.places("pool/p", LISTENERS) == []
    assert loop.versions.places("kvpilot") == []


def test_a_long_build_is_made_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new kind of Envoy waits for it; meanwhile endpoints may change, and the build has them."""
    monkeypatch.setattr(versions, "INLINE_ENDPOINTS", 0)
    loop = started(FIRST)
    jobs: list[Callable[[], Callable[[], None]]] = []
    loop.versions.delegate = jobs.append
    node = Node(id="x", zone="z")
    assert loop.answers.connected(node, None) is None
    assert loop.offers.snapshot_for(node) is None
    assert loop.offers.snapshot_for(node) is None
    assert loop.offers.left_out_for(node) == ()
    (job,) = jobs
    install = job()
    loop.fleet_changed(fleet_of(FIRST, THIRD), ["p"])
    install()
    assert addresses_of(served(loop, node)) == {FIRST, THIRD}
