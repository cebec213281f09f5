"""ext_proc's protobuf bytes to and from the picker's own values. No I/O, no clock.

    wire = ExchangeWire(messages)
    exchange.handle(wire.decode(data)) → actions → [wire.encode(action), …]

With its siblings `wire_logs` and `wire_health` the only place that knows both protobuf and the core. Every field and
rule is Envoy's: `envoy/service/ext_proc/v3/external_processor.proto`.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from ext_proc.core.decision import Canned, Degraded, Named, Rejected
from ext_proc.core.exchange import (
    Action,
    BodyMode,
    Code,
    Continue,
    ExchangeError,
    Hold,
    Ignored,
    Input,
    Message,
    Modes,
    OtherMessage,
    Pick,
    Refuse,
    RequestBody,
    RequestHeaders,
)
from ext_proc.core.request import RequestFacts
from protos.messages import Messages

ATTRIBUTES_KEY: Final = "envoy.filters.http.ext_proc"
"""Under which Envoy files the attributes that it was asked to send."""
METADATA_NAMESPACE: Final = "envoy.lb"
"""Where the answer's metadata goes; the filter must list it in `metadata_options.receiving_namespaces.untyped`."""
DESTINATION_KEY: Final = "x-gateway-destination-endpoint"
"""The ordered list that `override_host` reads."""
DECISION_KEY: Final = "kvpilot-decision"
TOLD_KEY: Final = "kvpilot-told-decision"
"""The same, for a client that asked: Envoy makes the answer's header of it."""
FIRST_BYTE_KEY: Final = "kvpilot-first-byte-ms"
RETRIES_KEY: Final = "kvpilot-retries"
POOL_KEY: Final = "kvpilot-pool"
"""The pool to which the request is to go in place of the one that Envoy chose: a route of its own matches on it."""
DEGRADED_KEY: Final = "kvpilot-degraded"
FEATURES_KEY: Final = "kvpilot-degraded-features"
DEGRADED_HEADER: Final = "x-kvpilot-degraded"
FEATURES_HEADER: Final = "x-kvpilot-degraded-features"

REJECTION_DETAILS: Final = "kvpilot_rejected"
"""What Envoy's access log gives as `%RESPONSE_CODE_DETAILS%` for an answer of ours."""

# Envoy passes on any number as a status, 999 included; outside these a client library would not know what to do.
_ERROR_STATUSES: Final = range(400, 600)
_FALLBACK_STATUS: Final = 500

_BODY_MODES: Final = (
    BodyMode.NONE,
    BodyMode.STREAMED,
    BodyMode.BUFFERED,
    BodyMode.BUFFERED_PARTIAL,
    BodyMode.FULL_DUPLEX_STREAMED,
    BodyMode.GRPC,
)

_OTHER_MESSAGES: Final[Mapping[str, Message]] = {
    "request_trailers": Message.REQUEST_TRAILERS,
    "response_headers": Message.RESPONSE_HEADERS,
    "response_body": Message.RESPONSE_BODY,
    "response_trailers": Message.RESPONSE_TRAILERS,
}

_HEADER_ATTRIBUTE: Final = "request.headers["
_CONTENT_TYPE_ATTRIBUTE: Final = "request.headers['content-type']"
_OTHER_HEADER_ATTRIBUTES: Final = (_CONTENT_TYPE_ATTRIBUTE, "request.headers['x-request-id']")


class ExchangeWire:
    """The codec of ext_proc streams. Immutable after construction; safe to share between streams."""

    def __init__(self, messages: Messages) -> None:
        """`messages` gives the message classes."""
        self._request: Any = messages["envoy.service.ext_proc.v3.ProcessingRequest"]
        self._response: Any = messages["envoy.service.ext_proc.v3.ProcessingResponse"]
        self._continue = {message: self._empty(message) for message in Message}

    def _empty(self, message: Message) -> bytes:
        response = self._response()
        getattr(response, message.name.lower()).SetInParent()
        return bytes(response.SerializeToString())

    def decode(self, data: bytes) -> Input:
        """What a serialised `ProcessingRequest` says; raises `ExchangeError` where it is none."""
        try:
            request = self._request.FromString(data)
        except DecodeError as error:
            raise ExchangeError(Code.INVALID_ARGUMENT, f"not a ProcessingRequest: {error}") from None
        kind = request.WhichOneof("request")
        if kind is None or request.observability_mode:
            return Ignored()
        modes = _modes(request.protocol_config) if request.HasField("protocol_config") else None
        if kind == "request_body":
            body = request.request_body
            return RequestBody(
                body=body.body, end_of_stream=body.end_of_stream, context=_context(request, ()), modes=modes
            )
        if kind == "request_headers":
            headers = request.request_headers
            context = _context(request, headers.headers.headers) or RequestFacts()
            return RequestHeaders(context=context, end_of_stream=headers.end_of_stream, modes=modes)
        return OtherMessage(message=_OTHER_MESSAGES[kind], modes=modes)

    def encode(self, action: Action) -> bytes | None:
        """The serialised `ProcessingResponse` for `action`; None for one that Envoy is not told."""
        if isinstance(action, Continue):
            return self._continue[action.message]
        if isinstance(action, Pick):
            return self._pick(action)
        if isinstance(action, Refuse):
            return self._refusal(action.rejected)
        return self._hold(action) if isinstance(action, Hold) and action.for_s else None

    def _hold(self, hold: Hold) -> bytes:
        """Alone in its response: with an answer beside it, Envoy would take that one."""
        response = self._response()
        response.override_message_timeout.FromMilliseconds(math.ceil(hold.for_s * 1_000))
        return bytes(response.SerializeToString())

    def _pick(self, pick: Pick) -> bytes:
        named = pick.named
        response = self._response()
        _write_metadata(response.dynamic_metadata, named, is_told=pick.is_told)
        if pick.message is Message.REQUEST_HEADERS:
            response.request_headers.SetInParent()
        else:
            common = response.request_body.response
            common.SetInParent()
            if named.body is not None:
                common.body_mutation.body = named.body
                if pick.is_length_needed:
                    _set_header(common.header_mutation, "content-length", str(len(named.body)))
            if named.degraded is not None and named.degraded.pool:
                common.clear_route_cache = True
                # Without any header mutation beside it Envoy 1.40 ignores that; nobody has this header.
                common.header_mutation.remove_headers.append(DEGRADED_HEADER)
        return bytes(response.SerializeToString())

    def _refusal(self, rejected: Rejected | Canned) -> bytes:
        response = self._response()
        immediate = response.immediate_response
        if isinstance(rejected, Canned):
            immediate.status.code, immediate.body, kind = rejected.status, rejected.body, rejected.content_type
        else:
            immediate.status.code = rejected.status if rejected.status in _ERROR_STATUSES else _FALLBACK_STATUS
            immediate.body, kind = msgspec.json.encode(rejected.error.as_dict()), "application/json"
        immediate.details = REJECTION_DETAILS
        _set_header(immediate.headers, "content-type", kind)
        if rejected.retry_after_s is not None:
            _set_header(immediate.headers, "retry-after", str(rejected.retry_after_s))
        if rejected.degraded is not None:
            _write_degradation(_lb_fields(response.dynamic_metadata), rejected.degraded)
        return bytes(response.SerializeToString())


