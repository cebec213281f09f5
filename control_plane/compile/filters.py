"""The HTTP filter chain of a listener.

The order matters, and each place has its reason:

1. `jwt_authn` verifies the client's token, before anything else is done for it.
2. `json_to_metadata` reads the body's model (and whether the answer is to be streamed, and how long it may become) for
   the routes; `kvpilot.tools` whether the body offers tools. Filters that are to see the model's route stand behind.
3. `rbac` refuses what is denied, then what is not allowed, by the token's claims and the body's model.
4. `local_ratelimit` refuses what is too much, `fault` injects faults; both before the picker is asked.
5. `ext_proc` asks the picker, with the route already chosen.
6. `buffer` holds the request's headers back until the picker has answered; without it the router would have chosen a
   host before the answer came, for the picker is asked with the body alone (no headers message).
7. `header_mutation` turns the picker's metadata into headers.
8. `lua` writes the model that the engine knows into bodies that the picker did not answer.
9. `usage` and `stream usage` read token counts from answers into metadata for the access log.
10. the router.
"""

from control_plane.compile import load_headers
from control_plane.compile.access_logs import ATTEMPT_PROGRESS_S, attempt_log
from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.complexity import bound_rules, tools_filter
from control_plane.compile.controls import NO_CONTROLS, Controls
from control_plane.compile.faults import fault_filter
from control_plane.compile.jwt import jwt_filter
from control_plane.compile.materials import NO_MATERIALS, Materials
from control_plane.compile.model_rewrite import rewrite_filter
from control_plane.compile.names import (
    ANSWER_HEADER,
    BODY_KEY,
    BODY_NOT_JSON,
    BODY_WITHOUT_MODEL,
    DECISION_HEADER,
    DECISION_KEY,
    DEGRADED_HEADER,
    DEGRADED_KEY,
    EXPLAIN_HEADER,
    FEATURES_HEADER,
    FEATURES_KEY,
    FIRST_BYTE_KEY,
    KVPILOT_CLUSTER,
    KVPILOT_NAMESPACE,
    LB_NAMESPACE,
    MAX_RETRIES_HEADER,
    MODEL_KEY,
    PER_TRY_TIMEOUT_HEADER,
    POD_HEADER,
    RETRIES_KEY,
    STREAM_KEY,
    TOLD_KEY,
)
from control_plane.compile.needs import ORDINARY, Needs
from control_plane.compile.rate_limits import rate_limit_filter
from control_plane.compile.rbac import rbac_filters
from control_plane.compile.typed import Json, any_of, default_header, duration, extension, set_header
from control_plane.compile.usage import usage_filters
from control_plane.policy.feedback import Orca
from control_plane.policy.model import Listener

MODEL_FILTER = "envoy.filters.http.json_to_metadata"
PICKER_FILTER = "envoy.filters.http.ext_proc"
BUFFER_FILTER = "envoy.filters.http.buffer"
HEADERS_FILTER = "envoy.filters.http.header_mutation"
ROUTER_FILTER = "envoy.filters.http.router"

_FILTERS = "envoy.extensions.filters.http"

MAX_MESSAGE_TIMEOUT_S = 600.0
"""The longest wait that the picker may ask for (`override_message_timeout`); unset, Envoy would ignore what it asks."""

PICKER_RETRIES = 1
PICKER_BACK_OFF_S = 0.01
PICKER_BACK_OFF_MAX_S = 0.02
"""A second try catches a connection that the picker was just closing; Envoy's default back-off of up to a second would
cost more than the pick is worth."""


def http_filters(
    listener: Listener,
    capabilities: Capabilities,
    materials: Materials = NO_MATERIALS,
    needs: Needs = ORDINARY,
    controls: Controls = NO_CONTROLS,
) -> list[Json]:
    """The chain of `listener`, without the filters that the Envoy does not have."""
    chain: list[Json] = []
    tokens = jwt_filter(listener, materials)
    if tokens is not None:
        chain.append(tokens)
    if capabilities.has(Feature.MODEL_ROUTING) and needs.model:
        chain.append(_model(needs))
        if capabilities.has(Feature.TOOLS) and needs.tools:
            chain.append(tools_filter())
    chain.extend(rbac_filters(listener))
    chain.extend(rate_limit_filter(listener, controls.limits, capabilities))
    chain.extend(fault_filter(listener, capabilities, needed=controls.faults))
    if capabilities.has(Feature.PICKER):
        chain.append(_picker(listener, capabilities, needs))
    if capabilities.has(Feature.BODY_HOLDING):
        chain.append(_buffer(listener))
    if capabilities.has(Feature.HEADERS_FROM_METADATA):
        chain.append(_headers(listener.picker.explain, controls.orca))
    if capabilities.has(Feature.FAIL_OPEN_REWRITE) and needs.rewrite:
        chain.append(rewrite_filter())
    if controls.usage:
        chain.extend(usage_filters(capabilities))
    chain.append(_router(capabilities, loads=controls.orca is not None))
    return chain


