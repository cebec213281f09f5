"""Access log streams: records become events, and no garbage ends a stream."""

from typing import Any

import pytest

from ext_proc.core.events import AttemptEnded, AttemptStarted, FirstToken
from ext_proc.counters import Counters
from ext_proc.signals.outcomes import Outcomes
from ext_proc.wire_logs import LogEvent, LogWire
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy


def outcomes() -> tuple[Outcomes, list[LogEvent], Counters]:
    """A reader whose clock stands at 7 s, and where its events and counts go."""
    events: list[LogEvent] = []
    counters = Counters()
    reader = Outcomes(LogWire(load()), on_event=events.append, clock=lambda: 7.0, counters=counters)
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
    assert [event.decision_id for event in events] == ["a", "b", "c", "a"]


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
