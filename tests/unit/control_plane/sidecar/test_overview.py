"""What is told of Envoys and groups; each state of a group, and each refusal as long as it matters."""

from control_plane.compile import Node
from control_plane.xds.kinds import ENDPOINTS
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND
from tests.unit.control_plane.sidecar.slow_loops import (
    CANARY,
    accept,
    connect,
    fleet_of,
    offer,
    refuse,
    served,
    started,
)


def test_the_states_of_a_group() -> None:
    """From one policy to the next, with the Envoys that are connected."""
    loop = started(FIRST, more=CANARY)
    before = loop.document.version
    assert list(loop.overview.groups()) == [
        ("canary", "first", before, 0, "applied"),
        ("default", "rest", before, 0, "applied"),
    ]
    canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
    assert [group[3:] for group in loop.overview.groups()] == [(1, "pending"), (1, "pending")]
    accept(loop, canary)
    accept(loop, rest)
    newest = offer(loop, SECOND, more=CANARY).version
    assert list(loop.overview.groups()) == [
        ("canary", "first", newest, 1, "rolling-out"),
        ("default", "rest", before, 1, "waiting"),
    ]
    accept(loop, canary)
    loop.tick(1.0)
    assert [group[4] for group in loop.overview.groups()] == ["soaking", "waiting"]
    loop.answers.disconnected(canary)
    assert [group[3:] for group in loop.overview.groups()] == [(0, "rolling-out"), (1, "waiting")]


def test_what_is_held_back_is_told_once_per_group() -> None:
    """However many kinds of Envoy a group has."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    connect(loop, Node(id="b", zone="elsewhere"))
    refuse(loop, node, ENDPOINTS, "pool/p")
    served(loop, node)
    assert len(list(loop.overview.held_back())) == 1


def test_a_refusal_of_what_is_not_wanted_any_more() -> None:
    """It is told while the policy has that content, and only of the Envoy that refused it."""
    loop = started(FIRST)
    node, other = connect(loop, Node(id="a")), connect(loop, Node(id="b"))
    refuse(loop, node, ENDPOINTS, "pool/p")
    assert loop.overview.refusals("a") == {"EDS": [("pool/p", "pool/p is bad")]}
    assert loop.overview.refusals("b") == {}
    assert list(loop.overview.all_refusals()) == [("default", "EDS", "pool/p", "pool/p is bad")]
    assert list(loop.overview.empty_handed()) == [("a", "EDS", "pool/p is bad")]
    accept(loop, other)
    loop.fleet_changed(fleet_of(SECOND), ["p"])
    served(loop, node)
    assert loop.overview.refusals("a") == {}
    assert list(loop.overview.empty_handed()) == []


def test_an_envoy_that_holds_something_is_not_empty_handed() -> None:
    """What it has of that type serves on."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    accept(loop, node)
    offer(loop, SECOND)
    refuse(loop, node, ENDPOINTS, "pool/p")
    assert loop.overview.refusals("a")
    assert list(loop.overview.empty_handed()) == []
