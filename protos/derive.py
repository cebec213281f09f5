"""Derives `envoy.binpb`, the descriptors of every Envoy message we speak, from `envoy-data-plane`'s dataclasses.

    python -m protos.derive            # write the file
    python -m protos.derive --check    # exit 1 if the committed file is not what would be written

The dataclasses carry all that a descriptor needs (field number, type, oneof, map, wrapper), so no `.proto` files and no
`protoc` are needed, and the program itself runs on protobuf's C codec without importing those dataclasses. This is a
developer's tool: nothing in the running program imports it.

What is odd about the result, and why:

- One file per top-level package, with the rest of the package as enclosing messages. Envoy's packages refer to each
  other in circles, which files may not do; messages in one file may, and full names stay exactly Envoy's.
- Well-known types are not in it: `protos.messages` takes those from protobuf itself, which gives them their methods.
- Comments, options and services are left out: neither the codec nor JSON looks at them.
"""

import argparse
import dataclasses
import importlib
import sys
import typing
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import betterproto2
from envoy_data_plane.message_pool import default_message_pool
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from protos.handwritten import OPTIONAL, REPEATED, handwritten_files, map_entry
from protos.roots import ROOTS

OUTPUT = Path(__file__).with_name("envoy.binpb")

WELL_KNOWN_PACKAGE = "google.protobuf."

WELL_KNOWN_FILES = tuple(
    f"google/protobuf/{name}.proto" for name in ("any", "duration", "empty", "struct", "timestamp", "wrappers")
)

_SCHEMA_PACKAGE = "envoy_data_plane"


class UnknownRootError(LookupError):
    """A root names a message that `envoy-data-plane` does not have."""


@dataclasses.dataclass(slots=True)
class Schema:
    """The types reached so far, by full name, and the way from a Python class to its full name.

    Mutable: both tables grow while `collect` walks; `collect` is the only writer.
    """

    messages: dict[str, type]
    enums: dict[str, type]


def derive(roots: Iterable[str] = ROOTS) -> bytes:
    """The serialised `FileDescriptorSet` for `roots` and all they refer to; the same bytes for the same schema.

    Raises `UnknownRootError` for a name that the package does not have.
    """
    schema = collect(root_class(name) for name in roots)
    files = [_package_file(top, schema) for top in sorted({name.partition(".")[0] for name in schema.messages})]
    _add_imports(files)
    return FileDescriptorSet(file=[*_by_dependency(files), *handwritten_files()]).SerializeToString(deterministic=True)


def root_class(full_name: str) -> type:
    """The dataclass for a message's full name. Importing the module of its package is what registers it."""
    package = ".".join(part for part in full_name.split(".") if part[0].islower())
    try:
        with warnings.catch_warnings():
            # The dataclasses declare a validator in a way that newer pydantic calls deprecated; nothing of ours.
            warnings.filterwarnings("ignore", message="Using `@model_validator`", category=DeprecationWarning)
            importlib.import_module(f"{_SCHEMA_PACKAGE}.{package}")
        found: type = default_message_pool.url_to_type[f"type.googleapis.com/{full_name}"]
    except (ModuleNotFoundError, KeyError):
        raise UnknownRootError(f"envoy-data-plane has no message {full_name!r}") from None
    return found


def collect(classes: Iterable[type]) -> Schema:
    """Walks from `classes` through all fields, and to the messages around a nested type."""
    schema = Schema({}, {})
    waiting = list(classes)
    while waiting:
        cls = waiting.pop()
        name = type_name(cls)
        table = schema.messages if issubclass(cls, betterproto2.Message) else schema.enums
        if name in table or name.startswith(WELL_KNOWN_PACKAGE):
            continue
        table[name] = cls
        waiting.extend(_enclosing(name))
        if table is schema.messages:
            waiting.extend(kind for field in fields_of(cls) for kind in field.referred)
    return schema


