"""What Envoys accept and refuse, and what follows from it."""

from control_plane.compile import Node
from control_plane.fleet.model import static_fleet
from control_plane.policy import load
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, RUNTIME
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD, policy_text
from tests.unit.control_plane.sidecar.slow_loops import (
    CANARY,
    PLAIN,
    accept,
    addresses_of,
    connect,
    fleet_of,
    offer,
    refuse,
    served,
    started,
    started_under,
    two_pools,
)


def test_a_named_resource_is_held_back() -> None:
    """Its last accepted content is served in its place, to new Envoys, too; everything else is new."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    accept(loop, node)
    good = served(loop, node)
    offer(loop, FIRST, SECOND, more="runtime: {a: 1}\n")
    refuse(loop, node, ENDPOINTS, "pool/p")
    for one in (node, connect(loop, Node(id="b")), connect(loop, Node(id="c", zone="elsewhere"))):
        assert addresses_of(served(loop, one)) == {FIRST}
        assert served(loop, one).versions[RUNTIME] != good.versions[RUNTIME]
    ((variant, held),) = loop.overview.held_back()
    assert (variant.group, held.rejected.name, held.instead) == ("default", "pool/p", "last good")
    assert loop.overview.refusals("a") == {"EDS": [("pool/p", "pool/p is bad")]}
    offer(loop, THIRD)
    assert addresses_of(served(loop, node)) == {THIRD}
    assert not list(loop.overview.held_back())
    assert loop.overview.refusals("a") == {}


def test_one_of_many_that_is_new_is_the_offender() -> None:
    """Envoy does not say which, but only one of them has never been accepted."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    accept(loop, node)
    offer(loop, FIRST, more="models: []\n".replace("models: []\n", "runtime: {a: 1}\n"))
    names = served(loop, node).resources(CLUSTERS)
    loop.answers.rejected(
        node, RUNTIME, {"kvpilot": served(loop, node).resources(RUNTIME)["kvpilot"].version}, False, "bad"
    )
    assert names
    assert [held.rejected.name for _, held in loop.overview.held_back()] == ["kvpilot"]


def test_when_nobody_knows_the_group_goes_back() -> None:
    """Several new resources and no name: the whole last accepted policy is served until the next edit."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    accept(loop, node)
    first = loop.document.version
    loop.apply(loop.propose(two_pools(), static_fleet(two_pools().policy)))
    refuse(loop, node, CLUSTERS, "pool/q", "pool/r", named=False)
    assert loop.rollout.pins == {"default": first}
    assert set(served(loop, node).resources(CLUSTERS)) == {"kvpilot", "pool/p"}
    assert next(state for *_, state in loop.overview.groups()) == "rolled-back"
    offer(loop, SECOND)
    assert addresses_of(served(loop, node)) == {SECOND}


def test_when_nobody_knows_and_there_is_nothing_to_go_back_to() -> None:
    """All of them are suspects, and get another chance with the next edit."""
    loop = started_under(two_pools())
    node = connect(loop, Node(id="a"))
    refuse(loop, node, CLUSTERS, "pool/q", "pool/r", named=False)
    assert "pool/q" not in served(loop, node).resources(CLUSTERS)
    assert list(loop.overview.empty_handed()) == [("a", "CDS", "pool/q is bad")] * 2
    loop.apply(loop.propose(two_pools(), static_fleet(two_pools().policy)))
    assert "pool/q" in served(loop, node).resources(CLUSTERS)


def test_an_envoys_own_trouble() -> None:
    """What another one of its kind has accepted is served on to everybody."""
    loop = started(FIRST)
    one, other = connect(loop, Node(id="a")), connect(loop, Node(id="b"))
    offer(loop, SECOND)
    accept(loop, one)
    refuse(loop, other, ENDPOINTS, "pool/p")
    assert addresses_of(served(loop, other)) == {SECOND}
    assert not list(loop.overview.held_back())


def test_a_taken_port_is_tried_again() -> None:
    """It is held back while the Envoy that refused it is connected, where there is something to serve instead."""
    loop = started(FIRST)
    node = connect(loop, Node(id="a"))
    accept(loop, node)
    before = served(loop, node).resources(LISTENERS)["openai"]
    moved = load(policy_text(FIRST).replace("8080", "8081"), "policy.yaml").document
    assert moved is not None
    loop.apply(loop.propose(moved, static_fleet(moved.policy)))
    version = served(loop, node).resources(LISTENERS)["openai"].version
    loop.answers.rejected(node, LISTENERS, {"openai": version}, True, "openai: cannot bind '127.0.0.1:8081'")
    second = connect(loop, Node(id="b"))
    assert served(loop, second).resources(LISTENERS)["openai"] == before
    loop.answers.disconnected(node)
    assert served(loop, second).resources(LISTENERS)["openai"].version == version


def test_answers_of_strangers() -> None:
    """A stream that is not known (any more) changes nothing."""
    loop = started(FIRST)
    loop.answers.acked(PLAIN, CLUSTERS, {"a": "1"})
    loop.answers.rejected(PLAIN, CLUSTERS, {"a": "1"}, True, "bad")
    loop.answers.disconnected(PLAIN)
    assert not loop.quarantine.rejections()


def test_a_refusal_of_the_first_goes_nowhere() -> None:
    """They are back exactly where they were; a new Envoy of theirs, too; nothing stays in quarantine."""
    loop = started(FIRST, more=CANARY)
    canary = connect(loop, Node(id="canary-1"))
    accept(loop, canary)
    before = served(loop, canary)
    offer(loop, SECOND, more=CANARY)
    refuse(loop, canary, ENDPOINTS, "pool/p")
    assert loop.rollout.reason.startswith("policy.yaml:4:")
    assert served(loop, canary).versions == before.versions
    assert served(loop, connect(loop, Node(id="canary-2"))).versions == before.versions
    assert not loop.quarantine.rejections()


def test_a_refusal_of_what_all_have_is_no_reason_to_go_back() -> None:
    """Other endpoints came while the candidate was under way: the bad ones are held back, the rollout goes on."""
    loop = started(FIRST, more=CANARY)
    canary = connect(loop, Node(id="canary-1"))
    accept(loop, canary)
    offer(loop, FIRST, more=CANARY + "runtime: {a: 1}\n")
    accept(loop, canary)
    loop.fleet_changed(fleet_of(THIRD), ["p"])
    refuse(loop, canary, ENDPOINTS, "pool/p")
    assert loop.rollout.candidate is not None
    assert addresses_of(served(loop, canary)) == {FIRST}


def test_all_have_accepted() -> None:
    """A version is good for a group when each of its Envoys has all of it; whoever asks is told once."""
    loop = started(FIRST)
    told: list[str] = []
    loop.answers.accepted = told.append
    one, other = connect(loop, Node(id="a")), connect(loop, Node(id="b"))
    accept(loop, one)
    assert told == []
    for type_url in (CLUSTERS, ENDPOINTS, LISTENERS):
        resources = served(loop, other).resources(type_url)
        loop.answers.acked(other, type_url, {name: resource.version for name, resource in resources.items()})
    assert told == []
    resources = served(loop, other).resources(ROUTES)
    loop.answers.acked(other, ROUTES, {name: resource.version for name, resource in resources.items()})
    loop.fleet_changed(fleet_of(THIRD), ["p"])
    accept(loop, one)
    assert told == [loop.document.version]
