"""Every Envoy message as a protobuf class on the C codec, from the committed descriptor set `envoy.binpb`.

    messages = load()
    cluster = messages.parse_json("envoy.config.cluster.v3.Cluster", {"name": "llama", "connectTimeout": "1s"})
    data = cluster.SerializeToString(deterministic=True)
    request = messages["envoy.service.ext_proc.v3.ProcessingRequest"].FromString(data)

Classes come from a descriptor pool of their own, so that another package's copy of Envoy's messages in the same process
does no harm. Their well-known types (`Any`, `Struct`, `Duration`, ...) are therefore that pool's own, too: take
`messages["google.protobuf.Struct"]`, not `google.protobuf.struct_pb2.Struct`, where one is assigned to a field.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from typing import Any

from google.protobuf import (
    any_pb2,
    duration_pb2,
    empty_pb2,
    json_format,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

TYPE_URL_PREFIX = "type.googleapis.com/"
"""What Envoy writes in front of a full name in `Any.type_url` and in `"@type"`."""

_WELL_KNOWN = (any_pb2, duration_pb2, empty_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)

_MAX_JSON_DEPTH = 100
"""Nesting that JSON input may have: protobuf's own limit for bytes, so what is accepted here is readable there."""


class Messages:
    """Message classes by full name, with their JSON and `Any` forms.

    Mutable: the table of classes made so far, filled on first use. A class made twice by two threads is the same class,
    so no lock is needed.
    """

    def __init__(self, pool: DescriptorPool) -> None:
        self._pool = pool
        self._classes: dict[str, type[Message]] = {}

    def __getitem__(self, full_name: str) -> type[Message]:
        """The class of the message called `full_name`, e.g. `envoy.config.cluster.v3.Cluster`.

        Raises `KeyError` for a name that is not in the descriptor set.
        """
        found = self._classes.get(full_name)
        if found is None:
            found = self._classes[full_name] = self._make(full_name)
        return found

    def __contains__(self, full_name: object) -> bool:
        """Whether a message of this full name is known."""
        if not isinstance(full_name, str):
            return False
        try:
            self[full_name]
        except KeyError:
            return False
        return True

    def _make(self, full_name: str) -> type[Message]:
        try:
            descriptor = self._pool.FindMessageTypeByName(full_name)
        except KeyError:
            raise KeyError(f"no message {full_name!r} in envoy.binpb; should it be in protos/roots.py?") from None
        return message_factory.GetMessageClass(descriptor)

    def parse_json(self, full_name: str, value: Mapping[str, object]) -> Message:
        """The message that `value`, in Envoy's own JSON, describes; `Any` fields hold `{"@type": ..., fields}`.

        Raises `json_format.ParseError` for an unknown field, a wrong type or an unknown `@type`, naming the path, and
        `KeyError` for an unknown `full_name`.
        """
        message = self[full_name]()
        json_format.ParseDict(dict(value), message, descriptor_pool=self._pool, max_recursion_depth=_MAX_JSON_DEPTH)
        if _holds_any(value):
            self._settle(message)
        return message

    def _settle(self, message: Message) -> None:
        """Writes the content of every `Any` anew, maps in order of their keys.

        json_format packs them in the order of a hash table, which differs between processes: bytes that are compared
        or hashed must not.
        """
        for field, value in message.ListFields():
            if field.message_type is None:
                continue
            if field.message_type.GetOptions().map_entry:
                if field.message_type.fields_by_name["value"].message_type is not None:
                    for item in value.values():
                        self._settle_one(item)
            elif field.is_repeated:
                for item in value:
                    self._settle_one(item)
            else:
                self._settle_one(value)

    def _settle_one(self, message: Any) -> None:
        if message.DESCRIPTOR.full_name != "google.protobuf.Any":
            self._settle(message)
        elif message.type_url:
            inner = self[message.type_url.removeprefix(TYPE_URL_PREFIX)].FromString(message.value)
            self._settle(inner)
            message.value = inner.SerializeToString(deterministic=True)

    def to_json(self, message: Message) -> dict[str, object]:
        """Envoy's own JSON of `message`: lowerCamelCase keys, `Any` expanded, fields at their default left out.

        Raises `TypeError` where an `Any` holds a type that is not in the descriptor set.
        """
        return {
            name: _plain(value)
            for name, value in json_format.MessageToDict(message, descriptor_pool=self._pool).items()
        }

    def pack(self, message: Message) -> Message:
        """`message` in a `google.protobuf.Any`; the same message gives the same bytes."""
        packed = self["google.protobuf.Any"]()
        packed.Pack(message, deterministic=True)  # type: ignore[attr-defined]
        return packed


def _holds_any(value: object) -> bool:
    """Whether JSON input has an `Any` anywhere; most endpoints have none and are spared the walk."""
    if isinstance(value, Mapping):
        return "@type" in value or any(map(_holds_any, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_any, value))


def _plain(value: object) -> object:
    """`value` with plain dictionaries: json_format expands `Any` to a subclass, which YAML writers refuse."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _files() -> Iterator[FileDescriptorProto]:
    # Well-known types as protobuf ships them: json_format and the C codec know them by exactly these names and shapes.
    for module in _WELL_KNOWN:
        yield FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)
    yield from FileDescriptorSet.FromString(resources.files("protos").joinpath("envoy.binpb").read_bytes()).file


@cache
def load() -> Messages:
    """All messages of the committed descriptor set.

    Remembered, because it is a pure function of a constant file and message classes only compare and nest within one
    pool: two copies would make two incompatible `Any`. It holds nothing that a test or a caller could change.
    """
    pool = DescriptorPool()
    for file in _files():
        pool.Add(file)
    return Messages(pool)