def type_name(cls: type) -> str:
    """The protobuf full name of a message or enum class.

    Messages are registered under it. Enums are not: the generator runs the parents' names and the enum's own together,
    so the longest message name that begins it is taken for its parent. That misnames a few enums (`TlsVersion` for
    `TLSVersion`), which is harmless: bytes and JSON carry an enum's values, never its name.
    """
    if issubclass(cls, betterproto2.Message):
        return _registered_name(cls)
    siblings = vars(sys.modules[cls.__module__])
    for end in range(len(cls.__name__) - 1, 0, -1):
        parent = siblings.get(cls.__name__[:end])
        if isinstance(parent, type) and issubclass(parent, betterproto2.Message) and cls.__name__[end].isupper():
            return f"{_registered_name(parent)}.{cls.__name__[end:]}"
    return f"{cls.__module__.removeprefix(_SCHEMA_PACKAGE + '.')}.{cls.__name__}"


def _registered_name(cls: type) -> str:
    url: str = default_message_pool.type_to_url[cls]
    return url.rpartition("/")[2]


def _enclosing(full_name: str) -> Iterator[type]:
    """The message directly around a nested type: its siblings' scope must exist with its true fields."""
    parent = full_name.rpartition(".")[0]
    if parent.rpartition(".")[2][:1].isupper():
        yield root_class(parent)


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """One field of a message class: its protobuf name and metadata, and the classes of its key and value types."""

    name: str
    meta: betterproto2.FieldMetadata
    referred: tuple[type, ...]
    """Message or enum classes this field mentions: one at most, since map keys are scalars."""


def fields_of(cls: type) -> list[Field]:
    """The fields of a message class by number."""
    hints = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]))
    fields = []
    for item in dataclasses.fields(cls):
        meta = betterproto2.FieldMetadata.get(item)
        # The generator appends "_" to names that are Python words; no Envoy field ends so by itself.
        fields.append(Field(item.name.rstrip("_"), meta, tuple(_referred(meta, hints[item.name]))))
    return sorted(fields, key=lambda field: field.meta.number)


def _referred(meta: betterproto2.FieldMetadata, hint: object) -> Iterator[type]:
    value = meta.map_meta[1] if meta.map_meta else meta
    if value.proto_type not in (betterproto2.TYPE_MESSAGE, betterproto2.TYPE_ENUM):
        return
    if value.unwrap:
        # The hint shows the unwrapped Python type (timedelta, int, ...), the wire has the wrapper.
        yield value.unwrap()
        return
    arguments = [kind for kind in typing.get_args(hint) or (hint,) if kind is not type(None)]
    kind = arguments[-1]
    assert isinstance(kind, type), f"no class in {hint!r}"
    yield kind


def _package_file(top: str, schema: Schema) -> FileDescriptorProto:
    """The file with all types of one top-level package. Sorted names put every parent before its children."""
    file = FileDescriptorProto(name=f"{top}.proto", package=top, syntax="proto3")
    scopes: dict[str, DescriptorProto] = {}
    for name, cls in sorted(schema.messages.items()):
        if name.startswith(f"{top}."):
            fill_message(_scope(file, scopes, name), name, cls)
    for name, cls in sorted(schema.enums.items()):
        if name.startswith(f"{top}."):
            parent, _, own = name.rpartition(".")
            _fill_enum(_scope(file, scopes, parent).enum_type.add(name=own), cls)
    return file


def _scope(file: FileDescriptorProto, scopes: dict[str, DescriptorProto], name: str) -> DescriptorProto:
    """The message called `name`, made with those around it where it does not exist yet."""
    if name not in scopes:
        parent, _, own = name.rpartition(".")
        around = file.message_type if parent == file.package else _scope(file, scopes, parent).nested_type
        scopes[name] = around.add(name=own)
    return scopes[name]


