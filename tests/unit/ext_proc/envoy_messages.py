"""Messages as Envoy sends them, in bytes; and what it understands of our answers."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import Message

from protos.messages import load

BUFFERED = {"requestBodyMode": "BUFFERED", "responseBodyMode": "NONE"}
ATTRIBUTES = {
    "xds.route_name": "model/m",
    "xds.cluster_name": "pool/p",
    "request.path": "/v1/completions",
    "request.method": "POST",
    "request.headers['x-session-id']": "session-1",
    "request.headers['content-type']": "application/json",
    "request.id": "5f1b",
}
COMPLETION = b'{"model": "m", "prompt": "Once upon a time"}'


def request(value: Mapping[str, Any]) -> bytes:
    """A `ProcessingRequest` from Envoy's JSON."""
    return _bytes("envoy.service.ext_proc.v3.ProcessingRequest", value)


def body(
    data: bytes = COMPLETION,
    *,
    attributes: Mapping[str, str] | None = ATTRIBUTES,
    config: Mapping[str, str] | None = BUFFERED,
    end_of_stream: bool = True,
) -> bytes:
    """A request_body message; with attributes and config it is a stream's first."""
    message: Any = load()["envoy.service.ext_proc.v3.ProcessingRequest"].FromString(
        request({**_attributes(attributes), **_config(config), "requestBody": {"endOfStream": end_of_stream}})
    )
    message.request_body.body = data
    return bytes(message.SerializeToString())


def headers(
    *,
    path: str = "/v1/completions",
    attributes: Mapping[str, str] | None = ATTRIBUTES,
    config: Mapping[str, str] | None = BUFFERED,
    end_of_stream: bool = False,
    others: Mapping[str, str] | None = None,
) -> bytes:
    """A request_headers message, values in `raw_value` as Envoy does."""
    message: Any = load()["envoy.service.ext_proc.v3.ProcessingRequest"].FromString(
        request({**_attributes(attributes), **_config(config), "requestHeaders": {"endOfStream": end_of_stream}})
    )
    for key, value in {":method": "POST", ":path": path, **(others or {})}.items():
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    return bytes(message.SerializeToString())


def answer(data: bytes) -> dict[str, Any]:
    """A `ProcessingResponse` as Envoy's JSON."""
    return load().to_json(load()["envoy.service.ext_proc.v3.ProcessingResponse"].FromString(data))


def metadata(data: bytes) -> dict[str, Any]:
    """The `envoy.lb` part of an answer's dynamic metadata; empty where there is none."""
    found: dict[str, Any] = answer(data).get("dynamicMetadata", {}).get("envoy.lb", {})
    return found


def log_message(*entries: Mapping[str, Any], name: str = "") -> bytes:
    """A `StreamAccessLogsMessage` with these `HTTPAccessLogEntry` as JSON."""
    value: dict[str, Any] = {"httpLogs": {"logEntry": [dict(entry) for entry in entries]}}
    if name:
        value["identifier"] = {"node": {"id": "envoy"}, "logName": name}
    return _bytes("envoy.service.accesslog.v3.StreamAccessLogsMessage", value)


def log_entry(kind: str, *, host: str = "10.0.0.1", port: int = 8000, status: int | None = 200, **common: Any) -> Any:
    """One `HTTPAccessLogEntry` of a picked request d1; `common` are further common properties."""
    tags = {"decision": "d1", **common.pop("customTags", {})}
    entry: dict[str, Any] = {"commonProperties": {"accessLogType": kind, "customTags": tags, **common}}
    if host:
        entry["commonProperties"]["upstreamRemoteAddress"] = {"socketAddress": {"address": host, "portValue": port}}
    if status is not None:
        entry["response"] = {"responseCode": status}
    return entry


def _attributes(attributes: Mapping[str, str] | None) -> dict[str, Any]:
    return {"attributes": {"envoy.filters.http.ext_proc": dict(attributes)}} if attributes else {}


def _config(config: Mapping[str, str] | None) -> dict[str, Any]:
    return {"protocolConfig": dict(config)} if config else {}


def _bytes(name: str, value: Mapping[str, Any]) -> bytes:
    message: Message = load().parse_json(name, value)
    return message.SerializeToString()