def _model(needs: Needs) -> Json:
    """Model, stream flag, what is wrong with the body and, where a rule asks for it, the bound on the answer.

    Every content type is read: the default takes exactly `application/json`, and `application/json; charset=utf-8` or
    none at all would lose their model. A request without a body counts as one without a model.
    """
    problem = {"metadataNamespace": KVPILOT_NAMESPACE, "key": BODY_KEY}
    rules: list[Json] = [
        {
            "selectors": [{"key": "model"}],
            "onPresent": {"metadataNamespace": KVPILOT_NAMESPACE, "key": MODEL_KEY},
            "onMissing": {**problem, "value": BODY_WITHOUT_MODEL},
            "onError": {**problem, "value": BODY_NOT_JSON},
        },
        {
            "selectors": [{"key": "stream"}],
            "onPresent": {"metadataNamespace": KVPILOT_NAMESPACE, "key": STREAM_KEY},
        },
        *(bound_rules() if needs.bound else ()),
    ]
    return extension(
        MODEL_FILTER,
        f"{_FILTERS}.json_to_metadata.v3.JsonToMetadata",
        {
            "requestRules": {
                "rules": rules,
                "allowContentTypesRegex": {"regex": ".*"},
                "allowEmptyContentType": True,
            }
        },
    )


def _picker(listener: Listener, capabilities: Capabilities, needs: Needs) -> Json:
    """One message each way: the whole body, and as attributes what Envoy has decided.

    The documented shape (`two-message`) sends the headers first; it is the way out should a future Envoy lose the
    other, and what an Envoy without the buffer filter gets. Either way a dead or slow picker costs the pick, never the
    request (`failureModeAllow`).
    """
    one_message = listener.picker.mode == "one-message" and capabilities.has(Feature.BODY_HOLDING)
    return extension(
        PICKER_FILTER,
        f"{_FILTERS}.ext_proc.v3.ExternalProcessor",
        {
            "grpcService": {
                "envoyGrpc": {"clusterName": KVPILOT_CLUSTER},
                # The stream lives as long as the request.
                "timeout": "0s",
                "retryPolicy": {
                    "numRetries": PICKER_RETRIES,
                    "retryBackOff": {
                        "baseInterval": duration(PICKER_BACK_OFF_S),
                        "maxInterval": duration(PICKER_BACK_OFF_MAX_S),
                    },
                },
            },
            "processingMode": {
                "requestHeaderMode": "SKIP" if one_message else "SEND",
                "requestBodyMode": "BUFFERED",
                "responseHeaderMode": "SKIP",
            },
            "requestAttributes": [
                "xds.route_name",
                "xds.cluster_name",
                "request.path",
                "request.method",
                f"request.headers['{listener.session_header}']",
                "request.headers['content-type']",
                "request.id",
                # In double quotes, by which the picker tells them from the session header.
                *(f'request.headers["{name}"]' for name in needs.headers),
                *([f'request.headers["{EXPLAIN_HEADER}"]'] if listener.picker.explain == "asked" else ()),
            ],
            "metadataOptions": {"receivingNamespaces": {"untyped": [LB_NAMESPACE]}},
            "messageTimeout": duration(listener.picker.message_timeout_s),
            "maxMessageTimeout": duration(max(MAX_MESSAGE_TIMEOUT_S, listener.picker.message_timeout_s)),
            "failureModeAllow": True,
        },
    )


def _buffer(listener: Listener) -> Json:
    return extension(BUFFER_FILTER, f"{_FILTERS}.buffer.v3.Buffer", {"maxRequestBytes": listener.max_request_bytes})


