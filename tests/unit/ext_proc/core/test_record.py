"""Records of decisions: their JSON, what events add, and the ring."""

import json
from dataclasses import replace

from ext_proc.core.events import AttemptEnded, AttemptStarted, FirstToken, RequestEnded, StreamEnded
from ext_proc.core.record import MAX_TRIES, Candidates, Decisions, Outcome, Record


def record(decision_id: str = "d") -> Record:
    """A decision between two endpoints."""
    return Record(
        id=decision_id,
        time=1_800_000_000.5,
        at=7.0,
        model="m",
        pool="p",
        strategy="kv-aware",
        endpoints=("a", "b"),
        reason="because",
        candidates=Candidates(("a", "b"), (1.5, 2.5), {"queued_tokens": (0, 10)}),
    )


def test_is_json_of_the_contract() -> None:
    """All fields that the admin interface promises, as plain JSON values."""
    value = json.loads(json.dumps(record().as_dict()))
    assert value == {
        "id": "d",
        "time": 1_800_000_000.5,
        "model": "m",
        "pool": "p",
        "strategy": "kv-aware",
        "endpoints": ["a", "b"],
        "reason": "because",
        "candidates": [
            {"address": "a", "terms": {"queued_tokens": 0}, "cost": 1.5},
            {"address": "b", "terms": {"queued_tokens": 10}, "cost": 2.5},
        ],
        "request": {
            "kind": "",
            "engine_model": "",
            "tokens": 0,
            "max_tokens": None,
            "has_session": False,
            "counted_by": "text",
        },
        "left_out": [],
        "left_out_count": 0,
        "predicted": {"cached_tokens": None, "wait_ms": None, "ttft_ms": None},
        "waited_ms": 0.0,
        "degraded": None,
        "shadow": None,
        "outcome": {
            "served": None,
            "status": None,
            "attempts": 0,
            "ttft_ms": None,
            "cached_tokens": None,
            "aborted": False,
            "tries": [],
        },
    }


def test_outcome_follows_the_request() -> None:
    """Attempts, first token and end are filled in as they become known."""
    outcome = Outcome()
    outcome.apply(AttemptStarted(decision_id="d", address="a", at=0))
    outcome.apply(AttemptStarted(decision_id="d", address="b", at=1))
    assert (outcome.served, outcome.attempts, outcome.status) == ("b", 2, None)
    outcome = Outcome(attempts=2)
    outcome.apply(FirstToken(decision_id="d", address="b", at=2, ttft_ms=12.5))
    outcome.apply(StreamEnded(decision_id="d", at=3))
    assert outcome.served == "b"
    outcome.apply(RequestEnded(decision_id="d", at=3, status=200, served="b", attempts=2, cached_tokens=64))
    assert outcome == Outcome(served="b", status=200, attempts=2, ttft_ms=12.5, cached_tokens=64)


def test_the_end_alone_tells_what_it_knows() -> None:
    """Its first-token time wins, and an unknown served host keeps the one that was tried."""
    outcome = Outcome(served="a", ttft_ms=1.0)
    outcome.apply(RequestEnded(decision_id="d", at=3, status=0, ttft_ms=2.0, aborted=True))
    assert (outcome.served, outcome.ttft_ms, outcome.aborted) == ("a", 2.0, True)
    outcome.apply(RequestEnded(decision_id="d", at=3, status=200, served="b"))
    assert outcome.served == "b"


def test_what_was_tried_and_why() -> None:
    """Each attempt with its time after the decision, also when its record comes late; never more than there can be."""
    kept = replace(record(), at=10.0, outcome=Outcome())
    gone = AttemptEnded(decision_id="d", address="a", at=10.5, status=503, flags=("UF",), failure="Connection refused")
    late = AttemptEnded(decision_id="d", address="b", at=12.5, status=504, flags=("UT",))
    answered = AttemptEnded(decision_id="d", address="c", at=13.0, status=200)
    end = RequestEnded(decision_id="d", at=13.0, status=200, served="c", attempts=3)
    for event in (gone, late, end, answered):
        kept.outcome.apply(event)
    assert kept.as_dict()["outcome"]["tries"] == [
        {"address": "a", "ended_ms": 500.0, "status": 503, "why": "connection refused (UF)"},
        {"address": "b", "ended_ms": 2500.0, "status": 504, "why": "no first byte in time (UT)"},
        {"address": "c", "ended_ms": 3000.0, "status": 200, "why": ""},
    ]
    for _ in range(20):
        kept.outcome.apply(gone)
    assert len(kept.outcome.tries) == MAX_TRIES


def test_the_ring_keeps_the_latest() -> None:
    """Newest first, as many as asked for, and no more than the limit."""
    decisions = Decisions(limit=3)
    for n in range(5):
        decisions.add(replace(record(), id=f"d{n}"))
    assert len(decisions) == 3
    assert [each.id for each in decisions.latest(2)] == ["d4", "d3"]
    assert [each.id for each in decisions.latest(10)] == ["d4", "d3", "d2"]
    assert decisions.latest(-1) == []
    assert decisions.get("d1") is None
    found = decisions.get("d4")
    assert found is not None
    assert found.id == "d4"


def test_a_late_attempt_record_is_no_news() -> None:
    """An attempt's record that comes after the request's own adds no attempt and moves nothing."""
    outcome = Outcome()
    outcome.apply(RequestEnded(decision_id="d", at=1, status=200, served="b", attempts=2))
    told = outcome.as_dict()
    outcome.apply(AttemptStarted(decision_id="d", address="a", at=2))
    outcome.apply(FirstToken(decision_id="d", address="a", at=2, ttft_ms=1.0))
    assert outcome.as_dict() == told
