"""Other endpoints cost one resource; other files cost everything, but no edit."""

from dataclasses import replace

from control_plane.compile import Node
from control_plane.compile.materials import materials_of
from control_plane.fleet.model import Fleet, Health
from control_plane.xds.kinds import CLUSTERS
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD
from tests.unit.control_plane.sidecar.slow_loops import (
    CANARY,
    PLAIN,
    addresses_of,
    connect,
    fleet_of,
    offer,
    served,
    started,
)


def test_nothing_else_changes() -> None:
    """The assignment is another one, everything else the same object."""
    loop = started(FIRST)
    before = served(loop, PLAIN)
    loop.fleet_changed(fleet_of(FIRST, THIRD), ["p"])
    after = served(loop, PLAIN)
    assert addresses_of(after) == {FIRST, THIRD}
    assert after.types[CLUSTERS] is before.types[CLUSTERS]
    loop.fleet_changed(fleet_of(FIRST, THIRD), ["p"])
    assert served(loop, PLAIN) is after


def test_what_was_overtaken_is_dropped() -> None:
    """Two results, the older one made later: the newer stays."""
    loop = started(FIRST)
    older = loop.updates.prepare_endpoints(fleet_of(SECOND), ["p"])
    newer = loop.updates.prepare_endpoints(fleet_of(THIRD), ["p"])
    loop.updates.apply_endpoints(newer())
    loop.updates.apply_endpoints(older())
    assert addresses_of(served(loop, PLAIN)) == {THIRD}


def test_a_pool_that_cannot_be_made_keeps_what_it_had() -> None:
    """One impossible endpoint must not freeze the rest; the failure is told, and over with the next good result."""
    loop = started(FIRST)
    loop.fleet_changed(fleet_of("nonsense"), ["p"])
    assert addresses_of(served(loop, PLAIN)) == {FIRST}
    ((_, _, made),) = loop.overview.failures()
    (failure,) = made.failures
    assert (failure.name, failure.instead) == ("pool/p", "last good")
    loop.fleet_changed(fleet_of(SECOND), ["p"])
    assert addresses_of(served(loop, PLAIN)) == {SECOND}
    assert not list(loop.overview.failures())


def test_endpoints_of_a_pool_that_the_candidate_declares_otherwise() -> None:
    """They are the candidate's alone; the rest keeps what it had."""
    loop = started(FIRST, more=CANARY)
    canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
    offer(loop, SECOND, more=CANARY)
    loop.fleet_changed(fleet_of(SECOND, THIRD), ["p"])
    assert addresses_of(served(loop, canary)) == {SECOND, THIRD}
    assert addresses_of(served(loop, rest)) == {FIRST}


def test_who_drains_does_so_under_every_policy() -> None:
    """Also in a pool that the candidate declares otherwise, where both have the endpoint."""
    loop = started(FIRST, SECOND, more=CANARY)
    canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
    offer(loop, SECOND, THIRD, more=CANARY)
    second, third = fleet_of(SECOND, THIRD).pools["p"]
    loop.fleet_changed(Fleet(pools={"p": (replace(second, health=Health.DRAINED), third)}), ["p"])
    assert addresses_of(served(loop, canary)) == {THIRD}
    assert addresses_of(served(loop, rest)) == {FIRST}


def test_who_is_avoided_is_so_under_every_policy() -> None:
    """What the picker found out about an endpoint is told to all Envoys that have it."""
    loop = started(FIRST, SECOND, more=CANARY)
    connect(loop, Node(id="canary-1"))
    offer(loop, SECOND, THIRD, more=CANARY)
    second, third = fleet_of(SECOND, THIRD).pools["p"]
    loop.fleet_changed(Fleet(pools={"p": (replace(second, inferred=Health.UNHEALTHY), third)}), ["p"])
    inputs = loop.inputs(loop.stable.version)
    assert inputs is not None
    assert [(one.address, one.inferred) for one in inputs.fleet.pools["p"]] == [
        (FIRST, Health.HEALTHY),
        (SECOND, Health.UNHEALTHY),
    ]


def test_other_files() -> None:
    """Contents of files reach the builds, and an edit that says nothing of them keeps them."""
    loop = started(FIRST)
    loop.materials_changed(materials_of({"a.pem": b"1"}))
    loop.materials_changed(materials_of({"b.pem": b"2"}))
    offer(loop, SECOND)
    inputs = loop.inputs(loop.document.version)
    assert inputs is not None
    assert inputs.materials == materials_of({"a.pem": b"1", "b.pem": b"2"})
