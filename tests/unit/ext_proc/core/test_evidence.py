"""What becomes of requests as evidence, and in words."""

import pytest

from ext_proc.core.events import AttemptEnded, RequestEnded, Tried
from ext_proc.core.evidence import (
    Evidence,
    evidence_of_attempt,
    evidence_of_request,
    evidence_of_try,
    words_of_attempt,
)


@pytest.mark.parametrize(
    ("status", "flags", "failure", "evidence"),
    [
        (503, ("UF",), "delayed connect error: Connection refused", Evidence.GONE),
        (503, ("UF",), "immediate connect error: 111", Evidence.GONE),
        (503, ("UF", "URX"), "connection timeout", Evidence.HARD),
        (0, ("UC",), "", Evidence.HARD),
        (503, ("UR",), "", Evidence.HARD),
        (200, ("UC",), "", Evidence.SOFT),
        (504, ("UT",), "", Evidence.TIMEOUT),
        (502, ("UPE",), "", Evidence.SOFT),
        (500, (), "", Evidence.SOFT),
        (501, (), "", Evidence.NONE),
        (503, (), "", Evidence.ALIVE),
        (429, (), "", Evidence.ALIVE),
        (503, ("UO",), "", Evidence.NONE),
        (0, ("DC",), "", Evidence.NONE),
        (200, (), "", Evidence.NONE),
        (400, (), "", Evidence.NONE),
    ],
)
def test_evidence_of_attempts(status: int, flags: tuple[str, ...], failure: str, evidence: Evidence) -> None:
    """Connection troubles are hard, errors and timeouts soft, full is alive, and 200 alone says nothing."""
    event = AttemptEnded(decision_id="d", address="a", at=0, status=status, flags=flags, failure=failure)
    assert evidence_of_attempt(event) is evidence


@pytest.mark.parametrize(
    ("event", "evidence"),
    [
        (RequestEnded(decision_id="d", at=0, status=200, served="a"), Evidence.GOOD),
        (RequestEnded(decision_id="d", at=0, status=404, served="a"), Evidence.GOOD),
        (RequestEnded(decision_id="d", at=0, status=200, served="a", flags=("SI",)), Evidence.SOFT),
        (RequestEnded(decision_id="d", at=0, status=200, served="a", aborted=True), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=200, served="a", flags=("DC",)), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=200), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=429, served="a"), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=500, served="a"), Evidence.NONE),
    ],
)
def test_evidence_of_requests(event: RequestEnded, evidence: Evidence) -> None:
    """A whole answer is good, silence after headers is soft, aborts and errors say nothing here."""
    assert evidence_of_request(event) is evidence


@pytest.mark.parametrize(
    ("event", "evidence"),
    [
        (Tried(address="a", at=1, started_at=0, status=200), Evidence.GOOD),
        (Tried(address="a", at=1, started_at=0, status=429), Evidence.ALIVE),
        (Tried(address="a", at=1, started_at=0, status=503), Evidence.NONE),
        (Tried(address="a", at=1, started_at=0, status=500), Evidence.SOFT),
        (Tried(address="a", at=1, started_at=0, status=501), None),
        (Tried(address="a", at=1, started_at=0, status=401), None),
        (Tried(address="a", at=1, started_at=0, status=404), None),
        (Tried(address="a", at=1, started_at=0), Evidence.HARD),
        (Tried(address="a", at=1, started_at=0, is_late=True), Evidence.TIMEOUT),
        (Tried(address="a", at=1, started_at=0, is_refused=True), Evidence.GONE),
    ],
)
def test_evidence_of_own_requests(event: Tried, evidence: Evidence | None) -> None:
    """A token is good, full is alive, a model that loads is not yet, and whoever cannot be asked says nothing."""
    assert evidence_of_try(event) is evidence


@pytest.mark.parametrize(
    ("status", "flags", "failure", "words"),
    [
        (503, ("UF", "URX"), "Connection refused", "connection refused (UF, URX)"),
        (503, ("UF",), "timeout", "no connection (UF)"),
        (0, ("UC",), "", "reset (UC)"),
        (200, ("UR",), "", "reset (UR)"),
        (504, ("UT",), "", "no first byte in time (UT)"),
        (500, (), "", "HTTP 500"),
        (0, ("DC",), "", "DC"),
        (200, (), "", ""),
    ],
)
def test_words(status: int, flags: tuple[str, ...], failure: str, words: str) -> None:
    """Why a try did not answer; nothing of one that did."""
    event = AttemptEnded(decision_id="d", address="a", at=0, status=status, flags=flags, failure=failure)
    assert words_of_attempt(event) == words
