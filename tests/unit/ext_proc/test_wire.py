"""ext_proc's messages in bytes: what is read out of them, and that a second codec reads what we write."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ext_proc.core.decision import Canned, Degraded, Level, Named, OpenAIError, Rejected
from ext_proc.core.exchange import (
    Abandon,
    BodyMode,
    Code,
    Continue,
    ExchangeError,
    Hold,
    Ignored,
    Message,
    Modes,
    OtherMessage,
    Pick,
    Refuse,
    Release,
    RequestBody,
    RequestHeaders,
)
from ext_proc.core.request import RequestFacts
from ext_proc.wire import REJECTION_DETAILS, TOLD_KEY, ExchangeWire
from protos.derive import root_class
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy

# The second codec warns when a deprecated field is read; it reads all.
pytestmark = pytest.mark.filterwarnings("ignore:.* is deprecated:DeprecationWarning")

WIRE = ExchangeWire(load())
CONTEXT = RequestFacts(
    path="/v1/completions", method="POST", route="model/m", cluster="pool/p", session="session-1",
    content_type="application/json", request_id="5f1b", headers={"x-session-id": "session-1"},
)  # fmt: skip
NAMED = Named(decision_id="d1", endpoints=("10.0.0.1:8000", "[2001:db8::1]:8000"), first_byte_ms=30_000)


def second_class(name: str) -> Any:
    """The second codec's class for a message of ext_proc."""
    return root_class(f"envoy.service.ext_proc.v3.{name}")


def second(data: bytes) -> Any:
    """An answer of ours as the second codec reads it, and with nothing unknown to it."""
    response = second_class("ProcessingResponse").parse(data)
    assert not response._unknown_fields
    return response


def encoded(action: Any) -> bytes:
    """An action that Envoy is told."""
    data = WIRE.encode(action)
    assert data is not None
    return data


def test_one_message() -> None:
    """The one message brings body, attributes and modes."""
    assert WIRE.decode(envoy.body(b"{}")) == RequestBody(body=b"{}", context=CONTEXT, modes=Modes())


def test_body_after_headers() -> None:
    """A body that follows headers brings neither attributes nor modes."""
    data = envoy.body(b"{}", attributes=None, config=None, end_of_stream=False)
    assert WIRE.decode(data) == RequestBody(body=b"{}", end_of_stream=False)


def test_headers() -> None:
    """Headers bring the attributes; with `end_of_stream` no body follows."""
    assert WIRE.decode(envoy.headers()) == RequestHeaders(context=CONTEXT, modes=Modes())
    last = WIRE.decode(envoy.headers(end_of_stream=True))
    assert isinstance(last, RequestHeaders)
    assert last.end_of_stream


def test_headers_without_attributes() -> None:
    """Without attributes the headers themselves tell path, method, type and id."""
    data = envoy.headers(path="/v1/models", attributes=None, others={"content-type": "text/plain", "x-request-id": "1"})
    message = WIRE.decode(data)
    assert isinstance(message, RequestHeaders)
    assert message.context == RequestFacts(path="/v1/models", method="POST", content_type="text/plain", request_id="1")


def test_header_values() -> None:
    """A value is read from `raw_value`, where Envoy puts it, and from `value`, where others do (T35)."""
    data = envoy.request(
        {
            "requestHeaders": {
                "headers": {"headers": [{"key": ":path", "value": "/a"}, {"key": ":method", "value": "GET"}]}
            }
        }
    )
    message = WIRE.decode(data)
    assert isinstance(message, RequestHeaders)
    assert (message.context.path, message.context.method) == ("/a", "GET")


def test_header_value_that_is_no_utf8() -> None:
    """Header values are bytes; odd ones must not end the stream."""
    value = {"requestHeaders": {"headers": {"headers": [{"key": ":path", "rawValue": "L/8="}]}}}
    message = WIRE.decode(envoy.request(value))
    assert isinstance(message, RequestHeaders)
    assert message.context.path == "/\xff"


def test_session_header_of_any_name() -> None:
    """The session is whichever other header the listener asked for."""
    attributes = {
        "request.headers['content-type']": "application/json",
        "request.headers['x-request-id']": "1",
        "request.headers['x-conversation']": "c7",
    }
    message = WIRE.decode(envoy.body(attributes=attributes))
    assert isinstance(message, RequestBody)
    assert message.context is not None
    assert message.context.session == "c7"


