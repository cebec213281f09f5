"""From a policy and a fleet to bytes: one bad pool is isolated, a changed endpoint costs its own assignment only."""

from typing import Any

import pytest

from control_plane.compile import Node, Services
from control_plane.compile import endpoints as compile_endpoints
from control_plane.fleet.model import Endpoint, Fleet, static_fleet
from control_plane.policy import Document, load
from control_plane.sidecar import builds
from control_plane.sidecar.builds import Build, Inputs, assignments, build, variant_of, with_assignments
from control_plane.xds.errors import ResourceError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, RUNTIME
from control_plane.xds.snapshot import Memo, build_snapshot
from ext_proc.core.address import SocketAddress
from protos.messages import load as load_messages

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: 127.0.0.1:8080}]
models: [{name: m, pool: a}, {name: n, pool: b}]
pools:
  a: {engine: vllm, endpoints: [{address: 10.0.0.1:1}]}
  b: {engine: vllm, endpoints: [{address: 10.0.0.2:1}]}
"""
VARIANT = variant_of(Node(id="plain"))


def document() -> Document:
    """The policy."""
    result = load(POLICY, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document


def inputs() -> Inputs:
    """It with what it lists itself."""
    policy = document()
    services = Services(ext_proc=SocketAddress("127.0.0.1", 9002))
    return Inputs(policy, static_fleet(policy.policy), services)


def built(last: Build | None = None) -> Build:
    """For a plain node."""
    return build(inputs(), VARIANT, load_messages(), Memo(), last.snapshot if last else None)


def without_pool(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Breaks what makes the cluster of a pool a message."""
    real = build_snapshot

    def broken(tables: Any, *rest: Any) -> Any:
        if name in tables.get(CLUSTERS, ()):
            raise ResourceError(f"{name} is no message")
        return real(tables, *rest)

    monkeypatch.setattr(builds, "build_snapshot", broken)


def test_the_same_twice() -> None:
    """Same input, same versions, whatever was built before; the empty layer of runtime values is always there."""
    one, other = built(), built()
    assert one.snapshot.versions == other.snapshot.versions
    assert list(one.snapshot.resources(RUNTIME)) == ["kvpilot"]
    assert one.failures == ()


def test_a_pool_that_is_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left out, or stays as it was last; everything else is there, and it is told."""
    before = built()
    without_pool(monkeypatch, "pool/a")
    made = built()
    assert set(before.snapshot.resources(CLUSTERS)) - set(made.snapshot.resources(CLUSTERS)) == {"pool/a"}
    assert made.snapshot.resources(LISTENERS) == before.snapshot.resources(LISTENERS)
    assert [(one.name, one.error, one.instead) for one in made.failures] == [
        ("pool/a", "pool/a is no message", "left out")
    ]
    made = built(before)
    assert made.snapshot.resources(CLUSTERS) == before.snapshot.resources(CLUSTERS)
    assert made.snapshot.resources(ENDPOINTS) == before.snapshot.resources(ENDPOINTS)
    assert [one.instead for one in made.failures] == ["last good"]


def test_what_is_no_pools_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be isolated, and the whole edit fails."""
    real = build_snapshot

    def broken(tables: Any, *rest: Any) -> Any:
        if tables.get(ROUTES):
            raise ResourceError("openai is no message")
        return real(tables, *rest)

    monkeypatch.setattr(builds, "build_snapshot", broken)
    with pytest.raises(ResourceError, match="openai"):
        built()


def test_one_changed_endpoint() -> None:
    """One assignment is another, and no other resource; the same endpoints again are the very same build's snapshot."""
    before, policy = built(), document().policy
    moved = Fleet(pools={"a": (Endpoint(pool="a", address="10.0.0.9:1"),), "b": ()})
    after = with_assignments(before, assignments(policy, {"a"}, moved, VARIANT, load_messages()))
    differing = {
        (url, name)
        for url, resources in after.snapshot.types.items()
        for name, resource in resources.items()
        if before.snapshot.resources(url)[name] is not resource
    }
    assert differing == {(ENDPOINTS, "pool/a")}
    assert after.snapshot.versions[CLUSTERS] == before.snapshot.versions[CLUSTERS]
    same = assignments(policy, {"a", "unknown"}, inputs().fleet, VARIANT, load_messages())
    assert with_assignments(before, same).snapshot is before.snapshot


def test_an_assignment_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """That pool keeps its own and is told, until it can be made again."""
    before, policy, fleet = built(), document().policy, inputs().fleet
    real = compile_endpoints.load_assignment

    def broken(pool: Any, *rest: Any) -> Any:
        if pool.name == "a":
            raise ValueError("too odd")
        return real(pool, *rest)

    monkeypatch.setattr(builds, "load_assignment", broken)
    made = with_assignments(before, assignments(policy, {"a", "b"}, fleet, VARIANT, load_messages()))
    assert made.snapshot.resources(ENDPOINTS) == before.snapshot.resources(ENDPOINTS)
    assert [(one.name, one.error) for one in made.failures] == [("pool/a", "ValueError: too odd")]
    monkeypatch.undo()
    assert with_assignments(made, assignments(policy, {"a"}, fleet, VARIANT, load_messages())).failures == ()


def test_a_pool_without_a_cluster_gets_no_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody asks for them."""
    without_pool(monkeypatch, "pool/a")
    made = built()
    monkeypatch.undo()
    new = assignments(document().policy, {"a"}, inputs().fleet, VARIANT, load_messages())
    assert "pool/a" in new.resources
    assert "pool/a" not in with_assignments(made, new).snapshot.resources(ENDPOINTS)