def _headers(explain: str, orca: Orca | None) -> Json:
    """The picker's metadata as headers; a header whose metadata is missing is not set at all.

    So who asks for the decision's id gets it without a word of Envoy's to the picker about the answer: the picker has
    put it there a second time, under a key that only such requests have.
    """
    decision = f"%DYNAMIC_METADATA({LB_NAMESPACE}:{DECISION_KEY})%"
    first_byte = f"%DYNAMIC_METADATA({LB_NAMESPACE}:{FIRST_BYTE_KEY})%"
    retries = f"%DYNAMIC_METADATA({LB_NAMESPACE}:{RETRIES_KEY})%"
    return extension(
        HEADERS_FILTER,
        f"{_FILTERS}.header_mutation.v3.HeaderMutation",
        {
            "mutations": {
                "requestMutations": [
                    # The question was for the picker; without this a pod would get it.
                    *([{"remove": EXPLAIN_HEADER}] if explain == "asked" else ()),
                    _set(DECISION_HEADER, decision),
                    _set(PER_TRY_TIMEOUT_HEADER, first_byte),
                    _set(MAX_RETRIES_HEADER, retries),
                    *load_headers.asked(orca),
                ],
                "responseMutations": [
                    # A pod has no business to set these.
                    {"remove": DECISION_HEADER},
                    {"remove": POD_HEADER},
                    *_told(explain, decision),
                    *_labels(),
                    *load_headers.hidden(orca),
                ],
            }
        },
    )


def _told(explain: str, decision: str) -> list[Json]:
    """What the client is told: which decision it was and who served, the decision if it asked, or nothing."""
    if explain == "always":
        return [_set(DECISION_HEADER, decision), _set(POD_HEADER, "%UPSTREAM_REMOTE_ADDRESS%")]
    if explain == "asked":
        return [_set(DECISION_HEADER, f"%DYNAMIC_METADATA({LB_NAMESPACE}:{TOLD_KEY})%")]
    return []


def _labels() -> list[Json]:
    """How the answer differs from what was asked for; also of the picker's own answers, which come through here.

    Under policies that degrade nothing, too: a connection keeps the filters that it began with, and the first
    `fallback` of an edit is there for its requests at once.
    """
    return [
        {"remove": DEGRADED_HEADER},
        {"remove": FEATURES_HEADER},
        _set(DEGRADED_HEADER, f"%DYNAMIC_METADATA({LB_NAMESPACE}:{DEGRADED_KEY})%"),
        _set(FEATURES_HEADER, f"%DYNAMIC_METADATA({LB_NAMESPACE}:{FEATURES_KEY})%"),
    ]


def _set(name: str, value: str) -> Json:
    return {"append": set_header(name, value)}


def _router(capabilities: Capabilities, *, loads: bool) -> Json:
    fields: Json = {}
    if capabilities.has(Feature.ACCESS_LOG):
        fields = {
            "upstreamLog": [attempt_log(capabilities, loads=loads)],
            "upstreamLogOptions": {
                "flushUpstreamLogOnUpstreamStream": True,
                "upstreamLogFlushInterval": duration(ATTEMPT_PROGRESS_S),
            },
        }
    return extension(ROUTER_FILTER, f"{_FILTERS}.router.v3.Router", fields)


def picker_disabled() -> Json:
    """Per-route configuration: the picker is not asked here."""
    return {PICKER_FILTER: any_of(f"{_FILTERS}.ext_proc.v3.ExtProcPerRoute", {"disabled": True})}


def answer_marked() -> Json:
    """Per-route configuration of the headers' filter: the answer to this request is the policy's own."""
    return any_of(
        f"{_FILTERS}.header_mutation.v3.HeaderMutationPerRoute",
        {"mutations": {"requestMutations": [_set(ANSWER_HEADER, "rule")]}},
    )


def first_byte_limited(limit_s: float) -> Json:
    """Per-route configuration of the headers' filter: the limit of a try to which the picker has said nothing.

    In a route's own `requestHeadersToAdd` it would come too late: Envoy adds these when it has read the limit.
    """
    limit = default_header(PER_TRY_TIMEOUT_HEADER, str(round(limit_s * 1_000)))
    return any_of(
        f"{_FILTERS}.header_mutation.v3.HeaderMutationPerRoute",
        {"mutations": {"requestMutations": [{"append": limit}]}},
    )


def filter_disabled(name: str) -> Json:
    """Per-route configuration: the filter is left out of the chain.

    Envoy builds a request's chain from the route that its headers alone select, so this works on routes that do not
    depend on the body.
    """
    return {name: any_of("envoy.config.route.v3.FilterConfig", {"disabled": True})}
