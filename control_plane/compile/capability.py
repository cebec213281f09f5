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
_REPORTED_LOAD = f"{_POLICIES}.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"


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
    ACCESS_LOG_SINKS = "access logs as JSON lines (only kvpilot is told)"
    TOOLS = "rules that ask for tools (no request meets them)"
    RATE_LIMITS = "rate limits (nothing is limited)"
    FAULTS = "faults on purpose (none happen)"
    FIRST_TOKEN_TIME = "time to the first body byte in the access log"
    STREAM_USAGE = "token usage of streamed answers (sse_to_metadata)"
    SELECTED_HOST = "the host that was really chosen, as metadata (override_host.selected_host_key)"
    BODY_LIMIT_PER_HOST = "body limits per route (the listener's limit holds alone, and for plain answers, too)"
    HTTP2_BODY_LIMIT = "a sharp limit on HTTP/2 bodies (they may exceed it, by as much again)"
    STICKY_CANARY = "canary splits that stick to a session (each request draws anew)"
    RETRIES_PER_POOL = "retry settings per pool in a canary split (the first pool's hold for all)"
    TLS = "TLS (listeners that have it are not served, nor are pools that need it)"
    TOKENS = "tokens (listeners with `jwt` are not served)"
    AUTHORIZATION = "authorization (listeners with `authorization` are not served)"
    FAIL_OPEN_REWRITE = "aliases and rewritten models while the picker does not answer (Lua)"
    AVOID_PREVIOUS_HOSTS = "retries that avoid the host that just failed, on the fallback path"
    AVOID_PREVIOUS_PRIORITIES = "retries in other localities (`retryRemoteLocalities`)"
    ROUND_ROBIN = "round robin (least request instead)"
    RANDOM = "random choice of endpoints (least request instead)"
    RING_HASH = "consistent hashing on a ring (a Maglev table instead)"
    MAGLEV = "consistent hashing in a Maglev table (a ring instead)"
    HASH_PER_POOL = "a hash key per pool in a canary split (the first pool's holds for all)"
    REPORTED_LOAD = "load balancing by what endpoints report (`simple` instead)"
    REPORTED_LOAD_BY_PLACE = "load balancing by what endpoints report, together with `distribute` (`simple` instead)"
    REPORTS_OUT_OF_BAND = "load reports by a stream of their own (those in answers count)"
    DEGRADED_BY_HEADER = "endpoints that call themselves degraded (`detectDegradedHosts`)"
    HEALTH_CHECKS = "active health checks"


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
    Feature.ACCESS_LOG_SINKS: _Need(
        (
            "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
        )
    ),
    Feature.TOOLS: _Need(
        (f"{_FILTERS}.json_to_metadata.v3.JsonToMetadata", f"{_FILTERS}.lua.v3.Lua"), since=OLDEST_TESTED
    ),
    # The oldest with buckets per header value that was tried; 1.34 has none.
    Feature.RATE_LIMITS: _Need((f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",), since=(1, 36, 0)),
    Feature.FAULTS: _Need((f"{_FILTERS}.fault.v3.HTTPFault",)),
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
    Feature.TLS: _Need(
        (
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        )
    ),
    Feature.TOKENS: _Need((f"{_FILTERS}.jwt_authn.v3.JwtAuthentication",)),
    # 1.33 brought metadata of a request to rbac under this name; the older one is deprecated.
    Feature.AUTHORIZATION: _Need((f"{_FILTERS}.rbac.v3.RBAC",), since=(1, 33, 0)),
    Feature.FAIL_OPEN_REWRITE: _Need((f"{_FILTERS}.lua.v3.Lua",)),
    Feature.AVOID_PREVIOUS_HOSTS: _Need(("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",)),
    Feature.AVOID_PREVIOUS_PRIORITIES: _Need(
        ("envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",)
    ),
    Feature.ROUND_ROBIN: _Need((f"{_POLICIES}.round_robin.v3.RoundRobin",)),
    Feature.RANDOM: _Need((f"{_POLICIES}.random.v3.Random",)),
    Feature.RING_HASH: _Need((f"{_POLICIES}.ring_hash.v3.RingHash",)),
    Feature.MAGLEV: _Need((f"{_POLICIES}.maglev.v3.Maglev",)),
    Feature.HASH_PER_POOL: _Need(since=(1, 36, 0)),
    Feature.REPORTED_LOAD: _Need((_REPORTED_LOAD,), since=(1, 36, 0)),
    # 1.36 has the message and refuses it.
    Feature.REPORTED_LOAD_BY_PLACE: _Need(
        (_REPORTED_LOAD, f"{_POLICIES}.wrr_locality.v3.WrrLocality"), since=(1, 37, 0)
    ),
    Feature.REPORTS_OUT_OF_BAND: _Need((_REPORTED_LOAD,), since=(1, 39, 0)),
    Feature.DEGRADED_BY_HEADER: _Need(since=(1, 38, 0)),
    Feature.HEALTH_CHECKS: _Need(
        tuple(f"envoy.config.core.v3.HealthCheck.{kind}HealthCheck" for kind in ("Http", "Grpc", "Tcp"))
    ),
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


def needed_extensions(feature: Feature) -> tuple[str, ...]:
    """The messages that an Envoy must be able to be configured with, by their full names."""
    return _NEEDS[feature].extensions


def _met(need: _Need, node: Node) -> bool:
    if need.since > (node.version or OLDEST_TESTED):
        return False
    return node.extensions is None or node.extensions.issuperset(need.extensions)