def fill_message(message: DescriptorProto, full_name: str, cls: type) -> None:
    """Declares in `message`, whose full name is `full_name`, the fields, oneofs and map entries of `cls`."""
    oneofs: dict[str, int] = {}
    fields = fields_of(cls)
    for group in dict.fromkeys(field.meta.group for field in fields if field.meta.group):
        oneofs[group] = len(oneofs)
        message.oneof_decl.add(name=group)
    for field in fields:
        declared = message.field.add(name=field.name, number=field.meta.number)
        if field.meta.map_meta:
            _fill_map(message, full_name, declared, field)
            continue
        declared.label = REPEATED if field.meta.repeated else OPTIONAL
        _set_type(declared, field.meta, field.referred)
        if field.meta.group:
            declared.oneof_index = oneofs[field.meta.group]
        elif field.meta.optional and field.meta.proto_type != betterproto2.TYPE_MESSAGE:
            # Presence of a proto3 scalar is a oneof of its own, which must come after all real ones.
            declared.proto3_optional = True
            declared.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")


def _fill_map(message: DescriptorProto, full_name: str, declared: FieldDescriptorProto, field: Field) -> None:
    assert field.meta.map_meta
    key_meta, value_meta = field.meta.map_meta
    value = FieldDescriptorProto()
    _set_type(value, value_meta, field.referred)
    entry = map_entry(field.name, _wire_type(key_meta), value)
    message.nested_type.append(entry)
    declared.label = REPEATED
    declared.type = FieldDescriptorProto.TYPE_MESSAGE
    declared.type_name = f".{full_name}.{entry.name}"


def _set_type(declared: FieldDescriptorProto, meta: betterproto2.FieldMetadata, referred: tuple[type, ...]) -> None:
    declared.type = _wire_type(meta)
    if referred:
        declared.type_name = f".{type_name(referred[0])}"


def _wire_type(meta: betterproto2.FieldMetadata) -> FieldDescriptorProto.Type.ValueType:
    return FieldDescriptorProto.Type.Value(f"TYPE_{meta.proto_type.upper()}")


def _fill_enum(enum: EnumDescriptorProto, cls: type) -> None:
    members: dict[str, int] = {}
    renamed: dict[int, str] = cls.betterproto_value_to_renamed_proto_names()  # type: ignore[attr-defined]
    for name, member in cls.__members__.items():  # type: ignore[attr-defined]
        members[renamed.get(member.value, name)] = member.value
    # proto3 wants the zero value first.
    for name, number in sorted(members.items(), key=lambda item: (item[1] != 0, item[1])):
        enum.value.add(name=name, number=number)
    if len(set(members.values())) < len(members):
        enum.options.allow_alias = True


def _mentioned(message: DescriptorProto) -> Iterator[str]:
    for field in message.field:
        if field.type_name:
            yield field.type_name[1:]
    for nested in message.nested_type:
        yield from _mentioned(nested)


def _add_imports(files: list[FileDescriptorProto]) -> None:
    for file in files:
        tops = {name.partition(".")[0] for message in file.message_type for name in _mentioned(message)}
        others = [other.name for other in files if other is not file and other.package in tops]
        file.dependency.extend([*WELL_KNOWN_FILES, *others])


def _by_dependency(files: list[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Files after those that they import, as a descriptor pool wants them."""
    ordered: list[FileDescriptorProto] = []
    placed = set(WELL_KNOWN_FILES)
    while len(ordered) < len(files):
        ready = [file for file in files if file.name not in placed and placed.issuperset(file.dependency)]
        if not ready:
            raise RuntimeError("top-level packages import each other in a circle")
        ordered.extend(ready)
        placed.update(file.name for file in ready)
    return ordered


def main(arguments: list[str] | None = None) -> int:
    """Writes the file, or compares with it (`--check`). 0: written or equal, 1: different."""
    parser = argparse.ArgumentParser(prog="python -m protos.derive", description="Derive protos/envoy.binpb.")
    parser.add_argument("--check", action="store_true", help="compare with the committed file, write nothing")
    options = parser.parse_args(arguments)
    derived = derive()
    if not options.check:
        OUTPUT.write_bytes(derived)
        print(f"{OUTPUT.name}: {len(derived)} bytes")
        return 0
    if OUTPUT.exists() and OUTPUT.read_bytes() == derived:
        return 0
    print(f"{OUTPUT.name} is not what envoy-data-plane says now: run python -m protos.derive", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
