"""What the control plane serves: which version to whom, shared builds, refusals, the endpoints' own lane."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from control_plane.compile import Node, Services
from control_plane.compile.materials import materials_of
from control_plane.fleet.model import Endpoint, Fleet, static_fleet
from control_plane.policy import Document, load
from control_plane.sidecar import builds, slow_loop
from control_plane.sidecar.slow_loop import MAX_VARIANTS, SlowLoop
from control_plane.xds.identity import Identity
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, RUNTIME
from control_plane.xds.rollout import Event
from control_plane.xds.snapshot import Snapshot
from ext_proc.core.address import SocketAddress
from protos.messages import load as load_messages
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD, policy_text

PLAIN = Node(id="plain")
CANARY = "groups: [{name: canary, appliesTo: {nodeId: {prefix: canary-}}, rollout: first}]\nsafety: {soak: 5s}\n"


def document(*addresses: str, more: str = "") -> Document:
    """The policy over these endpoints."""
    result = load(policy_text(*addresses) + more, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document


def started(*addresses: str, more: str = "") -> SlowLoop:
    """A slow loop that serves this policy."""
    policy = document(*addresses, more=more)
    services = Services(ext_proc=SocketAddress("127.0.0.1", 9002))
    return SlowLoop(load_messages(), services, policy, static_fleet(policy.policy))


def offer(loop: SlowLoop, *addresses: str, more: str = "", now: float = 0.0, force: bool = False) -> Document:
    """An edit."""
    other = document(*addresses, more=more)
    loop.apply(loop.propose(other, static_fleet(other.policy)), now, force=force)
    return other


def served(loop: SlowLoop, node: Node) -> Snapshot:
    """What the node gets."""
    found = loop.snapshot_for(node)
    assert found is not None
    return found


def connect(loop: SlowLoop, node: Node) -> Node:
    """A stream begins, and is offered what there is."""
    assert loop.connected(node, None) is None
    served(loop, node)
    return node


def accept(loop: SlowLoop, node: Node) -> None:
    """The Envoy accepts all that it is offered."""
    found = served(loop, node)
    for type_url, resources in found.types.items():
        loop.acked(node, type_url, {name: resource.version for name, resource in resources.items()})


def refuse(loop: SlowLoop, node: Node, type_url: str, *names: str, named: bool = True) -> None:
    """The Envoy refuses these."""
    found = served(loop, node).resources(type_url)
    loop.rejected(node, type_url, {name: found[name].version for name in names}, named, f"{names[0]} is bad")


def count(loop: SlowLoop) -> int:
    """How many builds it holds for the newest version."""
    return len(loop._versions[loop.document.version].builds)


class TestBuilds:
    """One for each kind of Envoy."""

    def test_nodes_of_one_kind_share_a_snapshot(self) -> None:
        """Ids and clusters of nodes do not matter, their localities and versions do."""
        loop = started()
        first = loop.snapshot_for(Node(id="a", cluster="x", zone="z", version=(1, 40, 0)))
        assert loop.snapshot_for(Node(id="b", cluster="y", zone="z", version=(1, 40, 0))) is first
        assert loop.snapshot_for(Node(id="a", cluster="x", zone="other", version=(1, 40, 0))) is not first
        assert loop.snapshot_for(Node(id="a", cluster="x", zone="z", version=(1, 20, 0))) is not first
        assert count(loop) == 4

    def test_propose_changes_nothing(self) -> None:
        """Until a proposal is applied, everything that is served is what it was."""
        loop = started(FIRST)
        before, version = served(loop, PLAIN), loop.document.version
        other = document(FIRST, SECOND)
        proposal = loop.propose(other, static_fleet(other.policy))
        assert loop.snapshot_for(PLAIN) is before
        assert loop.document.version == version
        loop.apply(proposal)
        assert loop.document is other
        assert served(loop, PLAIN).versions[ENDPOINTS] != before.versions[ENDPOINTS]

    def test_only_kinds_that_are_connected_are_compiled_for(self) -> None:
        """Whoever is connected finds the new policy compiled; who has gone costs nothing any more."""
        loop = started(FIRST)
        node = connect(loop, Node(id="z", zone="z"))
        served(loop, Node(id="gone", zone="gone"))
        other = document(SECOND)
        proposal = loop.propose(other, static_fleet(other.policy))
        assert {variant.zone for variant in proposal.builds} == {"", "z"}
        loop.disconnected(node)
        assert {variant.zone for variant in loop.propose(other, static_fleet(other.policy)).builds} == {""}

    def test_a_proposal_that_cannot_be_compiled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the compiler raises comes out, and the old snapshots are served on."""
        loop = started(FIRST)
        before = loop.snapshot_for(PLAIN)

        def trip(*_: object, **__: object) -> None:
            raise RuntimeError("tripped")

        monkeypatch.setattr(builds, "compile_snapshot", trip)
        other = document(SECOND)
        with pytest.raises(RuntimeError, match="tripped"):
            loop.propose(other, static_fleet(other.policy))
        assert loop.snapshot_for(PLAIN) is before

    def test_invented_localities_do_not_fill_the_memory(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The number of builds stays bounded; an evicted one is compiled anew, to the same bytes."""
        monkeypatch.setattr(slow_loop, "MAX_VARIANTS", 4)
        loop = started(FIRST)
        first = served(loop, Node(id="0", zone="zone-0"))
        for number in range(9):
            loop.snapshot_for(Node(id="x", zone=f"zone-1-{number}"))
            assert count(loop) <= 4
        offer(loop, FIRST)
        assert count(loop) == 1, "nobody is connected"
        again = served(loop, Node(id="0", zone="zone-0"))
        assert again is not first
        assert again.versions == first.versions
        assert MAX_VARIANTS >= 64

    def test_what_a_node_does_not_get_is_told(self) -> None:
        """An Envoy that lists no extensions worth the name misses something, a full one misses nothing."""
        loop = started()
        assert loop.left_out_for(Node(id="bare", version=(1, 40, 0), extensions=frozenset()))
        assert not loop.left_out_for(Node(id="full", version=(1, 40, 0)))

    def test_where_resources_come_from(self) -> None:
        """A refused resource leads to its line in the policy; one that comes from none leads nowhere."""
        loop = started()
        mark = loop.document.mark("pools.p")
        assert mark is not None
        assert loop.places("pool/p") == [str(mark)]
        assert loop.places("pool/p", LISTENERS) == []
        assert loop.places("kvpilot") == []

    def test_runtime_values_are_always_there(self) -> None:
        """An Envoy that asks for them waits for the answer, so an empty layer is one, too."""
        loop = started()
        assert list(served(loop, PLAIN).resources(RUNTIME)) == ["kvpilot"]
        before = served(loop, PLAIN).versions[RUNTIME]
        offer(loop, more="runtime: {a.b: 1}\n")
        assert served(loop, PLAIN).versions[RUNTIME] != before

    def test_a_long_build_is_made_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new kind of Envoy waits for it; meanwhile endpoints may change, and the build has them."""
        monkeypatch.setattr(slow_loop, "INLINE_ENDPOINTS", 0)
        loop = started(FIRST)
        jobs: list[Callable[[], Callable[[], None]]] = []
        loop.delegate = jobs.append
        node = Node(id="x", zone="z")
        assert loop.connected(node, None) is None
        assert loop.snapshot_for(node) is None
        assert loop.snapshot_for(node) is None
        assert loop.left_out_for(node) == ()
        (job,) = jobs
        install = job()
        loop.fleet_changed(fleet_of(FIRST, THIRD), ["p"])
        install()
        assert addresses_of(served(loop, node)) == {FIRST, THIRD}

    def test_other_files(self) -> None:
        """Contents of files reach the builds, and an edit that says nothing of them keeps them."""
        loop = started(FIRST)
        loop.materials_changed(materials_of({"a.pem": b"1"}))
        loop.materials_changed(materials_of({"b.pem": b"2"}))
        offer(loop, SECOND)
        inputs = loop.inputs(loop.document.version)
        assert inputs is not None
        assert inputs.materials == materials_of({"a.pem": b"1", "b.pem": b"2"})


def fleet_of(*addresses: str) -> Fleet:
    """Pool `p` with these endpoints."""
    return Fleet(pools={"p": tuple(Endpoint(pool="p", address=address) for address in addresses)})


def addresses_of(snapshot: Snapshot) -> set[str]:
    """The endpoints of pool `p`."""
    message: Any = load_messages()["envoy.config.endpoint.v3.ClusterLoadAssignment"]
    found = message.FromString(snapshot.resources(ENDPOINTS)["pool/p"].body)
    places = [one.endpoint.address.socket_address for group in found.endpoints for one in group.lb_endpoints]
    return {f"{place.address}:{place.port_value}" for place in places}


class TestEndpointsLane:
    """Other endpoints cost one resource."""

    def test_nothing_else_changes(self) -> None:
        """The assignment is another one, everything else the same object."""
        loop = started(FIRST)
        before = served(loop, PLAIN)
        loop.fleet_changed(fleet_of(FIRST, THIRD), ["p"])
        after = served(loop, PLAIN)
        assert addresses_of(after) == {FIRST, THIRD}
        assert after.types[CLUSTERS] is before.types[CLUSTERS]
        loop.fleet_changed(fleet_of(FIRST, THIRD), ["p"])
        assert served(loop, PLAIN) is after

    def test_the_next_edit_starts_from_its_own_fleet(self) -> None:
        """What discovery found is part of the fleet that comes with the edit, not of the old builds."""
        loop = started(FIRST)
        loop.fleet_changed(fleet_of(THIRD), ["p"])
        offer(loop, FIRST, SECOND)
        assert addresses_of(served(loop, PLAIN)) == {FIRST, SECOND}

    def test_what_was_overtaken_is_dropped(self) -> None:
        """Two results, the older one made later: the newer stays."""
        loop = started(FIRST)
        older = loop.prepare_endpoints(fleet_of(SECOND), ["p"])
        newer = loop.prepare_endpoints(fleet_of(THIRD), ["p"])
        loop.apply_endpoints(newer())
        loop.apply_endpoints(older())
        assert addresses_of(served(loop, PLAIN)) == {THIRD}

    def test_a_pool_that_cannot_be_made_keeps_what_it_had(self) -> None:
        """One impossible endpoint must not freeze the rest; the failure is told, and over with the next good result."""
        loop = started(FIRST)
        loop.fleet_changed(fleet_of("nonsense"), ["p"])
        assert addresses_of(served(loop, PLAIN)) == {FIRST}
        ((_, _, made),) = loop.failures()
        (failure,) = made.failures
        assert (failure.name, failure.instead) == ("pool/p", "last good")
        loop.fleet_changed(fleet_of(SECOND), ["p"])
        assert addresses_of(served(loop, PLAIN)) == {SECOND}
        assert not list(loop.failures())

    def test_a_pool_that_a_policy_cannot_have(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An edit in which one pool cannot be compiled is applied without it: it stays as it was."""
        loop = started(FIRST)
        before = served(loop, PLAIN).resources(CLUSTERS)["pool/p"]

        def trip(*_: object, **__: object) -> None:
            raise RuntimeError("tripped")

        monkeypatch.setattr("control_plane.compile.snapshot.pool_cluster", trip)
        offer(loop, FIRST, more="runtime: {a: 1}\n")
        assert served(loop, PLAIN).resources(CLUSTERS)["pool/p"] is before
        ((_, _, made),) = loop.failures()
        assert [(f.name, f.error, f.instead) for f in made.failures] == [
            ("pool/p", "RuntimeError: tripped", "last good")
        ]
        assert loop.place_of_pool("pool/p").startswith("policy.yaml:4:")


class TestRefusals:
    """What an Envoy refuses."""

    def test_a_named_resource_is_held_back(self) -> None:
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
        ((variant, held),) = loop.held_back()
        assert (variant.group, held.rejected.name, held.instead) == ("default", "pool/p", "last good")
        assert loop.refusals("a") == {"EDS": [("pool/p", "pool/p is bad")]}
        offer(loop, THIRD)
        assert addresses_of(served(loop, node)) == {THIRD}
        assert not list(loop.held_back())
        assert loop.refusals("a") == {}

    def test_one_of_many_that_is_new_is_the_offender(self) -> None:
        """Envoy does not say which, but only one of them has never been accepted."""
        loop = started(FIRST)
        node = connect(loop, Node(id="a"))
        accept(loop, node)
        offer(loop, FIRST, more="models: []\n".replace("models: []\n", "runtime: {a: 1}\n"))
        names = served(loop, node).resources(CLUSTERS)
        loop.rejected(
            node, RUNTIME, {"kvpilot": served(loop, node).resources(RUNTIME)["kvpilot"].version}, False, "bad"
        )
        assert names
        assert [held.rejected.name for _, held in loop.held_back()] == ["kvpilot"]

    def test_when_nobody_knows_the_group_goes_back(self) -> None:
        """Several new resources and no name: the whole last accepted policy is served until the next edit."""
        loop = started(FIRST)
        node = connect(loop, Node(id="a"))
        accept(loop, node)
        first = loop.document.version
        loop.apply(loop.propose(two_pools(), static_fleet(two_pools().policy)))
        refuse(loop, node, CLUSTERS, "pool/q", "pool/r", named=False)
        assert loop.rollout.pins == {"default": first}
        assert set(served(loop, node).resources(CLUSTERS)) == {"kvpilot", "pool/p"}
        assert next(state for *_, state in loop.groups()) == "rolled-back"
        offer(loop, SECOND)
        assert addresses_of(served(loop, node)) == {SECOND}

    def test_when_nobody_knows_and_there_is_nothing_to_go_back_to(self) -> None:
        """All of them are suspects, and get another chance with the next edit."""
        loop = SlowLoop(
            load_messages(),
            Services(ext_proc=SocketAddress("127.0.0.1", 9002)),
            two_pools(),
            static_fleet(two_pools().policy),
        )
        node = connect(loop, Node(id="a"))
        refuse(loop, node, CLUSTERS, "pool/q", "pool/r", named=False)
        assert "pool/q" not in served(loop, node).resources(CLUSTERS)
        assert list(loop.empty_handed()) == [("a", "CDS", "pool/q is bad")] * 2
        loop.apply(loop.propose(two_pools(), static_fleet(two_pools().policy)))
        assert "pool/q" in served(loop, node).resources(CLUSTERS)

    def test_an_envoys_own_trouble(self) -> None:
        """What another one of its kind has accepted is served on to everybody."""
        loop = started(FIRST)
        one, other = connect(loop, Node(id="a")), connect(loop, Node(id="b"))
        offer(loop, SECOND)
        accept(loop, one)
        refuse(loop, other, ENDPOINTS, "pool/p")
        assert addresses_of(served(loop, other)) == {SECOND}
        assert not list(loop.held_back())

    def test_a_taken_port_is_tried_again(self) -> None:
        """It is held back while the Envoy that refused it is connected, where there is something to serve instead."""
        loop = started(FIRST)
        node = connect(loop, Node(id="a"))
        accept(loop, node)
        before = served(loop, node).resources(LISTENERS)["openai"]
        moved = load(policy_text(FIRST).replace("8080", "8081"), "policy.yaml").document
        assert moved is not None
        loop.apply(loop.propose(moved, static_fleet(moved.policy)))
        version = served(loop, node).resources(LISTENERS)["openai"].version
        loop.rejected(node, LISTENERS, {"openai": version}, True, "openai: cannot bind '127.0.0.1:8081'")
        second = connect(loop, Node(id="b"))
        assert served(loop, second).resources(LISTENERS)["openai"] == before
        loop.disconnected(node)
        assert served(loop, second).resources(LISTENERS)["openai"].version == version

    def test_force(self) -> None:
        """The operator insists: what was refused is served again."""
        loop = started(FIRST)
        node = connect(loop, Node(id="a"))
        refuse(loop, node, ENDPOINTS, "pool/p")
        offer(loop, FIRST)
        assert "pool/p" not in served(loop, node).resources(ENDPOINTS)
        offer(loop, FIRST, force=True)
        assert "pool/p" in served(loop, node).resources(ENDPOINTS)

    def test_last_good_from_before_the_restart(self) -> None:
        """Nobody has accepted anything yet, but the last accepted policy is known from earlier."""
        loop = started(SECOND)
        earlier = document(FIRST)
        loop.restore(loop.propose(earlier, static_fleet(earlier.policy)))
        remembered: list[Snapshot] = []
        loop.remember = remembered.append
        node = connect(loop, Node(id="a"))
        assert [addresses_of(snapshot) for snapshot in remembered] == [{FIRST}]
        refuse(loop, node, ENDPOINTS, "pool/p")
        assert addresses_of(served(loop, node)) == {FIRST}

    def test_answers_of_strangers(self) -> None:
        """A stream that is not known (any more) changes nothing."""
        loop = started(FIRST)
        loop.acked(PLAIN, CLUSTERS, {"a": "1"})
        loop.rejected(PLAIN, CLUSTERS, {"a": "1"}, True, "bad")
        loop.disconnected(PLAIN)
        assert not loop.quarantine.rejections()


def two_pools() -> Document:
    """A policy with three pools, two of them not in `document`."""
    text = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}, {name: n, pool: q}, {name: o, pool: r}]
pools:
  p: {engine: custom, endpoints: [{address: 127.0.0.1:1}]}
  q: {engine: custom, endpoints: [{address: 127.0.0.1:2}]}
  r: {engine: custom, endpoints: [{address: 127.0.0.1:3}]}
"""
    found = load(text, "policy.yaml").document
    assert found is not None
    return found


class TestGroups:
    """Different Envoys, different policies."""

    def test_listeners_of_a_group(self) -> None:
        """Each group has the listeners that name it, and those that name none."""
        text = policy_text(FIRST).replace(
            "listeners: [{", "listeners: [{name: inner, address: 127.0.0.1:8081, groups: [canary]}, {"
        )
        found = load(text + CANARY, "policy.yaml").document
        assert found is not None
        loop = SlowLoop(
            load_messages(), Services(ext_proc=SocketAddress("127.0.0.1", 9002)), found, static_fleet(found.policy)
        )
        assert set(served(loop, Node(id="canary-1")).resources(LISTENERS)) == {"inner", "openai"}
        assert set(served(loop, Node(id="other")).resources(LISTENERS)) == {"openai"}
        assert loop.group_for(Node(id="canary-1")) == "canary"

    def test_first_then_the_rest(self) -> None:
        """The rest gets it when the first have accepted it and the soak is over."""
        loop = started(FIRST, more=CANARY)
        canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
        accept(loop, canary)
        accept(loop, rest)
        offer(loop, SECOND, more=CANARY, now=100.0)
        assert addresses_of(served(loop, canary)) == {SECOND}
        assert addresses_of(served(loop, rest)) == {FIRST}
        assert [(name, state) for name, *_, state in loop.groups()] == [
            ("canary", "rolling-out"),
            ("default", "waiting"),
        ]
        assert loop.tick(101.0) is None
        accept(loop, canary)
        assert loop.tick(102.0) is None
        assert loop.tick(107.0) is Event.PROMOTED
        assert addresses_of(served(loop, rest)) == {SECOND}
        assert loop.tick(108.0) is None

    def test_a_refusal_of_the_first_goes_nowhere(self) -> None:
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

    def test_a_refusal_of_what_all_have_is_no_reason_to_go_back(self) -> None:
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

    def test_endpoints_of_a_pool_that_the_candidate_declares_otherwise(self) -> None:
        """They are the candidate's alone; the rest keeps what it had."""
        loop = started(FIRST, more=CANARY)
        canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
        offer(loop, SECOND, more=CANARY)
        loop.fleet_changed(fleet_of(SECOND, THIRD), ["p"])
        assert addresses_of(served(loop, canary)) == {SECOND, THIRD}
        assert addresses_of(served(loop, rest)) == {FIRST}

    def test_a_canary_that_dies_of_it(self) -> None:
        """One that goes and does not come back has not accepted: the rest never sees the policy, and its name is told.
        One that is back at once breaks no soak."""
        loop = started(FIRST, more=CANARY)
        canary = connect(loop, Node(id="canary-1"))
        accept(loop, canary)
        offer(loop, SECOND, more=CANARY, now=0.0)
        accept(loop, canary)
        assert loop.tick(1.0) is None
        loop.disconnected(canary)
        assert loop.tick(5.9) is None
        canary = connect(loop, Node(id="canary-1"))
        accept(loop, canary)
        assert loop.tick(6.0) is Event.PROMOTED
        offer(loop, THIRD, more=CANARY, now=10.0)
        accept(loop, canary)
        loop.tick(11.0)
        loop.disconnected(canary)
        assert [loop.tick(now) for now in (15.9, 16.0, 44.9)] == [None, None, None]
        assert loop.tick(45.0) is Event.TIMED_OUT
        assert "by canary-1, which has gone" in loop.rollout.reason

    def test_nobody_has_come_back_yet(self) -> None:
        """Right after a start an empty first group is no acceptance; after a while it is."""
        loop = started(FIRST, more=CANARY)
        loop.await_comeback(100.0)
        offer(loop, SECOND, more=CANARY, now=100.0)
        assert [loop.tick(now) for now in (100.1, 129.0, 130.0)] == [None, None, None]
        assert loop.tick(135.0) is Event.PROMOTED

    def test_one_who_comes_back_late_has_his_time(self) -> None:
        """The wait for a comeback does not count against the one who comes back at the end of it."""
        loop = started(FIRST, more=CANARY)
        loop.await_comeback(100.0)
        offer(loop, SECOND, more=CANARY, now=100.0)
        assert loop.tick(129.0) is None
        connect(loop, Node(id="canary-1"))
        assert loop.tick(158.9) is None
        assert loop.tick(159.0) is Event.TIMED_OUT

    def test_identities(self) -> None:
        """A node that claims a group must prove that it may; a group without identities is open."""
        policy = document(FIRST, more=CANARY)
        group = replace(policy.policy.groups[0], identities=("spiffe://corp/edge/*", "edge-gw"))
        closed = replace(policy, policy=replace(policy.policy, groups=(group,)))
        loop = SlowLoop(
            load_messages(), Services(ext_proc=SocketAddress("127.0.0.1", 9002)), closed, static_fleet(closed.policy)
        )
        for identity in (None, Identity((), "other"), Identity(("spiffe://corp/other",), "")):
            refusal = loop.connected(Node(id="canary-1"), identity)
            assert refusal is not None
            assert "'canary'" in refusal
        assert loop.connected(Node(id="canary-1"), Identity(("spiffe://corp/edge/1",), "")) is None
        assert loop.connected(Node(id="canary-2"), Identity((), "edge-gw")) is None
        assert loop.connected(Node(id="other"), None) is None

    def test_an_edit_shuts_somebody_out(self) -> None:
        """Who may be in a group is asked of the newest policy, also for those who are there already."""
        loop = started(FIRST, more=CANARY)
        canary, rest = connect(loop, Node(id="canary-1")), connect(loop, Node(id="other"))
        edge = Identity(("spiffe://corp/edge/1",), "")
        assert loop.objection(canary, edge) is None
        newer = document(SECOND, more=CANARY)
        group = replace(newer.policy.groups[0], identities=("edge-gw",))
        closed = replace(newer, policy=replace(newer.policy, groups=(group,)))
        loop.apply(loop.propose(closed, static_fleet(closed.policy)))
        assert served(loop, canary).types is not None  # as if it had been offered the candidate before
        assert "'canary', which spiffe://corp/edge/1 may not" in (loop.objection(canary, edge) or "")
        assert loop.objection(rest, edge) is None
        assert loop.tick(1.0) is None
        loop.disconnected(canary)
        assert loop.tick(6.0) is Event.PROMOTED, "who is shut out has no say in it"

    def test_all_have_accepted(self) -> None:
        """A version is good for a group when each of its Envoys has all of it; whoever asks is told once."""
        loop = started(FIRST)
        told: list[str] = []
        loop.accepted = told.append
        one, other = connect(loop, Node(id="a")), connect(loop, Node(id="b"))
        accept(loop, one)
        assert told == []
        for type_url in (CLUSTERS, ENDPOINTS, LISTENERS):
            resources = served(loop, other).resources(type_url)
            loop.acked(other, type_url, {name: resource.version for name, resource in resources.items()})
        assert told == []
        resources = served(loop, other).resources(ROUTES)
        loop.acked(other, ROUTES, {name: resource.version for name, resource in resources.items()})
        loop.fleet_changed(fleet_of(THIRD), ["p"])
        accept(loop, one)
        assert told == [loop.document.version]