def test_headers_that_strategies_ask_for() -> None:
    """They stand in double quotes, so that none of them is taken for the session."""
    attributes = {
        'request.headers["cookie"]': "sid=1",
        "request.headers['x-conversation']": "c7",
        'request.headers["x-user"]': "u",
    }
    message = WIRE.decode(envoy.body(attributes=attributes))
    assert isinstance(message, RequestBody)
    assert message.context is not None
    assert message.context.session == "c7"
    assert message.context.headers == {"cookie": "sid=1", "x-conversation": "c7", "x-user": "u"}


def test_attributes_of_other_types() -> None:
    """A number where a text is expected is as good as nothing."""
    data = envoy.request({"requestBody": {}, "attributes": {"envoy.filters.http.ext_proc": {"request.path": 7}}})
    message = WIRE.decode(data)
    assert isinstance(message, RequestBody)
    assert message.context == RequestFacts()


def test_no_metadata_context_needed() -> None:
    """A message without attributes of our key and without metadata is read (T38)."""
    data = envoy.request({"requestBody": {}, "attributes": {"other.filter": {"request.path": "/"}}})
    assert WIRE.decode(data) == RequestBody(body=b"", end_of_stream=False)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("requestTrailers", Message.REQUEST_TRAILERS),
        ("responseHeaders", Message.RESPONSE_HEADERS),
        ("responseBody", Message.RESPONSE_BODY),
        ("responseTrailers", Message.RESPONSE_TRAILERS),
    ],
)
def test_other_messages(field: str, message: Message) -> None:
    """What is of no use is known by its kind, because it waits for an answer."""
    assert WIRE.decode(envoy.request({field: {}})) == OtherMessage(message=message)


# Field 12, flow_control_init, length-delimited and empty: sent by Envoys newer than the descriptors.
FLOW_CONTROL_INIT = bytes([12 << 3 | 2, 0])


@pytest.mark.parametrize("data", [b"", FLOW_CONTROL_INIT])
def test_unknown_kinds(data: bytes) -> None:
    """A message without a known kind is ignored (T29)."""
    assert WIRE.decode(data) == Ignored()


@pytest.mark.parametrize("data", [{"requestBody": {}}, {"requestHeaders": {}}])
def test_observability(data: dict[str, Any]) -> None:
    """What is sent for observation only wants no answer (T28)."""
    assert WIRE.decode(envoy.request({**data, "observabilityMode": True})) == Ignored()


@pytest.mark.parametrize(
    ("name", "mode"),
    [(mode.name, mode) for mode in BodyMode],
)
def test_modes(name: str, mode: BodyMode) -> None:
    """Each of Envoy's body modes is read for what it is, in both directions."""
    message = WIRE.decode(envoy.body(config={"requestBodyMode": name, "responseBodyMode": name}))
    assert isinstance(message, RequestBody)
    assert message.modes == Modes(request_body=mode, response_body=mode)


def test_unknown_mode() -> None:
    """A body mode of a future Envoy is refused by number."""
    data = envoy.body(config=None) + bytes([11 << 3 | 2, 2, 1 << 3, 9])
    with pytest.raises(ExchangeError, match="body mode 9") as raised:
        WIRE.decode(data)
    assert raised.value.code is Code.UNIMPLEMENTED


@given(st.binary(max_size=200))
@example(b"\xff\xff\xff")
@example(envoy.body()[:-1])
def test_garbage(data: bytes) -> None:
    """Whatever the bytes are, they are a message or INVALID_ARGUMENT, and nothing else happens."""
    with suppress(ExchangeError):
        WIRE.decode(data)


def test_garbage_is_refused() -> None:
    """Bytes that are no message say so."""
    with pytest.raises(ExchangeError, match="not a ProcessingRequest") as raised:
        WIRE.decode(b"\xff\xff\xff")
    assert raised.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("message", list(Message))
def test_continue(message: Message) -> None:
    """A continuation is an empty answer of the message's own kind."""
    data = encoded(Continue(message=message))
    name = message.name.lower()
    assert load()["envoy.service.ext_proc.v3.ProcessingResponse"].FromString(data).WhichOneof("response") == name
    assert getattr(second(data), name) is not None


