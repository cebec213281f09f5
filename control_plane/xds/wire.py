"""Bytes to requests, pushes to bytes: the only module here that knows the discovery messages.

Responses are put together from two pieces that protobuf lets one concatenate: all that is the same for every stream is
serialised once and remembered, and only the nonce and the name of the sender are appended per stream.
"""

import sys
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError

from control_plane.compile.node import Node, Version
from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from protos.messages import TYPE_URL_PREFIX, Messages

IDENTIFIER = "kvpilot"
"""Sent as `control_plane.identifier`; Envoy shows it in its statistics."""

MAX_CACHED_BYTES = 32 * 1024 * 1024
"""Serialised responses remembered, so that many streams share one copy; a snapshot of 10,000 endpoints is 1 MB."""

_DISCOVERY = "envoy.service.discovery.v3."


class RequestReader:
    """Reads requests of both variants. Holds message classes only."""

    def __init__(self, messages: Messages) -> None:
        self._sotw: Any = messages[_DISCOVERY + "DiscoveryRequest"]
        self._delta: Any = messages[_DISCOVERY + "DeltaDiscoveryRequest"]

    def read_sotw(self, data: bytes) -> tuple[Node | None, SotwRequest]:
        """The request and the node that it names, if it does; raises `RefusedRequestError` for what is no request."""
        message = _decode(self._sotw, data)
        return _node(message), SotwRequest(
            type_url=message.type_url,
            version=message.version_info,
            nonce=message.response_nonce,
            names=_names(message.resource_names),
            error=_error(message),
        )

    def read_delta(self, data: bytes) -> tuple[Node | None, DeltaRequest]:
        """The request and the node that it names, if it does; raises `RefusedRequestError` for what is no request."""
        message = _decode(self._delta, data)
        return _node(message), DeltaRequest(
            type_url=message.type_url,
            nonce=message.response_nonce,
            subscribe=_names(message.resource_names_subscribe),
            unsubscribe=tuple(message.resource_names_unsubscribe),
            initial_versions=dict(message.initial_resource_versions),
            error=_error(message),
        )


def _decode(message_class: Any, data: bytes) -> Any:
    try:
        return message_class.FromString(data)
    except DecodeError as error:
        raise RefusedRequestError("INVALID_ARGUMENT", f"not a discovery request: {error}") from error


def _names(names: Iterable[str]) -> tuple[str, ...]:
    # A thousand Envoys subscribe to the same names, and each keeps what it subscribed to.
    return tuple(map(sys.intern, names))


def _error(message: Any) -> str | None:
    """The text of a NACK. Only the presence of `error_detail` makes one, so one without a text gets one here."""
    if not message.HasField("error_detail"):
        return None
    return message.error_detail.message or f"rejected without a text, status code {message.error_detail.code}"


def _node(message: Any) -> Node | None:
    if not message.HasField("node"):
        return None
    node = message.node
    return Node(
        id=node.id,
        cluster=node.cluster,
        region=node.locality.region,
        zone=node.locality.zone,
        version=_version(node),
        extensions=_extensions(node),
        metadata=_fields(node.metadata),
    )


def _fields(struct: Any) -> dict[str, object]:
    return {name: _plain(value) for name, value in struct.fields.items()}


def _plain(value: Any) -> object:
    """A `google.protobuf.Value` as Python has it; protobuf's own depth limit bounds the recursion. Not by way of JSON,
    which has no word for the infinite numbers that a client may send."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return _fields(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    return None if kind in (None, "null_value") else getattr(value, kind)


def _version(node: Any) -> Version | None:
    if not node.HasField("user_agent_build_version"):
        return None
    version = node.user_agent_build_version.version
    return version.major_number, version.minor_number, version.patch


def _extensions(node: Any) -> frozenset[str] | None:
    names = {extension.name for extension in node.extensions}
    for extension in node.extensions:
        names.update(url.removeprefix(TYPE_URL_PREFIX) for url in extension.type_urls)
    return frozenset(names) or None


_Key = tuple[str, str, str, tuple[str, ...], tuple[str, ...], tuple[str, ...]]


class ResponseWriter:
    """Turns pushes into bytes. Mutable: the remembered bytes, oldest use first; written by `write` only."""

    def __init__(self, messages: Messages, max_cached_bytes: int = MAX_CACHED_BYTES) -> None:
        self._responses: dict[str, Any] = {
            "sotw": messages[_DISCOVERY + "DiscoveryResponse"],
            "delta": messages[_DISCOVERY + "DeltaDiscoveryResponse"],
        }
        self._max_cached_bytes = max_cached_bytes
        self._cached: dict[_Key, bytes] = {}
        self._cached_bytes = 0
        self.serialised = 0
        """How many responses were built rather than remembered."""

    def write(self, dialect: str, push: Push, identifier: str = IDENTIFIER) -> bytes:
        """The response in the variant called `dialect`, `sotw` or `delta`; `identifier` says who answers, and with
        which policy."""
        key: _Key = (
            dialect,
            push.type_url,
            push.version,
            tuple(resource.name for resource in push.resources),
            tuple(resource.version for resource in push.resources),
            push.removed,
        )
        body = self._cached.pop(key, None)
        if body is None:
            body = self._serialise(dialect, push)
            self._cached_bytes += len(body)
        self._cached[key] = body
        while self._cached_bytes > self._max_cached_bytes:
            self._cached_bytes -= len(self._cached.pop(next(iter(self._cached))))
        own = self._responses[dialect](nonce=push.nonce)
        own.control_plane.identifier = identifier
        tail: bytes = own.SerializeToString()
        return body + tail

    def _serialise(self, dialect: str, push: Push) -> bytes:
        self.serialised += 1
        response = self._responses[dialect](type_url=push.type_url)
        (self._fill_sotw if dialect == "sotw" else self._fill_delta)(response, push)
        body: bytes = response.SerializeToString(deterministic=True)
        return body

    @staticmethod
    def _fill_sotw(response: Any, push: Push) -> None:
        response.version_info = push.version
        for resource in push.resources:
            response.resources.add(type_url=push.type_url, value=resource.body)

    @staticmethod
    def _fill_delta(response: Any, push: Push) -> None:
        response.system_version_info = push.version
        response.removed_resources.extend(push.removed)
        for resource in push.resources:
            entry = response.resources.add(name=resource.name, version=resource.version)
            entry.resource.type_url, entry.resource.value = push.type_url, resource.body
