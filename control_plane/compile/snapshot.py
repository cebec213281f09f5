"""All of Envoy's resources from a policy and a fleet, for one kind of Envoy."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from control_plane.compile.actions import cluster_capabilities, routed_retries
from control_plane.compile.capability import Capabilities
from control_plane.compile.clusters import kvpilot_cluster, pool_cluster
from control_plane.compile.controls import controls_of
from control_plane.compile.endpoints import load_assignment
from control_plane.compile.grouping import listeners_of
from control_plane.compile.listeners import listener_resource
from control_plane.compile.localities import Locality
from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.compile.names import KVPILOT_CLUSTER, RUNTIME_RESOURCE, cluster_name
from control_plane.compile.needs import needs_of
from control_plane.compile.patches import patched
from control_plane.compile.routes import route_configuration
from control_plane.compile.runtime import runtime_layer
from control_plane.compile.secrets import redacted, secret_resources
from control_plane.compile.security import is_reachable, is_securable, key_servers, told, towards_picker
from control_plane.compile.services import Services
from control_plane.compile.typed import TYPE_URL_PREFIX, Json
from control_plane.compile.wanted import lacking
from control_plane.fleet.model import Fleet
from control_plane.policy.groups import DEFAULT_GROUP
from control_plane.policy.model import Policy
from protos.messages import Messages

MESSAGE_OF_KIND = {
    "clusters": "envoy.config.cluster.v3.Cluster",
    "endpoints": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "secrets": "envoy.extensions.transport_sockets.tls.v3.Secret",
    "listeners": "envoy.config.listener.v3.Listener",
    "routes": "envoy.config.route.v3.RouteConfiguration",
    "runtime": "envoy.service.runtime.v3.Runtime",
}
"""The kinds of resources, in Envoy's order of make-before-break, and their messages."""

OPTIONAL_KINDS = frozenset({"secrets", "runtime"})
"""Kinds that most policies have no resource of; `rendered` leaves an empty one out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Resources by name, each in Envoy's own JSON.

    `provenance` maps (kind, name) to the path in the policy that the resource comes from; the cluster of kvpilot itself
    comes from none. `left_out` says in words what the policy wants and this Envoy could not be given.
    """

    clusters: dict[str, Json]
    endpoints: dict[str, Json]
    listeners: dict[str, Json]
    routes: dict[str, Json]
    provenance: Mapping[tuple[str, str], str]
    left_out: tuple[str, ...]
    secrets: dict[str, Json] = field(default_factory=dict)
    runtime: dict[str, Json] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    """Pool → why it could not be compiled; it is not among the resources then."""

    def by_kind(self) -> dict[str, dict[str, Json]]:
        """The tables under their kinds, in the order of `MESSAGE_OF_KIND`."""
        return {
            "clusters": self.clusters,
            "endpoints": self.endpoints,
            "secrets": self.secrets,
            "listeners": self.listeners,
            "routes": self.routes,
            "runtime": self.runtime,
        }

    def by_type_url(self) -> dict[str, dict[str, Json]]:
        """The tables under the type URLs of discovery."""
        return {TYPE_URL_PREFIX + MESSAGE_OF_KIND[kind]: table for kind, table in self.by_kind().items()}


def compile_snapshot(
    policy: Policy,
    fleet: Fleet,
    services: Services,
    capabilities: Capabilities,
    region: str,
    zone: str,
    *,
    group: str = DEFAULT_GROUP,
    materials: Materials = NO_MATERIALS,
    isolate: bool = False,
) -> Compiled:
    """The resources for an Envoy with `capabilities` that stands in `region` and `zone` (empty: not told).

    `group` is the group of Envoys that it is in; `materials` are the contents of the files that the policy names. A
    pool that cannot be compiled raises, unless with `isolate` it is left out and told in `failures`: one bad pool must
    not freeze the rest.
    """
    node = Locality(region, zone)
    provenance: dict[tuple[str, str], str] = {}
    clusters = {KVPILOT_CLUSTER: kvpilot_cluster(services, towards_picker(policy))}
    endpoints: dict[str, Json] = {}
    failures: dict[str, str] = {}
    routed = routed_retries(policy)
    for pool in policy.pools:
        if not is_reachable(pool, capabilities):
            continue
        name = cluster_name(pool.name)
        try:
            made = (
                pool_cluster(pool, cluster_capabilities(pool, routed, capabilities)),
                load_assignment(pool, fleet.pools.get(pool.name, ()), node),
            )
        except Exception as error:  # whatever the compiler trips over
            if not isolate:
                raise
            failures[pool.name] = f"{type(error).__name__}: {error}"
            continue
        clusters[name], endpoints[name] = made
        provenance["clusters", name] = provenance["endpoints", name] = f"pools.{pool.name}"
    listeners: dict[str, Json] = {}
    routes: dict[str, Json] = {}
    own_listeners = listeners_of(policy, group)
    for listener in own_listeners:
        if not is_securable(listener, capabilities):
            continue
        listeners[listener.name] = listener_resource(
            listener, capabilities, materials, needs_of(listener, policy), controls_of(listener, policy)
        )
        routes[listener.name] = route_configuration(listener, policy, capabilities)
        path = f"listeners.{listener.name}"
        provenance["listeners", listener.name] = provenance["routes", listener.name] = path
    clusters |= told(key_servers(own_listeners), "clusters", provenance)
    secrets = told(secret_resources(replace(policy, listeners=own_listeners), materials), "secrets", provenance)
    runtime = {RUNTIME_RESOURCE: runtime_layer(policy)} if policy.runtime else {}
    provenance |= {("runtime", name): "runtime" for name in runtime}
    compiled = Compiled(
        clusters=clusters,
        endpoints=endpoints,
        listeners=listeners,
        routes=routes,
        provenance=provenance,
        left_out=lacking(capabilities, policy),
        secrets=secrets,
        runtime=runtime,
        failures=failures,
    )
    return patched(compiled, policy)


def rendered(compiled: Compiled, messages: Messages) -> dict[str, list[dict[str, object]]]:
    """The snapshot as Envoy would print it: by kind, sorted by name, in Envoy's own JSON.

    Private keys are not shown. Raises what `Messages.parse_json` raises; a resource that does not fit its message is an
    error of the compiler.
    """
    return {
        kind: [messages.to_json(messages.parse_json(MESSAGE_OF_KIND[kind], table[name])) for name in sorted(table)]
        for kind, table in redacted(compiled).by_kind().items()
        if table or kind not in OPTIONAL_KINDS
    }
