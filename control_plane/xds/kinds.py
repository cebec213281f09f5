"""The resource types that are served, and what the protocol says of each. Pure constants.

Source: Envoy's page "xDS REST and gRPC protocol".
"""

from typing import Final

CLUSTERS: Final = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS: Final = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS: Final = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SECRETS: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
RUNTIME: Final = "type.googleapis.com/envoy.service.runtime.v3.Runtime"

PUSH_ORDER: Final = (CLUSTERS, ENDPOINTS, SECRETS, LISTENERS, ROUTES, RUNTIME)
"""Make before break ("Eventual consistency considerations"): a resource goes out before what refers to it; runtime
values refer to nothing. Any other type comes after these. Only listeners and routes wait for the answers of others
(`session`): a secret that waited could keep a cluster from warming that everything else waits for."""

ASKED_BY_ALL: Final = (CLUSTERS, ENDPOINTS, LISTENERS, ROUTES)
"""What every Envoy of ours asks for; secrets and runtime values only where its configuration mentions them."""

FULL_STATE: Final = frozenset({CLUSTERS, LISTENERS})
"""Types with a wildcard, also the historical one (no names at all); in state-of-the-world answers they are always
complete, because what is left out is deleted ("Grouping Resources into Responses")."""

_SHORT: Final = {
    CLUSTERS: "CDS",
    ENDPOINTS: "EDS",
    SECRETS: "SDS",
    LISTENERS: "LDS",
    ROUTES: "RDS",
    RUNTIME: "RTDS",
}


def short_name(type_url: str) -> str:
    """What operators call the type: `CDS`, `EDS`, `SDS`, `LDS`, `RDS`, `RTDS`, else the message's full name."""
    return _SHORT.get(type_url) or type_url.rpartition("/")[2]


def push_rank(type_url: str) -> int:
    """The place of a type in `PUSH_ORDER`; any other type comes after all of them."""
    return PUSH_ORDER.index(type_url) if type_url in PUSH_ORDER else len(PUSH_ORDER)
