"""Access log records in bytes: which events they are."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import AttemptEnded, AttemptStarted, FirstToken, RequestEnded
from ext_proc.wire_logs import _FLAGS, LoadSeen, LogEvent, LogWire
from protos.derive import root_class
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy

WIRE = LogWire(load())
HOST = "10.0.0.1:8000"


def events(*entries: Any) -> list[LogEvent | LoadSeen]:
    """What a message with these records says, at second 5."""
    count, found = WIRE.decode(envoy.log_message(*entries, name="attempt"), 5.0)
    assert count == len(entries)
    return found


def test_attempt_started() -> None:
    """Type 7 says which endpoint Envoy really tries."""
    assert events(envoy.log_entry("UpstreamPoolReady", status=None)) == [
        AttemptStarted(decision_id="d1", address=HOST, at=5.0)
    ]


def test_periodic_before_the_first_token() -> None:
    """A periodic record of an attempt that waits says nothing new; Envoy writes `-` for what has not happened."""
    tags = {"first_token_us": "-", "attempt_first_token_us": "-"}
    assert events(envoy.log_entry("UpstreamPeriodic", customTags=tags)) == []


def test_periodic_with_the_first_token() -> None:
    """Once there is a first body byte, its time since the request's arrival is told in milliseconds."""
    tags = {"first_token_us": "1234500", "attempt_first_token_us": "1000"}
    assert events(envoy.log_entry("UpstreamPeriodic", customTags=tags)) == [
        FirstToken(decision_id="d1", address=HOST, at=5.0, ttft_ms=1234.5)
    ]


def test_first_token_of_the_attempt_alone() -> None:
    """Where only the attempt's own time is known it is taken."""
    assert events(envoy.log_entry("UpstreamPeriodic", customTags={"attempt_first_token_us": "1000"})) == [
        FirstToken(decision_id="d1", address=HOST, at=5.0, ttft_ms=1.0)
    ]


def test_attempt_ended_well() -> None:
    """Type 9 tells the first token before the end, so that their order is true."""
    entry = envoy.log_entry("UpstreamEnd", customTags={"first_token_us": "9000"})
    assert events(entry) == [
        FirstToken(decision_id="d1", address=HOST, at=5.0, ttft_ms=9.0),
        AttemptEnded(decision_id="d1", address=HOST, at=5.0, status=200),
    ]


def test_first_token_is_dated() -> None:
    """At the attempt's end its duration tells how long ago the first token was."""
    tags = {"first_token_us": "900000", "attempt_first_token_us": "500000"}
    first, last = events(envoy.log_entry("UpstreamEnd", customTags=tags, duration="2.5s"))
    assert first == FirstToken(decision_id="d1", address=HOST, at=3.0, ttft_ms=900.0)
    assert last.at == 5.0


def test_attempt_failed_to_connect() -> None:
    """A refused connection: flag UF, no status, the transport's own words."""
    entry = envoy.log_entry(
        "UpstreamEnd",
        status=None,
        responseFlags={"upstreamConnectionFailure": True},
        upstreamTransportFailureReason="delayed connect error: 111",
    )
    assert events(entry) == [
        AttemptEnded(
            decision_id="d1", address=HOST, at=5.0, status=0, flags=("UF",), failure="delayed connect error: 111"
        )
    ]


def test_attempt_failed_in_details() -> None:
    """Without a transport failure the response code's details are the reason."""
    entry = envoy.log_entry("UpstreamEnd", status=503)
    entry["response"]["responseCodeDetails"] = "via_upstream"
    assert events(entry) == [AttemptEnded(decision_id="d1", address=HOST, at=5.0, status=503, failure="via_upstream")]


def test_request_ended() -> None:
    """Type 6 tells the whole request: who served, tries, durations, tokens."""
    tags = {
        "first_token_us": "120000",
        "prompt_tokens": "1600",
        "completion_tokens": "12.0",
        "cached_tokens": "1536",
    }
    entry = envoy.log_entry("DownstreamEnd", customTags=tags, duration="1.5s", upstreamRequestAttemptCount=2)
    assert events(entry) == [
        RequestEnded(
            decision_id="d1",
            at=5.0,
            status=200,
            served=HOST,
            attempts=2,
            ttft_ms=120.0,
            duration_ms=1500.0,
            prompt_tokens=1600,
            completion_tokens=12,
            cached_tokens=1536,
        )
    ]


def test_request_that_nobody_served() -> None:
    """A request without any endpoint has no served address, and numbers that are not told are None."""
    entry = envoy.log_entry(
        "DownstreamEnd",
        host="",
        status=503,
        responseFlags={"noHealthyUpstream": True, "upstreamRetryLimitExceeded": True},
        customTags={"cached_tokens": "-", "prompt_tokens": "null"},
    )
    assert events(entry) == [RequestEnded(decision_id="d1", at=5.0, status=503, attempts=0, flags=("UH", "URX"))]


