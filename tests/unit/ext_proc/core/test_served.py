"""What endpoints have served, from events."""

from typing import Any

import pytest

from ext_proc.core import served
from ext_proc.core.events import AttemptEnded, FirstToken, RequestEnded, StreamEnded
from ext_proc.core.served import USUAL_WORK, Count, Served

A, B = "10.0.0.1:80", "10.0.0.2:80"


def ended(address: str = A, status: int = 200, **more: Any) -> RequestEnded:
    """The end of a request."""
    return RequestEnded(decision_id="d", at=1.0, status=status, served=address, **more)


def test_work() -> None:
    """Generated tokens, and a hundredth of each prompt token that was computed; taking ends the count."""
    counts = Served()
    counts.apply(ended(prompt_tokens=1_000, cached_tokens=400, completion_tokens=50))
    counts.apply(ended(B, prompt_tokens=1_000, completion_tokens=0))
    assert counts.take() == {A: Count(56.0, 1, 0), B: Count(10.0, 1, 0)}
    assert counts.take() == {}


def test_work_that_nobody_told() -> None:
    """Is the usual one, which follows what was told; and an answer of nothing is some work, too."""
    counts = Served()
    counts.apply(ended())
    assert counts.take()[A].work == USUAL_WORK
    for _ in range(400):
        counts.apply(ended(B, completion_tokens=10))
    counts.apply(ended())
    assert counts.take()[A].work == pytest.approx(10, rel=0.1)
    counts.apply(ended(completion_tokens=0))
    assert counts.take()[A].work == 1


def test_failures() -> None:
    """Each try of its own, a full engine's refusal included; a stream that falls silent as well."""
    counts = Served()
    for status in (500, 503, 429):
        counts.apply(AttemptEnded(decision_id="d", at=1.0, address=A, status=status))
    counts.apply(AttemptEnded(decision_id="d", at=1.0, address=A, status=0, flags=("UF",)))
    counts.apply(ended(flags=("SI",)))
    assert counts.take() == {A: Count(0.0, 0, 5)}


@pytest.mark.parametrize(
    "event",
    [
        ended(status=404),
        ended(aborted=True),
        ended(""),
        AttemptEnded(decision_id="d", at=1.0, address=A, status=200),
        FirstToken(decision_id="d", at=1.0, address=A, ttft_ms=1.0),
        StreamEnded(decision_id="d", at=1.0),
    ],
)
def test_what_says_nothing(event: Any) -> None:
    """Refusals, clients that went away, and what is no end."""
    counts = Served()
    counts.apply(event)
    assert counts.take() == {}


def test_addresses_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond as many as there can be new ones are not counted; known ones are."""
    monkeypatch.setattr(served, "MAX_ADDRESSES", 1)
    counts = Served()
    for address in (A, B, A):
        counts.apply(ended(address, completion_tokens=5))
    assert counts.take() == {A: Count(10.0, 2, 0)}
