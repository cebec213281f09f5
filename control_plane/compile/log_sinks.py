"""Access logs for people: a JSON line per request, on Envoy's standard output or in a file.

Beside these, `access_logs.py` tells kvpilot itself what became of each request.
"""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import (
    CACHED_TOKENS_KEY,
    COMPLETION_TOKENS_KEY,
    DECISION_KEY,
    DESTINATION_KEY,
    KVPILOT_NAMESPACE,
    LB_NAMESPACE,
    MODEL_KEY,
    PROMPT_TOKENS_KEY,
    STREAM_KEY,
)
from control_plane.compile.typed import Json, extension
from control_plane.policy.access_log import STDERR, STDOUT, AccessLog, AccessLogFilter
from control_plane.policy.model import Listener

_LOGGERS = "envoy.extensions.access_loggers"
_STREAMS = {
    STDOUT: ("envoy.access_loggers.stdout", f"{_LOGGERS}.stream.v3.StdoutAccessLog"),
    STDERR: ("envoy.access_loggers.stderr", f"{_LOGGERS}.stream.v3.StderrAccessLog"),
}
"""Not opened by path: where a stream is a socket, as under systemd, `/dev/stdout` cannot be opened."""

# Envoy writes them in alphabetical order, numbers as numbers, and null for what a request does not have.
_FIELDS = {
    "time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "authority": "%REQ(:AUTHORITY)%",
    "protocol": "%PROTOCOL%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "user_agent": "%REQ(USER-AGENT)%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "route": "%ROUTE_NAME%",
    "pool": "%UPSTREAM_CLUSTER_RAW%",
    "model": f"%DYNAMIC_METADATA({KVPILOT_NAMESPACE}:{MODEL_KEY})%",
    "stream": f"%DYNAMIC_METADATA({KVPILOT_NAMESPACE}:{STREAM_KEY})%",
    "decision": f"%DYNAMIC_METADATA({LB_NAMESPACE}:{DECISION_KEY})%",
    "picked": f"%DYNAMIC_METADATA({LB_NAMESPACE}:{DESTINATION_KEY})%",
    "served": "%UPSTREAM_REMOTE_ADDRESS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "upload_ms": "%REQUEST_DURATION%",
    "headers_ms": "%RESPONSE_DURATION%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
}
_USAGE_FIELDS = {
    key: f"%DYNAMIC_METADATA({KVPILOT_NAMESPACE}:{key})%"
    for key in (PROMPT_TOKENS_KEY, COMPLETION_TOKENS_KEY, CACHED_TOKENS_KEY)
}
_FIRST_TOKEN = "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:ms)%"
"""Engines send their headers before the first token, so the body's first byte is what counts."""


def log_sinks(listener: Listener, capabilities: Capabilities, *, usage: bool) -> list[Json]:
    """The loggers of a listener, in order; `usage` says whether token counts are read from answers."""
    if not capabilities.has(Feature.ACCESS_LOG_SINKS):
        return []
    return [_sink(log, listener, capabilities, usage) for log in listener.access_log]


def _sink(log: AccessLog, listener: Listener, capabilities: Capabilities, usage: bool) -> Json:
    fields: Json = {**_FIELDS, "session": f"%REQ({listener.session_header})%"}
    if usage:
        fields |= _USAGE_FIELDS
    if capabilities.has(Feature.FIRST_TOKEN_TIME):
        fields["first_token_ms"] = _FIRST_TOKEN
    wanted = {name: value for name, value in {**fields, **log.fields}.items() if value}
    line: Json = {"logFormat": {"jsonFormat": wanted}}
    if log.path in _STREAMS:
        sink = extension(*_STREAMS[log.path], line)
    else:
        sink = extension("envoy.access_loggers.file", f"{_LOGGERS}.file.v3.FileAccessLog", {"path": log.path, **line})
    conditions = _conditions(log.filter, listener)
    if conditions:
        sink["filter"] = conditions[0] if len(conditions) == 1 else {"andFilter": {"filters": conditions}}
    return sink


def _conditions(wanted: AccessLogFilter, listener: Listener) -> list[Json]:
    conditions: list[Json] = []
    if wanted.min_status:
        conditions.append({"statusCodeFilter": _at_least(wanted.min_status, listener, "status")})
    if wanted.min_duration_s:
        conditions.append({"durationFilter": _at_least(round(wanted.min_duration_s * 1000), listener, "duration")})
    return conditions


def _at_least(number: int, listener: Listener, what: str) -> Json:
    # Envoy requires a runtime key; nobody sets it, so the default is what counts.
    key = f"kvpilot.access_log.{listener.name}.{what}"
    return {"comparison": {"op": "GE", "value": {"defaultValue": number, "runtimeKey": key}}}
