"""What the control plane serves: shared snapshots, bounded in number, changed only by `apply`."""

import pytest

from control_plane.compile import Node, Services
from control_plane.fleet.model import static_fleet
from control_plane.policy import Document, load
from control_plane.sidecar import slow_loop
from control_plane.sidecar.slow_loop import MAX_VARIANTS, SlowLoop
from control_plane.xds.kinds import ENDPOINTS
from ext_proc.core.address import SocketAddress
from protos.messages import load as load_messages
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, policy_text

PLAIN = Node(id="plain")


def document(*addresses: str) -> Document:
    """The policy over these endpoints."""
    found = load(policy_text(*addresses), "policy.yaml").document
    assert found is not None
    return found


def started(*addresses: str) -> SlowLoop:
    """A slow loop that serves this policy."""
    policy = document(*addresses)
    services = Services(ext_proc=SocketAddress("127.0.0.1", 9002))
    return SlowLoop(load_messages(), services, policy, static_fleet(policy.policy))


def count(loop: SlowLoop) -> int:
    """How many snapshots it holds."""
    return len(loop._applied.compiled)


def test_nodes_of_one_kind_share_a_snapshot() -> None:
    """Ids and clusters of nodes do not matter, their localities and versions do."""
    loop = started()
    first = loop.snapshot_for(Node(id="a", cluster="x", zone="z", version=(1, 40, 0)))
    assert loop.snapshot_for(Node(id="b", cluster="y", zone="z", version=(1, 40, 0))) is first
    assert loop.snapshot_for(Node(id="a", cluster="x", zone="other", version=(1, 40, 0))) is not first
    assert loop.snapshot_for(Node(id="a", cluster="x", zone="z", version=(1, 36, 0))) is not first
    assert count(loop) == 4


def test_propose_changes_nothing() -> None:
    """Until a proposal is applied, everything that is served is what it was."""
    loop = started(FIRST)
    before, version = loop.snapshot_for(PLAIN), loop.document.version
    other = document(FIRST, SECOND)
    proposal = loop.propose(other, static_fleet(other.policy))
    assert loop.snapshot_for(PLAIN) is before
    assert loop.document.version == version
    loop.apply(proposal)
    assert loop.document is other
    after = loop.snapshot_for(PLAIN)
    assert after.versions[ENDPOINTS] != before.versions[ENDPOINTS]


def test_propose_compiles_for_every_variant_in_use() -> None:
    """Whoever has asked finds the new policy compiled, so that no Envoy is the first to meet an error."""
    loop = started(FIRST)
    loop.snapshot_for(Node(id="z", zone="z"))
    other = document(SECOND)
    proposal = loop.propose(other, static_fleet(other.policy))
    assert {variant.zone for variant in proposal.compiled} == {"", "z"}


def test_a_proposal_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler raises comes out, and the old snapshots are served on."""
    loop = started(FIRST)
    before = loop.snapshot_for(PLAIN)

    def trip(*_: object) -> None:
        raise RuntimeError("tripped")

    monkeypatch.setattr(slow_loop, "compile_snapshot", trip)
    other = document(SECOND)
    with pytest.raises(RuntimeError, match="tripped"):
        loop.propose(other, static_fleet(other.policy))
    assert loop.snapshot_for(PLAIN) is before


def test_invented_localities_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of snapshots stays bounded, over edits, too; an evicted one is compiled anew, to the same bytes."""
    monkeypatch.setattr(slow_loop, "MAX_VARIANTS", 4)
    loop = started(FIRST)
    first = loop.snapshot_for(Node(id="0", zone="zone-0"))
    for edit in range(3):
        for number in range(6):
            loop.snapshot_for(Node(id="x", zone=f"zone-{edit}-{number}"))
            assert count(loop) <= 4
        loop.apply(loop.propose(loop.document, static_fleet(loop.document.policy)))
        assert count(loop) <= 5, "those in use and the plain one"
    again = loop.snapshot_for(Node(id="0", zone="zone-0"))
    assert again is not first
    assert again.versions == first.versions
    assert MAX_VARIANTS >= 64


def test_the_oldest_variant_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an edit, which keeps the order of age."""
    monkeypatch.setattr(slow_loop, "MAX_VARIANTS", 4)
    loop = started(FIRST)
    for zone in "abc":
        loop.snapshot_for(Node(id="x", zone=zone))
    loop.apply(loop.propose(loop.document, static_fleet(loop.document.policy)))
    loop.snapshot_for(Node(id="x", zone="d"))
    loop.snapshot_for(Node(id="x", zone="e"))
    assert [variant.zone for variant in loop._applied.compiled] == ["b", "c", "d", "e"]


def test_what_a_node_does_not_get_is_told() -> None:
    """An Envoy that lists no extensions worth the name misses something, a full one misses nothing."""
    loop = started()
    assert loop.left_out_for(Node(id="bare", version=(1, 40, 0), extensions=frozenset()))
    assert not loop.left_out_for(Node(id="full", version=(1, 40, 0)))


def test_where_resources_come_from() -> None:
    """A refused resource leads to its line in the policy; one that comes from none leads nowhere."""
    loop = started()
    mark = loop.document.mark("pools.p")
    assert mark is not None
    assert loop.places("pool/p") == [str(mark)]
    assert loop.places("kvpilot") == []
