"""Listeners: where clients come in."""

from control_plane.compile.access_logs import request_log
from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.controls import NO_CONTROLS, Controls
from control_plane.compile.filters import http_filters
from control_plane.compile.jwt import claim_headers
from control_plane.compile.local_replies import local_reply_config
from control_plane.compile.log_sinks import log_sinks
from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.compile.names import EXPLAIN_HEADER, statistics_name
from control_plane.compile.needs import ORDINARY, Needs
from control_plane.compile.routes import UPLOAD_IDLE_TIMEOUT_S
from control_plane.compile.tls import listener_socket
from control_plane.compile.typed import Json, duration, extension, from_ads, set_header, socket_address
from control_plane.policy.model import Listener

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_GUARD = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"

HTTP2_STREAM_WINDOW_BYTES = 64 * 1024
"""Small, for an HTTP/2 body may exceed `maxRequestBytes` by what fits into the stream's window. The least that Envoy
takes."""

HTTP2_CONNECTION_WINDOW_BYTES = 1024 * 1024
"""Enough for sixteen uploads at full window at once on one connection."""

HEADERS_TIMEOUT_S = 10.0
"""How long a client may take to send its headers; real ones take one packet."""

GUARDED_PREFIXES = ("x-kvpilot-", "x-gateway-destination-")
"""Headers that only kvpilot sets."""

_EXPLAIN_PUT_BY = "kvpilot-explain-put-by"

GUARDED_HEADERS = (
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-max-retries",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
)
"""Headers by which Envoy's router takes orders; a client must not give it any ("HTTP headers (consumed)")."""

GUARDED_ROUTER_PREFIX = "x-envoy-upstream-"
"""The same for timeouts, alternative answers and statistics names."""


def listener_resource(
    listener: Listener,
    capabilities: Capabilities,
    materials: Materials = NO_MATERIALS,
    needs: Needs = ORDINARY,
    controls: Controls = NO_CONTROLS,
) -> Json:
    """The `Listener` of `listener`, named like it; its routes come by RDS, its certificate by SDS."""
    chain: Json = {
        "filters": [
            extension(
                "envoy.filters.network.http_connection_manager",
                _MANAGER,
                _manager(listener, capabilities, materials, needs, controls),
            )
        ]
    }
    socket = listener_socket(listener)
    if socket is not None:
        chain["transportSocket"] = socket
    return {
        "name": listener.name,
        "address": socket_address(listener.address),
        # Where no route was found yet the virtual host's limit does not hold, so the limit stands here, too.
        "perConnectionBufferLimitBytes": listener.max_request_bytes,
        "filterChains": [chain],
    }


def _manager(
    listener: Listener, capabilities: Capabilities, materials: Materials, needs: Needs, controls: Controls
) -> Json:
    stream_window = HTTP2_STREAM_WINDOW_BYTES
    if not capabilities.has(Feature.HTTP2_BODY_LIMIT):
        # Here the stream's window is the only limit of an HTTP/2 body that can be raised.
        stream_window = max(stream_window, listener.max_request_bytes)
    manager: Json = {
        "statPrefix": statistics_name(listener.name),
        "codecType": "AUTO",
        "rds": {
            "routeConfigName": listener.name,
            "configSource": from_ads(),
        },
        "httpFilters": http_filters(listener, capabilities, materials, needs, controls),
        "localReplyConfig": local_reply_config(capabilities, needs),
        "http2ProtocolOptions": {
            "initialStreamWindowSize": stream_window,
            "initialConnectionWindowSize": max(HTTP2_CONNECTION_WINDOW_BYTES, stream_window),
        },
        "useRemoteAddress": True,
        # One path, one spelling: what a pod reads as `/v1/chat/completions` must not slip past the models' routes.
        # Escaped slashes are unescaped as pods do it, not refused: clients ask for `/v1/models/some%2Fmodel`; and not
        # redirected, for not every client sends a POST again.
        "normalizePath": True,
        "mergeSlashes": True,
        "pathWithEscapedSlashesAction": "UNESCAPE_AND_FORWARD",
        # A client's own request id is worth keeping: it is what its logs have.
        "preserveExternalRequestId": True,
        "requestHeadersTimeout": duration(HEADERS_TIMEOUT_S),
        "streamIdleTimeout": duration(UPLOAD_IDLE_TIMEOUT_S),
    }
    if capabilities.has(Feature.FORGERY_GUARD):
        manager["earlyHeaderMutationExtensions"] = [_guard(listener)]
    logs = log_sinks(listener, capabilities, usage=controls.usage)
    if capabilities.has(Feature.ACCESS_LOG):
        logs.insert(0, request_log(capabilities))
    if logs:
        manager["accessLog"] = logs
    return manager


def _guard(listener: Listener) -> Json:
    """Nobody forges a pick, a decision id, a label, the router's orders, or what a token says."""
    prefixes = (*GUARDED_PREFIXES, GUARDED_ROUTER_PREFIX)
    mutations: list[Json] = [{"removeOnMatch": {"keyMatcher": {"prefix": prefix}}} for prefix in prefixes]
    if listener.picker.explain == "asked":
        # The one header of ours that clients may send. Matchers know no exceptions, so it is put by and taken back.
        put_by: Json = {"append": set_header(_EXPLAIN_PUT_BY, f"%REQ({EXPLAIN_HEADER})%")}
        back: Json = {"append": set_header(EXPLAIN_HEADER, f"%REQ({_EXPLAIN_PUT_BY})%")}
        mutations = [put_by, *mutations, back, {"remove": _EXPLAIN_PUT_BY}]
    mutations += [{"remove": name} for name in (*GUARDED_HEADERS, *claim_headers(listener))]
    return extension("envoy.http.early_header_mutation.header_mutation", _GUARD, {"mutations": mutations})
