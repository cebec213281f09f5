"""Different Envoys, different policies; and who may not have one."""

from dataclasses import replace

from control_plane.compile import Node
from control_plane.fleet.model import static_fleet
from control_plane.policy import load
from control_plane.xds.identity import Identity
from control_plane.xds.kinds import LISTENERS
from control_plane.xds.rollout import Event
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, policy_text
from tests.unit.control_plane.sidecar.slow_loops import CANARY, connect, document, served, started, started_under


def test_what_a_node_does_not_get_is_told() -> None:
    """An Envoy that lists no extensions worth the name misses something, a full one misses nothing."""
    loop = started()
    assert loop.offers.left_out_for(Node(id="bare", version=(1, 40, 0), extensions=frozenset()))
    assert not loop.offers.left_out_for(Node(id="full", version=(1, 40, 0)))


def test_listeners_of_a_group() -> None:
    """Each group has the listeners that name it, and those that name none."""
    text = policy_text(FIRST).replace(
        "listeners: [{", "listeners: [{name: inner, address: 127.0.0.1:8081, groups: [canary]}, {"
    )
    found = load(text + CANARY, "policy.yaml").document
    assert found is not None
    loop = started_under(found)
    assert set(served(loop, Node(id="canary-1")).resources(LISTENERS)) == {"inner", "openai"}
    assert set(served(loop, Node(id="other")).resources(LISTENERS)) == {"openai"}
    assert loop.offers.assigned(Node(id="canary-1"))[1].group == "canary"


def test_identities() -> None:
    """A node that claims a group must prove that it may; a group without identities is open."""
    policy = document(FIRST, more=CANARY)
    group = replace(policy.policy.groups[0], identities=("spiffe://corp/edge/*", "edge-gw"))
    closed = replace(policy, policy=replace(policy.policy, groups=(group,)))
    loop = started_under(closed)
    for identity in (None, Identity((), "other"), Identity(("spiffe://corp/other",), "")):
        refusal = loop.answers.connected(Node(id="canary-1"), identity)
        assert refusal is not None
        assert "'canary'" in refusal
    assert loop.answers.connected(Node(id="canary-1"), Identity(("spiffe://corp/edge/1",), "")) is None
    assert loop.answers.connected(Node(id="canary-2"), Identity((), "edge-gw")) is None
    assert loop.answers.connected(Node(id="other"), None) is None


def test_an_edit_shuts_somebody_out() -> None:
    """Who may be in a group is asked of the newest policy, also for those who are there already."""
    loop = started(FIRST, more=CANARY)
    canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
    edge = Identity(("spiffe://corp/edge/1",), "")
    assert loop.offers.objection(canary, edge) is None
    newer = document(SECOND, more=CANARY)
    group = replace(newer.policy.groups[0], identities=("edge-gw",))
    closed = replace(newer, policy=replace(newer.policy, groups=(group,)))
    loop.apply(loop.propose(closed, static_fleet(closed.policy)))
    assert served(loop, canary).types is not None  # as if it had been offered the candidate before
    assert "'canary', which spiffe://corp/edge/1 may not" in (loop.offers.objection(canary, edge) or "")
    assert loop.offers.objection(rest, edge) is None
    assert loop.tick(1.0) is None
    loop.answers.disconnected(canary)
    assert loop.tick(6.0) is Event.PROMOTED, "who is shut out has no say in it"