def test_pick() -> None:
    """A pick is dynamic metadata of `envoy.lb`: the ordered list, the decision's id, the limit as a string."""
    data = encoded(Pick(message=Message.REQUEST_BODY, named=NAMED))
    assert envoy.answer(data) == {
        "requestBody": {"response": {}},
        "dynamicMetadata": {
            "envoy.lb": {
                "x-gateway-destination-endpoint": "10.0.0.1:8000,[2001:db8::1]:8000",
                "kvpilot-decision": "d1",
                "kvpilot-first-byte-ms": "30000",
            }
        },
    }
    fields = second(data).dynamic_metadata.fields["envoy.lb"].struct_value.fields
    assert fields["x-gateway-destination-endpoint"].string_value == "10.0.0.1:8000,[2001:db8::1]:8000"
    assert fields["kvpilot-first-byte-ms"].string_value == "30000"


def test_pick_for_who_asked() -> None:
    """The decision's id a second time, under the key that Envoy makes the answer's header of."""
    asked = envoy.metadata(encoded(Pick(message=Message.REQUEST_BODY, named=NAMED, is_told=True)))
    usual = envoy.metadata(encoded(Pick(message=Message.REQUEST_BODY, named=NAMED)))
    assert asked == {**usual, TOLD_KEY: NAMED.decision_id}


def test_pick_without_limit() -> None:
    """Without a limit its key is absent, so that Envoy sets no header."""
    data = encoded(Pick(message=Message.REQUEST_BODY, named=replace(NAMED, first_byte_ms=None)))
    assert set(envoy.metadata(data)) == {"x-gateway-destination-endpoint", "kvpilot-decision"}


def test_pick_of_the_only_one() -> None:
    """One second try there, as a string like the limit; where others are named the policy says how many."""
    alone = replace(NAMED, endpoints=NAMED.endpoints[:1])
    metadata = envoy.metadata(encoded(Pick(message=Message.REQUEST_BODY, named=alone)))
    assert metadata["kvpilot-retries"] == "1"


def test_pick_in_headers() -> None:
    """A request without body gets its pick in the headers' answer."""
    data = encoded(Pick(message=Message.REQUEST_HEADERS, named=NAMED))
    assert envoy.answer(data)["requestHeaders"] == {}
    assert envoy.metadata(data)["kvpilot-decision"] == "d1"


@pytest.mark.parametrize("is_length_needed", [False, True])
def test_new_body(is_length_needed: bool) -> None:
    """A new body brings its `content-length` where Envoy holds the headers, in `raw_value`, and not otherwise."""
    named = Named(decision_id="d", endpoints=("10.0.0.1:1",), body=b'{"model": "other"}')
    response = second(encoded(Pick(message=Message.REQUEST_BODY, named=named, is_length_needed=is_length_needed)))
    common = response.request_body.response
    assert common.body_mutation.body == named.body
    headers = common.header_mutation.set_headers if common.header_mutation else []
    assert [(each.header.key, each.header.raw_value, each.header.value) for each in headers] == (
        [("content-length", b"18", "")] if is_length_needed else []
    )


def test_empty_new_body() -> None:
    """An empty new body is still a new body."""
    named = Named(decision_id="d", endpoints=("10.0.0.1:1",), body=b"")
    response = second(encoded(Pick(message=Message.REQUEST_BODY, named=named, is_length_needed=True)))
    assert response.request_body.response.header_mutation.set_headers[0].header.raw_value == b"0"


def test_refusal() -> None:
    """A refusal is an immediate response: status, JSON error body, its type, when to come back; nothing else."""
    error = OpenAIError(message='all "busy"', type="rate_limit_error", code="overloaded")
    response = second(encoded(Refuse(rejected=Rejected(status=429, error=error, retry_after_s=7))))
    immediate = response.immediate_response
    assert int(immediate.status.code) == 429
    assert json.loads(immediate.body) == {
        "error": {"message": 'all "busy"', "type": "rate_limit_error", "param": None, "code": "overloaded"}
    }
    assert [(each.header.key, each.header.raw_value) for each in immediate.headers.set_headers] == [
        ("content-type", b"application/json"),
        ("retry-after", b"7"),
    ]
    assert immediate.details == REJECTION_DETAILS


