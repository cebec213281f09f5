"""Our classes and `envoy-data-plane`'s pure-Python codec read and write the same bytes."""

from importlib import resources
from typing import Any

import betterproto2
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.unknown_fields import UnknownFieldSet
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.derive import root_class
from protos.messages import load
from tests.unit.protos.samples import SAMPLES, filled, full_names

# The dataclasses warn when a deprecated field is set; here all fields are set on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")

REQUEST = "envoy.service.ext_proc.v3.ProcessingRequest"


def second_class(full_name: str) -> Any:
    """The dataclass with its own parser for the same message."""
    return root_class(full_name)


def derived_names() -> list[str]:
    """All messages that come from the dataclasses, not from `protos.handwritten`."""
    files = FileDescriptorSet.FromString(resources.files("protos").joinpath("envoy.binpb").read_bytes()).file
    return full_names(file for file in files if "/" not in file.name)


def test_every_field_of_every_message() -> None:
    """Each message with all its fields set is understood wholly by the other codec, and comes back unchanged."""
    messages = load()
    wrong = []
    for name in derived_names():
        for message in filled(messages[name]):
            second = second_class(name).parse(message.SerializeToString())
            again: Any = messages[name].FromString(bytes(second))
            if second._unknown_fields or len(UnknownFieldSet(again)) or again != message:
                wrong.append((name, message))
    assert wrong == []


def test_enough_messages_are_compared() -> None:
    """The comparison above covers the set, so that it cannot pass by walking nothing."""
    assert len(derived_names()) > 500


@pytest.mark.parametrize("name", SAMPLES)
def test_second_codec_writes_what_we_read(name: str) -> None:
    """A real resource, read by the other codec and written by it, is the same message, nothing unknown to it."""
    messages = load()
    ours = messages.parse_json(name, SAMPLES[name])
    second = second_class(name).parse(ours.SerializeToString(deterministic=True))
    assert not second._unknown_fields
    assert messages[name].FromString(bytes(second)) == ours


def test_endpoints_have_identical_bytes() -> None:
    """For 100 endpoints both codecs write the same bytes, not only equal messages."""
    name = "envoy.config.endpoint.v3.ClusterLoadAssignment"
    data = load().parse_json(name, SAMPLES[name]).SerializeToString(deterministic=True)
    assert bytes(second_class(name).parse(data)) == data


@pytest.mark.parametrize("name", ["envoy.config.endpoint.v3.ClusterLoadAssignment", REQUEST])
def test_json_agrees(name: str) -> None:
    """The JSON of both codecs is the same: names, enums, numbers, structures."""
    messages = load()
    ours = messages.parse_json(name, SAMPLES[name])
    second = second_class(name).parse(ours.SerializeToString())
    assert messages.to_json(ours) == second.to_dict(output_format=betterproto2.OutputFormat.PROTO_JSON)


headers = st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=4)
plain = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
struct = st.dictionaries(
    st.text(max_size=5),
    st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner)),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(headers=headers, attributes=st.dictionaries(st.text(max_size=5), struct, max_size=2), end=st.booleans())
def test_any_request_headers(
    headers: list[tuple[str, bytes]], attributes: dict[str, dict[str, object]], end: bool
) -> None:
    """Whatever headers and attributes Envoy sends: both codecs read them alike, and JSON keeps all of it."""
    messages = load()
    request: Any = messages[REQUEST]()
    request.request_headers.end_of_stream = end
    request.request_headers.headers.SetInParent()
    for key, raw in headers:
        request.request_headers.headers.headers.add(key=key, raw_value=raw)
    for name, value in attributes.items():
        request.attributes[name].update(value)
    second = second_class(REQUEST).parse(request.SerializeToString())
    assert [(header.key, header.raw_value) for header in second.request_headers.headers.headers] == headers
    assert messages[REQUEST].FromString(bytes(second)) == request
    assert messages.parse_json(REQUEST, messages.to_json(request)) == request


@settings(max_examples=60, deadline=None)
@given(
    namespaces=st.dictionaries(st.text(max_size=5), struct, max_size=2),
    body=st.none() | st.binary(max_size=20),
    timeout_us=st.none() | st.integers(min_value=0, max_value=3_600_000_000),
)
def test_any_picker_answer(
    namespaces: dict[str, dict[str, object]], body: bytes | None, timeout_us: int | None
) -> None:
    """Whatever metadata, body and timeout the picker answers with: the other codec reads just that."""
    response: Any = load()["envoy.service.ext_proc.v3.ProcessingResponse"]()
    response.request_body.SetInParent()
    for name, value in namespaces.items():
        response.dynamic_metadata[name] = value
    if body is not None:
        response.request_body.response.body_mutation.body = body
    if timeout_us is not None:
        response.override_message_timeout.FromMicroseconds(timeout_us)
    second = second_class("envoy.service.ext_proc.v3.ProcessingResponse").parse(response.SerializeToString())
    assert load()["envoy.service.ext_proc.v3.ProcessingResponse"].FromString(bytes(second)) == response
    assert (second.override_message_timeout is None) == (timeout_us is None)
    if body is not None:
        assert second.request_body.response.body_mutation.body == body
