"""Deriving descriptors from `envoy-data-plane`'s dataclasses."""

import dataclasses
from pathlib import Path

import betterproto2
import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorSet

from protos import derive
from protos.roots import ROOTS


def message_in(data: bytes, full_name: str) -> DescriptorProto:
    """The descriptor of `full_name` in a serialised set."""
    top, *path = full_name.split(".")
    (file,) = [file for file in FileDescriptorSet.FromString(data).file if file.package == top]
    found = DescriptorProto(nested_type=file.message_type)
    for part in path:
        (found,) = [nested for nested in found.nested_type if nested.name == part]
    return found


def field_in(message: DescriptorProto, name: str) -> FieldDescriptorProto:
    """The field called `name`."""
    (found,) = [field for field in message.field if field.name == name]
    return found


def test_committed_file_is_current() -> None:
    """The committed set is exactly what deriving gives now."""
    assert derive.OUTPUT.read_bytes() == derive.derive()


def test_order_of_roots_does_not_matter() -> None:
    """The output depends on the set of roots only: the same bytes for the reverse order."""
    roots = ("envoy.service.ext_proc.v3.ProcessingResponse", "envoy.config.cluster.v3.Cluster")
    assert derive.derive(roots) == derive.derive(tuple(reversed(roots)))


def test_every_root_is_in_the_set() -> None:
    """Each root appears with its fields under its full name."""
    data = derive.OUTPUT.read_bytes()
    assert all(message_in(data, root).name == root.rpartition(".")[2] for root in ROOTS)


@pytest.mark.parametrize("name", ["envoy.config.cluster.v3.Claster", "envoy.nowhere.v3.Cluster", "nowhere.Cluster"])
def test_unknown_root(name: str) -> None:
    """A root that does not exist is an error that names it."""
    with pytest.raises(derive.UnknownRootError, match=name):
        derive.derive([name])


def test_packages_are_enclosing_messages() -> None:
    """One file per top-level package, in dependency order, whose first-level messages are package parts."""
    files = FileDescriptorSet.FromString(derive.derive(["envoy.config.listener.v3.Listener"])).file
    derived = [file for file in files if "/" not in file.name]
    assert [file.package for file in derived][-1] == "envoy"
    assert all(part.name.islower() and not part.field for file in derived for part in file.message_type)


def test_well_known_types_are_imported() -> None:
    """No message of `google.protobuf` is in the set; protobuf's own files provide them."""
    files = FileDescriptorSet.FromString(derive.OUTPUT.read_bytes()).file
    google = [part.name for file in files if file.package == "google" for part in file.message_type]
    assert google == ["api", "rpc"]
    assert not [file.name for file in files if file.name.startswith("google/protobuf")]


def invented() -> type:
    """A message with what no message of the package has today, but proto3 allows."""
    uint32, string = betterproto2.TYPE_UINT32, betterproto2.TYPE_STRING
    return dataclasses.make_dataclass(
        "Invented",
        [
            ("limit", int | None, betterproto2.field(1, uint32, optional=True)),
            ("from_", str, betterproto2.field(2, string)),
            ("left", str | None, betterproto2.field(3, string, optional=True, group="side")),
            ("right", str | None, betterproto2.field(4, string, optional=True, group="side")),
        ],
        bases=(betterproto2.Message,),
    )


def test_optional_scalar_has_a_synthetic_oneof_after_real_ones() -> None:
    """Presence of a proto3 scalar is declared as protoc does it: a oneof of its own behind all real ones."""
    message = DescriptorProto(name="Invented")
    derive.fill_message(message, "tests.Invented", invented())
    assert [oneof.name for oneof in message.oneof_decl] == ["side", "_limit"]
    assert [(field.name, field.oneof_index) for field in message.field if field.HasField("oneof_index")] == [
        ("limit", 1),
        ("left", 0),
        ("right", 0),
    ]
    assert [field.name for field in message.field if field.proto3_optional] == ["limit"]


def test_python_words_lose_their_underscore() -> None:
    """A field that Python cannot call by its own name (`from`) has its protobuf name in the set."""
    message = DescriptorProto(name="Invented")
    derive.fill_message(message, "tests.Invented", invented())
    assert field_in(message, "from").number == 2


def test_map_field() -> None:
    """A map is a repeated entry message with the map_entry option and the value's own type."""
    request = message_in(derive.OUTPUT.read_bytes(), "envoy.service.ext_proc.v3.ProcessingRequest")
    entry = next(nested for nested in request.nested_type if nested.name == "AttributesEntry")
    assert entry.options.map_entry
    assert [(field.name, field.number, field.type_name) for field in entry.field] == [
        ("key", 1, ""),
        ("value", 2, ".google.protobuf.Struct"),
    ]
    assert field_in(request, "attributes").label == FieldDescriptorProto.LABEL_REPEATED


def test_oneof_members_share_an_index() -> None:
    """All kinds of processing request are members of one oneof."""
    request = message_in(derive.OUTPUT.read_bytes(), "envoy.service.ext_proc.v3.ProcessingRequest")
    group = [field.name for field in request.field if field.HasField("oneof_index")]
    assert {"request_headers", "response_headers", "request_body", "response_body"} <= set(group)
    assert [oneof.name for oneof in request.oneof_decl] == ["request"]


def test_nested_enum_has_original_value_names() -> None:
    """An enum sits in its parent message, zero first, under Envoy's own value names."""
    message = message_in(derive.OUTPUT.read_bytes(), "envoy.config.core.v3.HeaderValueOption")
    (enum,) = message.enum_type
    assert enum.name == "HeaderAppendAction"
    assert (enum.value[0].name, enum.value[0].number) == ("APPEND_IF_EXISTS_OR_ADD", 0)


def test_wrapper_is_a_message_on_the_wire() -> None:
    """A field that the dataclass shows as an int is the wrapper message that Envoy declares."""
    cluster = message_in(derive.OUTPUT.read_bytes(), "envoy.config.cluster.v3.Cluster")
    assert field_in(cluster, "per_connection_buffer_limit_bytes").type_name == ".google.protobuf.UInt32Value"


def test_write_and_check(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` fails on a missing and on a different file, and passes on the one just written."""
    monkeypatch.setattr(derive, "OUTPUT", tmp_path / "envoy.binpb")
    assert derive.main(["--check"]) == 1
    assert derive.main([]) == 0
    assert derive.main(["--check"]) == 0
    (tmp_path / "envoy.binpb").write_bytes(b"")
    assert derive.main(["--check"]) == 1
    assert "run python -m protos.derive" in capsys.readouterr().err