def _write_metadata(struct: Any, named: Named, *, is_told: bool) -> None:
    fields = _lb_fields(struct)
    fields[DESTINATION_KEY].string_value = ",".join(named.endpoints)
    fields[DECISION_KEY].string_value = named.decision_id
    if is_told:
        fields[TOLD_KEY].string_value = named.decision_id
    if named.first_byte_ms is not None:
        # A string: header_mutation prints numbers of metadata as floats, which Envoy's timeout header refuses.
        fields[FIRST_BYTE_KEY].string_value = str(named.first_byte_ms)
    if named.retries is not None:
        fields[RETRIES_KEY].string_value = str(named.retries)
    if named.degraded is not None:
        _write_degradation(fields, named.degraded)


def _lb_fields(struct: Any) -> Any:
    return struct.fields[METADATA_NAMESPACE].struct_value.fields


def _write_degradation(fields: Any, degraded: Degraded) -> None:
    fields[DEGRADED_KEY].string_value = degraded.label
    if degraded.pool:
        fields[POOL_KEY].string_value = degraded.pool
    if degraded.features:
        fields[FEATURES_KEY].string_value = ",".join(degraded.features)


def _set_header(mutation: Any, key: str, value: str) -> None:
    # `raw_value`, since `value` arrives empty; `append` unset means overwrite, and `append_action` is not looked at.
    header = mutation.set_headers.add().header
    header.key = key
    header.raw_value = value.encode()


def _modes(config: Any) -> Modes:
    return Modes(request_body=_mode(config.request_body_mode), response_body=_mode(config.response_body_mode))


def _mode(number: int) -> BodyMode:
    try:
        return _BODY_MODES[number]
    except IndexError:
        raise ExchangeError(Code.UNIMPLEMENTED, f"this ext_proc server does not know body mode {number}") from None


def _context(request: Any, headers: Any) -> RequestFacts | None:
    """The context from attributes, completed from `headers`; None where neither is there."""
    attributes = request.attributes
    found: dict[str, str] = {}
    if ATTRIBUTES_KEY in attributes:
        for name, value in attributes[ATTRIBUTES_KEY].fields.items():
            found[name] = value.string_value
    elif not headers:
        return None
    named = _header_values(headers)
    return RequestFacts(
        path=found.get("request.path") or named.get(":path", ""),
        method=found.get("request.method") or named.get(":method", "POST"),
        route=found.get("xds.route_name", ""),
        cluster=found.get("xds.cluster_name", ""),
        session=_session(found),
        headers=_headers(found),
        content_type=found.get(_CONTENT_TYPE_ATTRIBUTE) or named.get("content-type", ""),
        request_id=found.get("request.id") or named.get("x-request-id", ""),
    )


def _session(attributes: Mapping[str, str]) -> str:
    # The session header's name is the listener's own affair: it is the header asked for that is none of the known. What
    # strategies ask for is written in double quotes, which are the same to CEL.
    for name, value in attributes.items():
        if name.startswith(f"{_HEADER_ATTRIBUTE}'") and name not in _OTHER_HEADER_ATTRIBUTES:
            return value
    return ""


def _headers(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """What strategies may look at: the session header too, since a pool may name the same one."""
    start = len(_HEADER_ATTRIBUTE) + 1
    return {
        name[start:-2]: value
        for name, value in attributes.items()
        if name.startswith(_HEADER_ATTRIBUTE) and name not in _OTHER_HEADER_ATTRIBUTES
    }


def _header_values(headers: Any) -> dict[str, str]:
    # Envoy fills `raw_value`; other proxies that speak ext_proc fill `value`.
    return {header.key: header.value or header.raw_value.decode("latin-1") for header in headers}