@pytest.mark.parametrize("field", ["downstreamConnectionTermination", "downstreamRemoteReset"])
def test_request_aborted(field: str) -> None:
    """A client that went away is no failure of an endpoint."""
    (event,) = events(envoy.log_entry("DownstreamEnd", status=None, responseFlags={field: True}))
    assert isinstance(event, RequestEnded)
    assert event.aborted
    assert event.status == 0


def test_stream_idle_timeout() -> None:
    """A stream that hung after its headers is status 200 with flag SI: not read as success by whoever looks."""
    (event,) = events(envoy.log_entry("DownstreamEnd", responseFlags={"streamIdleTimeout": True}))
    assert isinstance(event, RequestEnded)
    assert (event.status, event.flags, event.aborted) == (200, ("SI",), False)


def test_every_flag_has_a_short_name() -> None:
    """No flag of Envoy's is without its short name."""
    fields = load()["envoy.data.accesslog.v3.ResponseFlags"].DESCRIPTOR.fields
    assert set(_FLAGS) == {field.name for field in fields}
    assert len(set(_FLAGS.values())) == len(_FLAGS)


def test_flag_with_details() -> None:
    """The one flag that is a message counts as a flag too."""
    flags = {"unauthorizedDetails": {"reason": "EXTERNAL_SERVICE"}}
    (event,) = events(envoy.log_entry("DownstreamEnd", status=403, responseFlags=flags))
    assert isinstance(event, RequestEnded)
    assert event.flags == ("UAEX",)


@pytest.mark.parametrize("decision", ["", "-"])
@pytest.mark.parametrize("kind", ["UpstreamPoolReady", "UpstreamEnd", "DownstreamEnd"])
def test_records_without_decision(decision: str, kind: str) -> None:
    """Records of requests that were not picked say nothing, but are counted."""
    assert events(envoy.log_entry(kind, customTags={"decision": decision})) == []


@pytest.mark.parametrize("kind", ["NotSet", "DownstreamStart", "DownstreamPeriodic", "TcpConnectionEnd"])
def test_other_kinds(kind: str) -> None:
    """Other kinds of records say nothing, but are counted."""
    assert events(envoy.log_entry(kind)) == []


@pytest.mark.parametrize("kind", ["UpstreamPoolReady", "UpstreamPeriodic", "UpstreamEnd"])
def test_attempt_without_host(kind: str) -> None:
    """An attempt for which no host was found cannot be accounted for."""
    assert events(envoy.log_entry(kind, host="", customTags={"first_token_us": "1"})) == []


def test_ipv6_host() -> None:
    """An IPv6 address is written as everywhere else, in brackets."""
    (event,) = events(envoy.log_entry("UpstreamPoolReady", host="2001:db8::1"))
    assert isinstance(event, AttemptStarted)
    assert event.address == "[2001:db8::1]:8000"


@pytest.mark.parametrize("text", ["NaN", "inf", "-1", "1e300", "many", ""])
def test_numbers_that_are_none(text: str) -> None:
    """A tag that is no count is not told, whatever an engine wrote into its usage."""
    (event,) = events(envoy.log_entry("DownstreamEnd", customTags={"cached_tokens": text, "first_token_us": text}))
    assert isinstance(event, RequestEnded)
    assert event.cached_tokens is None
    assert event.ttft_ms is None


def test_empty_message() -> None:
    """A message with an identifier only, or nothing at all, holds no records."""
    assert WIRE.decode(envoy.log_message(name="request"), 0.0) == (0, [])
    assert WIRE.decode(b"", 0.0) == (0, [])


def test_order_is_kept() -> None:
    """Events come in the order of the records."""
    kinds = ["UpstreamPoolReady", "UpstreamEnd", "DownstreamEnd"]
    assert [type(event) for event in events(*map(envoy.log_entry, kinds))] == [
        AttemptStarted,
        AttemptEnded,
        RequestEnded,
    ]


def test_garbage_is_refused() -> None:
    """Bytes that are no message say so."""
    with pytest.raises(ValueError, match="not a StreamAccessLogsMessage"):
        WIRE.decode(b"\xff\xff", 0.0)


@given(st.binary(max_size=200))
def test_garbage(data: bytes) -> None:
    """Whatever the bytes are, nothing but ValueError comes of them."""
    with suppress(ValueError):
        WIRE.decode(data, 0.0)


def test_second_codec_writes_what_we_read() -> None:
    """A record written by the second codec is read the same."""
    data = envoy.log_message(envoy.log_entry("UpstreamPoolReady"))
    second: Any = root_class("envoy.service.accesslog.v3.StreamAccessLogsMessage")
    assert WIRE.decode(bytes(second.parse(data)), 5.0) == WIRE.decode(data, 5.0)


def test_answer() -> None:
    """The one response of a log stream is an empty message."""
    assert WIRE.answer == b""
