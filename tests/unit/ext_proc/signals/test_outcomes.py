"""Access log streams: records become events, and no garbage ends a stream."""

from typing import Any

import pytest

from ext_proc.core.events import AttemptEnded, AttemptStarted, FirstToken, LoadReported
from ext_proc.counters import Counters
from ext_proc.signals.orca import NAMES
from ext_proc.signals.outcomes import Outcomes
from ext_proc.wire_logs import LogEvent, LogWire
from ext_proc.wire_orca import OrcaWire
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy


def outcomes() -> tuple[Outcomes, list[LogEvent | LoadReported], Counters]:
    """A reader whose clock stands at 7 s, and where its events and counts go."""
    events: list[LogEvent | LoadReported] = []
    counters = Counters()
    reader = Outcomes(LogWire(load()), OrcaWire(load()), on_event=events.append, clock=lambda: 7.0, counters=counters)
    reader.orca_names = NAMES
    return reader, events, counters


def test_records() -> None:
    """Each record's events are handed on in order, at the time of their arrival; each record counts."""
    reader, events, counters = outcomes()
    kinds = ("UpstreamPoolReady", "UpstreamEnd", "DownstreamStart")
    reader.feed(envoy.log_message(*map(envoy.log_entry, kinds)))
    assert events == [
        AttemptStarted(decision_id="d1", address="10.0.0.1:8000", at=7.0),
        AttemptEnded(decision_id="d1", address="10.0.0.1:8000", at=7.0, status=200),
    ]
    assert counters.log_records == 3


def attempt(kind: str, decision: str = "d1", *, host: str = "10.0.0.1") -> Any:
    """A record of an attempt that is past its first token."""
    return envoy.log_entry(kind, host=host, customTags={"decision": decision, "first_token_us": "1000"})


def test_first_token_is_told_once() -> None:
    """A stream that hangs after its first token is not told as alive again and again."""
    reader, events, _ = outcomes()
    for kind in ("UpstreamPeriodic", "UpstreamPeriodic", "UpstreamEnd"):
        reader.feed(envoy.log_message(attempt(kind)))
    assert [type(event) for event in events] == [FirstToken, AttemptEnded]


def test_first_tokens_of_different_attempts() -> None:
    """Another pod and another request have first tokens of their own, and so has a new try after an end."""
    reader, events, _ = outcomes()
    reader.feed(envoy.log_message(attempt("UpstreamPeriodic"), attempt("UpstreamPeriodic", host="10.0.0.2")))
    reader.feed(envoy.log_message(attempt("UpstreamPeriodic", "d2"), attempt("UpstreamEnd"), attempt("UpstreamEnd")))
    assert [type(event) for event in events] == [FirstToken] * 3 + [AttemptEnded, FirstToken, AttemptEnded]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts whose end is never told are forgotten, the oldest first."""
    monkeypatch.setattr("ext_proc.signals.outcomes.MAX_ANSWERING", 2)
    reader, events, _ = outcomes()
    for decision in ("a", "b", "c", "b", "c", "a"):
        reader.feed(envoy.log_message(attempt("UpstreamPeriodic", decision)))
    assert [getattr(event, "decision_id", "") for event in events] == ["a", "b", "c", "a"]


def test_garbage() -> None:
    """Garbage is counted and forgotten; the next message is read."""
    reader, events, counters = outcomes()
    reader.feed(b"\xff\xff")
    reader.feed(envoy.log_message(envoy.log_entry("UpstreamPoolReady")))
    assert len(events) == 1
    assert (counters.log_messages_bad, counters.log_records) == (1, 1)


def test_answer() -> None:
    """A log stream is answered by an empty message."""
    assert outcomes()[0].answer == b""


def with_load(entry: Any, value: str, part: str = "responseHeaders", name: str = "endpoint-load-metrics") -> Any:
    """The record with a load header of its answer."""
    return {**entry, "response": {**entry.get("response", {}), part: {name: value}}}


def loads(events: list[LogEvent | LoadReported]) -> list[LoadReported]:
    """Those that are reports of load."""
    return [event for event in events if isinstance(event, LoadReported)]


WAITING = "TEXT named_metrics.num_requests_waiting={}"


def test_a_load_header_is_told_once() -> None:
    """Each record of an attempt repeats it; a new attempt and another request tell anew."""
    reader, events, counters = outcomes()
    for kind in ("UpstreamPeriodic", "UpstreamPeriodic", "UpstreamEnd"):
        reader.feed(envoy.log_message(with_load(attempt(kind), WAITING.format(3))))
    report = LoadReported(address="10.0.0.1:8000", at=7.0, source="orca", waiting=3)
    assert loads(events) == [report]
    reader.feed(envoy.log_message(with_load(attempt("UpstreamEnd"), WAITING.format(4))))
    reader.feed(envoy.log_message(with_load(attempt("UpstreamPeriodic", "d2"), WAITING.format(5))))
    assert [each.waiting for each in loads(events)] == [3, 4, 5]
    assert counters.load_headers == 3


def test_a_trailer_is_newer_than_the_header() -> None:
    """It comes with the last record, and both count; the end of the attempt is told before."""
    reader, events, _ = outcomes()
    reader.feed(envoy.log_message(with_load(attempt("UpstreamPeriodic"), WAITING.format(3))))
    entry = with_load(attempt("UpstreamEnd"), WAITING.format(3))
    entry["response"]["responseTrailers"] = {"endpoint-load-metrics": WAITING.format(1)}
    reader.feed(envoy.log_message(entry))
    assert [each.waiting for each in loads(events)] == [3, 1]
    assert [type(each) for each in events[-2:]] == [AttemptEnded, LoadReported]


def test_both_names_of_the_header_are_one_report() -> None:
    """The one that is read must not come back with the attempt's end: its numbers are old by then."""
    reader, events, counters = outcomes()
    for kind in ("UpstreamPeriodic", "UpstreamPeriodic", "UpstreamEnd"):
        entry = with_load(attempt(kind), WAITING.format(3))
        entry["response"]["responseHeaders"]["endpoint-load-metrics-bin"] = "GARBAGE"
        reader.feed(envoy.log_message(entry))
    assert [each.waiting for each in loads(events)] == [3]
    assert (counters.load_headers, counters.load_headers_bad) == (1, 0)


def test_bad_load_headers() -> None:
    """They are counted; what has no number of ours tells nothing; and where the policy is silent none is read."""
    reader, events, counters = outcomes()
    for number, value in enumerate(("GARBAGE", "TEXT rps=5", "JSON []")):
        reader.feed(envoy.log_message(with_load(attempt("UpstreamEnd", str(number)), value)))
    assert (loads(events), counters.load_headers, counters.load_headers_bad) == ([], 1, 2)
    reader.orca_names = None
    reader.feed(envoy.log_message(with_load(attempt("UpstreamEnd", "x"), WAITING.format(1))))
    assert (loads(events), counters.load_headers) == ([], 1)


def test_requests_records_have_no_load() -> None:
    """Their headers are those that the client gets: only attempts tell."""
    reader, events, _ = outcomes()
    reader.feed(envoy.log_message(with_load(envoy.log_entry("DownstreamEnd"), WAITING.format(3))))
    assert loads(events) == []