def test_a_way_elsewhere() -> None:
    """The pool and the label are told beside the pick, and Envoy chooses its route again: for which it needs any change
    of headers."""
    degraded = Degraded(
        level=Level.MODEL, model="m", why="x", to="n", pool="q", cluster="pool/q", features=("tools", "max_tokens")
    )
    named = replace(NAMED, body=b"{}", degraded=degraded)
    response = second(encoded(Pick(message=Message.REQUEST_BODY, named=named, is_length_needed=True)))
    told = response.dynamic_metadata.to_dict()["envoy.lb"]
    assert (told["kvpilot-pool"], told["kvpilot-degraded"], told["kvpilot-degraded-features"]) == (
        "q", "n", "tools,max_tokens",
    )  # fmt: skip
    common = response.request_body.response
    assert common.clear_route_cache
    assert common.header_mutation.remove_headers == ["x-kvpilot-degraded"]
    assert common.header_mutation.set_headers[0].header.key == "content-length"


def test_a_label_alone() -> None:
    """Who is answered where Envoy sends it anyway stays on its route."""
    named = replace(NAMED, degraded=Degraded(level=Level.LATER, model="m", why="x"))
    response = second(encoded(Pick(message=Message.REQUEST_BODY, named=named)))
    told = response.dynamic_metadata.to_dict()["envoy.lb"]
    assert told["kvpilot-degraded"] == "later"
    assert not {"kvpilot-pool", "kvpilot-degraded-features"} & set(told)
    assert not response.request_body.response.clear_route_cache


def test_an_answer_of_the_policys_own() -> None:
    """Its status, body and type as they are, with the label."""
    canned = Canned(
        status=200,
        body=b"data: x",
        content_type="text/event-stream",
        degraded=Degraded(level=Level.ANSWER, model="m", why="x"),
    )
    response = second(encoded(Refuse(rejected=canned)))
    immediate = response.immediate_response
    assert (immediate.status.code, immediate.body) == (200, b"data: x")
    assert [each.header.raw_value for each in immediate.headers.set_headers] == [b"text/event-stream"]
    assert response.dynamic_metadata.to_dict()["envoy.lb"] == {"kvpilot-degraded": "answer"}


def test_refusal_without_retry() -> None:
    """Without a time to come back there is no such header."""
    rejected = Rejected(status=400, error=OpenAIError(message="m", type="invalid_request_error"))
    headers = second(encoded(Refuse(rejected=rejected))).immediate_response.headers.set_headers
    assert [each.header.key for each in headers] == ["content-type"]


@pytest.mark.parametrize(("status", "sent"), [(400, 400), (599, 599), (200, 500), (999, 500), (0, 500)])
def test_refusal_status(status: int, sent: int) -> None:
    """Envoy passes on any number, so only errors leave here."""
    rejected = Rejected(status=status, error=OpenAIError(message="m", type="t"))
    message: Any = load()["envoy.service.ext_proc.v3.ProcessingResponse"].FromString(encoded(Refuse(rejected=rejected)))
    assert message.immediate_response.status.code == sent


@pytest.mark.parametrize(("seconds", "milliseconds"), [(0.0001, 1), (1.5, 1_500), (31.0, 31_000), (300.0004, 300_001)])
def test_hold(seconds: float, milliseconds: int) -> None:
    """A wait is told alone, in whole milliseconds and never shorter than it is: Envoy takes no less than one."""
    response = second(encoded(Hold(ticket=3, for_s=seconds)))
    assert response.override_message_timeout.total_seconds() * 1_000 == pytest.approx(milliseconds)
    assert (response.request_body, response.request_headers, response.immediate_response) == (None, None, None)


def test_release_is_not_told() -> None:
    """What concerns only the picker is not sent."""
    assert WIRE.encode(Release(decision_id="d")) is None
    assert WIRE.encode(Abandon(ticket=1)) is None


def test_second_codec_writes_what_we_read() -> None:
    """A message written by the second codec is read the same."""
    again = bytes(second_class("ProcessingRequest").parse(envoy.body(b"{}")))
    assert WIRE.decode(again) == RequestBody(body=b"{}", context=CONTEXT, modes=Modes())
