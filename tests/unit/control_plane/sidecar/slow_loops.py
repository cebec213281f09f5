"""Slow loops to ask and to answer, and the policies that they serve."""

from typing import Any

from control_plane.compile import Node, Services
from control_plane.fleet.model import Endpoint, Fleet, static_fleet
from control_plane.policy import Document, load
from control_plane.sidecar.slow_loop import SlowLoop
from control_plane.xds.kinds import ENDPOINTS
from control_plane.xds.snapshot import Snapshot
from ext_proc.core.address import SocketAddress
from protos.messages import load as load_messages
from tests.unit.control_plane.sidecar.in_process import policy_text

PLAIN = Node(id="plain")
CANARY = "groups: [{name: canary, appliesTo: {nodeId: {prefix: canary-}}, rollout: first}]\nsafety: {soak: 5s}\n"


def document(*addresses: str, more: str = "") -> Document:
    """The policy over these endpoints."""
    result = load(policy_text(*addresses) + more, "policy.yaml")
    assert result.document is not None, result.diagnostics
    return result.document


def started(*addresses: str, more: str = "") -> SlowLoop:
    """A slow loop that serves this policy."""
    return started_under(document(*addresses, more=more))


def started_under(policy: Document) -> SlowLoop:
    """A slow loop that serves this one."""
    services = Services(ext_proc=SocketAddress("127.0.0.1", 9002))
    return SlowLoop(load_messages(), services, policy, static_fleet(policy.policy))


def offer(loop: SlowLoop, *addresses: str, more: str = "", now: float = 0.0, force: bool = False) -> Document:
    """An edit."""
    other = document(*addresses, more=more)
    loop.apply(loop.propose(other, static_fleet(other.policy)), now, force=force)
    return other


def served(loop: SlowLoop, node: Node) -> Snapshot:
    """What the node gets."""
    found = loop.offers.snapshot_for(node)
    assert found is not None
    return found


def connect(loop: SlowLoop, node: Node) -> Node:
    """A stream begins, and is offered what there is."""
    assert loop.answers.connected(node, None) is None
    served(loop, node)
    return node


def accept(loop: SlowLoop, node: Node) -> None:
    """The Envoy accepts all that it is offered."""
    found = served(loop, node)
    for type_url, resources in found.types.items():
        loop.answers.acked(node, type_url, {name: resource.version for name, resource in resources.items()})


def refuse(loop: SlowLoop, node: Node, type_url: str, *names: str, named: bool = True) -> None:
    """The Envoy refuses these."""
    found = served(loop, node).resources(type_url)
    loop.answers.rejected(node, type_url, {name: found[name].version for name in names}, named, f"{names[0]} is bad")


def count(loop: SlowLoop) -> int:
    """How many builds it holds for the newest version."""
    return len(loop.versions.newest.builds)


def fleet_of(*addresses: str) -> Fleet:
    """Pool `p` with these endpoints."""
    return Fleet(pools={"p": tuple(Endpoint(pool="p", address=address) for address in addresses)})


def addresses_of(snapshot: Snapshot) -> set[str]:
    """The endpoints of pool `p`."""
    message: Any = load_messages()["envoy.config.endpoint.v3.ClusterLoadAssignment"]
    found = message.FromString(snapshot.resources(ENDPOINTS)["pool/p"].body)
    places = [one.endpoint.address.socket_address for group in found.endpoints for one in group.lb_endpoints]
    return {f"{place.address}:{place.port_value}" for place in places}


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
