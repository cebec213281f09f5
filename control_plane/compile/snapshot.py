"""All of Envoy's resources from a policy and a fleet, for one kind of Envoy."""

from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.compile.capability import Capabilities
from control_plane.compile.clusters import kvpilot_cluster, pool_cluster
from control_plane.compile.endpoints import load_assignment
from control_plane.compile.listeners import listener_resource
from control_plane.compile.localities import Locality
from control_plane.compile.names import KVPILOT_CLUSTER, cluster_name
from control_plane.compile.routes import route_configuration
from control_plane.compile.services import Services
from control_plane.compile.typed import TYPE_URL_PREFIX, Json
from control_plane.fleet.model import Fleet
from control_plane.policy.model import Policy
from protos.messages import Messages

MESSAGE_OF_KIND = {
    "clusters": "envoy.config.cluster.v3.Cluster",
    "endpoints": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "listeners": "envoy.config.listener.v3.Listener",
    "routes": "envoy.config.route.v3.RouteConfiguration",
}
"""The kinds of resources, in Envoy's order of make-before-break, and their messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Resources by name, each in Envoy's own JSON.

    `provenance` maps (kind, name) to the path in the policy that the resource comes from; the cluster of kvpilot itself
    comes from none. `left_out` says in words what this Envoy could not be given.
    """

    clusters: dict[str, Json]
    endpoints: dict[str, Json]
    listeners: dict[str, Json]
    routes: dict[str, Json]
    provenance: Mapping[tuple[str, str], str]
    left_out: tuple[str, ...]

    def by_kind(self) -> dict[str, dict[str, Json]]:
        """The four tables under their kinds, in the order of `MESSAGE_OF_KIND`."""
        return {
            "clusters": self.clusters,
            "endpoints": self.endpoints,
            "listeners": self.listeners,
            "routes": self.routes,
        }

    def by_type_url(self) -> dict[str, dict[str, Json]]:
        """The four tables under the type URLs of discovery."""
        return {TYPE_URL_PREFIX + MESSAGE_OF_KIND[kind]: table for kind, table in self.by_kind().items()}


def compile_snapshot(
    policy: Policy, fleet: Fleet, services: Services, capabilities: Capabilities, region: str, zone: str
) -> Compiled:
    """The resources for an Envoy with `capabilities` that stands in `region` and `zone` (empty: not told)."""
    node = Locality(region, zone)
    provenance: dict[tuple[str, str], str] = {}
    clusters = {KVPILOT_CLUSTER: kvpilot_cluster(services)}
    endpoints: dict[str, Json] = {}
    for pool in policy.pools:
        name = cluster_name(pool.name)
        clusters[name] = pool_cluster(pool, capabilities)
        endpoints[name] = load_assignment(pool, fleet.pools.get(pool.name, ()), node)
        provenance["clusters", name] = provenance["endpoints", name] = f"pools.{pool.name}"
    listeners: dict[str, Json] = {}
    routes: dict[str, Json] = {}
    for listener in policy.listeners:
        listeners[listener.name] = listener_resource(listener, capabilities)
        routes[listener.name] = route_configuration(listener, policy, capabilities)
        path = f"listeners.{listener.name}"
        provenance["listeners", listener.name] = provenance["routes", listener.name] = path
    return Compiled(
        clusters=clusters,
        endpoints=endpoints,
        listeners=listeners,
        routes=routes,
        provenance=provenance,
        left_out=capabilities.missing,
    )


def rendered(compiled: Compiled, messages: Messages) -> dict[str, list[dict[str, object]]]:
    """The snapshot as Envoy would print it: by kind, sorted by name, in Envoy's own JSON.

    Raises what `Messages.parse_json` raises; a resource that does not fit its message is an error of the compiler.
    """
    return {
        kind: [messages.to_json(messages.parse_json(MESSAGE_OF_KIND[kind], table[name])) for name in sorted(table)]
        for kind, table in compiled.by_kind().items()
    }
