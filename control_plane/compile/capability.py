"""What a given Envoy can be configured with, so that it never gets a filter or a field that it would not take.

    >>> capabilities(Node(id="edge-1", version=(1, 37, 0))).has(Feature.STREAM_USAGE)
    False

Judged by the node's own list of extensions where it sent one, and by its version for what is a new field of an old
message. An Envoy that says neither is taken for the oldest one that kvpilot is tested with. The table below was checked
against real Envoys 1.36 to 1.40: their own lists of extensions, and `--mode validate` of what is compiled for each.
"""

from dataclasses import dataclass
from enum import Enum, unique

from control_plane.compile.node import Node, Version

OLDEST_TESTED: Version = (1, 36, 0)
"""The oldest Envoy that the compiled resources are tested with."""

NEWEST_TESTED: Version = (1, 40, 0)
"""The Envoy that every behaviour was verified on; what `render` compiles for when it is not told otherwise."""

_FILTERS = "envoy.extensions.filters.http"
_POLICIES = "envoy.extensions.load_balancing_policies"


@unique
class Feature(Enum):
    """One thing that the compiler can leave out; the value is what an operator reads when it is missing."""

    MODEL_ROUTING = "routing by the body's model (every request goes to the default pool)"
    PICKER = "picks (every request goes by Envoy's own load balancing)"
    BODY_HOLDING = "the buffer filter (the picker is asked in two messages instead of one)"
    NAMED_HOSTS = "following the picker's choice of host"
    HEADERS_FROM_METADATA = "decision header and first-byte limit (header_mutation)"
    FORGERY_GUARD = "removal of kvpilot's own headers from what clients send (early header mutation)"
    ACCESS_LOG = "outcomes of requests and attempts (gRPC access log)"
    FIRST_TOKEN_TIME = "time to the first body byte in the access log"
    STREAM_USAGE = "token usage of streamed answers (sse_to_metadata)"
    SELECTED_HOST = "the host that was really chosen, as metadata (override_host.selected_host_key)"
    BODY_LIMIT_PER_HOST = "body limits per route (the listener's limit holds alone, and for plain answers, too)"
    HTTP2_BODY_LIMIT = "a sharp limit on HTTP/2 bodies (they may exceed it, by as much again)"
    STICKY_CANARY = "canary splits that stick to a session (each request draws anew)"
    RETRIES_PER_POOL = "retry settings per pool in a canary split (the first pool's hold for all)"
    AVOID_PREVIOUS_HOSTS = "retries that avoid the host that just failed, on the fallback path"


@dataclass(frozen=True, slots=True)
class _Need:
    extensions: tuple[str, ...] = ()
    since: Version = (0, 0, 0)


_NEEDS: dict[Feature, _Need] = {
    Feature.MODEL_ROUTING: _Need((f"{_FILTERS}.json_to_metadata.v3.JsonToMetadata",)),
    Feature.PICKER: _Need((f"{_FILTERS}.ext_proc.v3.ExternalProcessor",)),
    Feature.BODY_HOLDING: _Need((f"{_FILTERS}.buffer.v3.Buffer",)),
    Feature.NAMED_HOSTS: _Need((f"{_POLICIES}.override_host.v3.OverrideHost",), since=(1, 34, 0)),
    Feature.HEADERS_FROM_METADATA: _Need((f"{_FILTERS}.header_mutation.v3.HeaderMutation",)),
    Feature.FORGERY_GUARD: _Need(("envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",)),
    Feature.ACCESS_LOG: _Need(("envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig",)),
    Feature.FIRST_TOKEN_TIME: _Need(since=(1, 37, 0)),
    Feature.STREAM_USAGE: _Need(
        (
            f"{_FILTERS}.sse_to_metadata.v3.SseToMetadata",
            "envoy.extensions.content_parsers.json.v3.JsonContentParser",
        ),
        since=(1, 38, 0),
    ),
    Feature.SELECTED_HOST: _Need(since=(1, 38, 0)),
    Feature.BODY_LIMIT_PER_HOST: _Need(since=(1, 36, 0)),
    # 1.36 has the field, but there it does not lift the limit that an HTTP/2 stream's window sets.
    Feature.HTTP2_BODY_LIMIT: _Need(since=(1, 37, 0)),
    Feature.STICKY_CANARY: _Need(since=(1, 36, 0)),
    Feature.RETRIES_PER_POOL: _Need(since=(1, 37, 0)),
    Feature.AVOID_PREVIOUS_HOSTS: _Need(("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",)),
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an Envoy takes. Hashable, and equal for equal Envoys: it is part of the key under which snapshots are
    kept."""

    features: frozenset[Feature]

    def has(self, feature: Feature) -> bool:
        """Whether the compiler may use `feature`."""
        return feature in self.features

    @property
    def missing(self) -> tuple[str, ...]:
        """What this Envoy does not get, for an operator to read, in a stable order."""
        return tuple(feature.value for feature in Feature if feature not in self.features)


def capabilities(node: Node) -> Capabilities:
    """What `node` takes; what it did not tell is taken for the oldest tested Envoy's answer."""
    return Capabilities(frozenset(feature for feature, need in _NEEDS.items() if _met(need, node)))


def _met(need: _Need, node: Node) -> bool:
    if need.since > (node.version or OLDEST_TESTED):
        return False
    return node.extensions is None or node.extensions.issuperset(need.extensions)
