"""A policy from the proposal to all Envoys: compiled, offered, in stages, forced, restored."""

import pytest

from control_plane.compile import Node
from control_plane.fleet.model import static_fleet
from control_plane.sidecar import builds
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, RUNTIME
from control_plane.xds.rollout import Event
from control_plane.xds.snapshot import Snapshot
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD
from tests.unit.control_plane.sidecar.slow_loops import (
    CANARY,
    PLAIN,
    accept,
    addresses_of,
    connect,
    document,
    fleet_of,
    offer,
    refuse,
    served,
    started,
)


def test_propose_changes_nothing() -> None:
    """Until a proposal is applied, everything that is served is what it was."""
    loop = started(FIRST)
    before, version = served(loop, PLAIN), loop.document.version
    other = document(FIRST, SECOND)
    proposal = loop.propose(other, static_fleet(other.policy))
    assert loop.offers.snapshot_for(PLAIN) is before
    assert loop.document.version == version
    loop.apply(proposal)
    assert loop.document is other
    assert served(loop, PLAIN).versions[ENDPOINTS] != before.versions[ENDPOINTS]


def test_only_kinds_that_are_connected_are_compiled_for() -> None:
    """Whoever is connected finds the new policy compiled; who has gone costs nothing any more."""
    loop = started(FIRST)
    node = connect(loop, Node(id="z", zone="z"))
    served(loop, Node(id="gone", zone="gone"))
    other = document(SECOND)
    proposal = loop.propose(other, static_fleet(other.policy))
    assert {variant.zone for variant in proposal.builds} == {"", "z"}
    loop.answers.disconnected(node)
    assert {variant.zone for variant in loop.propose(other, static_fleet(other.policy)).builds} == {""}


def test_a_proposal_that_cannot_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler raises comes out, and the old snapshots are served on."""
    loop = started(FIRST)
    before = loop.offers.snapshot_for(PLAIN)

    def trip(*_: object, **__: object) -> None:
        raise RuntimeError("tripped")

    monkeypatch.setattr(builds, "compile_snapshot", trip)
    other = document(SECOND)
    with pytest.raises(RuntimeError, match="tripped"):
        loop.propose(other, static_fleet(other.policy))
    assert loop.offers.snapshot_for(PLAIN) is before


def test_runtime_values_are_always_there() -> None:
    """An Envoy that asks for them waits for the answer, so an empty layer is one, too."""
    loop = started()
    assert list(served(loop, PLAIN).resources(RUNTIME)) == ["kvpilot"]
    before = served(loop, PLAIN).versions[RUNTIME]
    offer(loop, more="runtime: {a.b: 1}\n")
    assert served(loop, PLAIN).versions[RUNTIME] != before


def test_the_next_edit_starts_from_its_own_fleet() -> None:
    """What discovery found is part of the fleet that comes with the edit, not of the old builds."""
    loop = started(FIRST)
    loop.fleet_changed(fleet_of(THIRD), ["p"])
    offer(loop, FIRST, SECOND)
    assert addresses_of(served(loop, PLAIN)) == {FIRST, SECOND}


def test_a_pool_that_a_policy_cannot_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edit in which one pool cannot be compiled is applied without it: it stays as it was."""
    loop = started(FIRST)
    before = served(loop, PLAIN).resources(CLUSTERS)["pool/p"]

    def trip(*_: object, **__: object) -> None:
        raise RuntimeError("tripped")

    monkeypatch.setattr("control_plane.compile.snapshot.pool_cluster", trip)
    offer(loop, FIRST, more="runtime: {a: 1}\n")
    assert served(loop, PLAIN).resources(CLUSTERS)["pool/p"] is before
    ((_, _, made),) = loop.overview.failures()
    assert [(f.name, f.error, f.instead) for f in made.failures] == [("pool/p", "RuntimeError: tripped", "last good")]
    assert loop.versions.place_of_pool("pool/p").startswith("policy.yaml:4:")


def test_force() -> None:
    """The operator insists: what was refused is served again."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    refuse(loop, node, ENDPOINTS, "pool/p")
    offer(loop, FIRST)
    assert "pool/p" not in served(loop, node).resources(ENDPOINTS)
    offer(loop, FIRST, force=True)
    assert "pool/p" in served(loop, node).resources(ENDPOINTS)


def test_last_good_from_before_the_restart() -> None:
    """Nobody has accepted anything yet, but the last accepted policy is known from earlier."""
    loop = started(SECOND)
    earlier = document(FIRST)
    loop.restore(loop.propose(earlier, static_fleet(earlier.policy)))
    remembered: list[Snapshot] = []
    loop.offers.remember = remembered.append
    node = connect(loop, Node(id="a"))
    assert [addresses_of(snapshot) for snapshot in remembered] == [{FIRST}]
    refuse(loop, node, ENDPOINTS, "pool/p")
    assert addresses_of(served(loop, node)) == {FIRST}


def test_first_then_the_rest() -> None:
    """The rest gets it when the first have accepted it and the soak is over."""
    loop = started(FIRST, more=CANARY)
    canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
    accept(loop, canary)
    accept(loop, rest)
    offer(loop, SECOND, more=CANARY, now=100.0)
    assert addresses_of(served(loop, canary)) == {SECOND}
    assert addresses_of(served(loop, rest)) == {FIRST}
    assert [(name, state) for name, *_, state in loop.overview.groups()] == [
        ("canary", "rolling-out"),
        ("default", "waiting"),
    ]
    assert loop.tick(101.0) is None
    accept(loop, canary)
    assert loop.tick(102.0) is None
    assert loop.tick(107.0) is Event.PROMOTED
    assert addresses_of(served(loop, rest)) == {SECOND}
    assert loop.tick(108.0) is None
