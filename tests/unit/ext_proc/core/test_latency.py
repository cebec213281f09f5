"""Latencies and error rates: what counts as a sample, how it is smoothed, and how it is forgotten."""

import math
from typing import Any

import numpy as np
import pytest

from ext_proc.core.events import AttemptEnded, Event, FirstToken, RequestEnded
from ext_proc.core.latency import HALF_LIFE_S, START_LATENCY_S, Latencies, Sample, sample_of
from ext_proc.core.record import Candidates, Record

SLOTS = np.arange(3)


def record(**outcome: Any) -> Record:
    """A decision, and what is known to have come of it."""
    made = Record(
        id="d", time=0, at=0, model="m", pool="p", strategy="weighted", endpoints=("a",), reason="",
        candidates=Candidates((), (), {}),
    )  # fmt: skip
    for name, value in outcome.items():
        setattr(made.outcome, name, value)
    return made


def first_token(ttft_ms: float = 2_000) -> FirstToken:
    """From endpoint a."""
    return FirstToken(decision_id="d", address="a", at=1.0, ttft_ms=ttft_ms)


def ended(status: int = 200, **fields: Any) -> RequestEnded:
    """Served by endpoint a in 3 s."""
    return RequestEnded(decision_id="d", at=1.0, status=status, served="a", **{"duration_ms": 3_000.0, **fields})


def attempt(status: int = 0, *flags: str) -> AttemptEnded:
    """One try of endpoint a."""
    return AttemptEnded(decision_id="d", address="a", at=1.0, status=status, flags=flags)


@pytest.mark.parametrize(
    ("event", "known", "sample"),
    [
        (first_token(), record(), Sample("a", seconds=2.0)),
        (first_token(), record(ttft_ms=1_900.0), None),  # told before
        (first_token(), record(attempts=2), None),  # the time of another endpoint is in it
        (first_token(), None, None),  # whether it is the first one nobody knows
        (ended(ttft_ms=500.0), record(), Sample("a", seconds=0.5, is_error=False)),
        (ended(), record(), Sample("a", seconds=3.0, is_error=False)),
        (ended(), None, Sample("a", seconds=3.0, is_error=False)),
        (ended(), record(ttft_ms=1.0), Sample("a", is_error=False)),
        (ended(attempts=2), record(), Sample("a", is_error=False)),
        (ended(404), record(), Sample("a", is_error=False)),  # an answer, but a quick one
        (ended(500), record(), None),  # its try has said it
        (ended(flags=("SI",)), record(), Sample("a", is_error=True)),
        (ended(aborted=True), record(), None),
        (attempt(500), record(), Sample("a", is_error=True)),
        (attempt(503), record(), Sample("a", is_error=True)),
        (attempt(429), record(), Sample("a", is_error=True)),
        (attempt(503, "UF"), record(), Sample("a", is_error=True)),
        (attempt(0, "UT"), record(), Sample("a", is_error=True)),
        (attempt(200), record(), None),
        (attempt(400), record(), None),
        (attempt(0, "DC"), record(), None),
    ],
)
def test_samples(event: Event, known: Record | None, sample: Sample | None) -> None:
    """Each event says what it can, once."""
    assert sample_of(event, known) == sample


def test_nobody_is_known() -> None:
    """Everybody is as quick as anybody, and without errors."""
    latencies = Latencies(3)
    assert latencies.seconds(SLOTS, 0.0).tolist() == [START_LATENCY_S] * 3
    assert latencies.error_rate(SLOTS, 0.0).tolist() == [0.0] * 3


def test_means_and_strangers() -> None:
    """A mean moves towards its samples; who has none is as the usual one of the others is."""
    latencies = Latencies(3)
    for n in range(100):
        latencies.answered(0, 4.0, n / 100)
        latencies.answered(1, 1.0, n / 100)
        latencies.ended(0, n / 100, is_error=n % 4 == 0)
    slow, quick, stranger = latencies.seconds(SLOTS, 1.0)
    assert slow == pytest.approx(4.0, abs=0.2)
    assert quick == pytest.approx(1.0, abs=0.2)
    assert stranger == pytest.approx(4.0, abs=0.2), "the upper one of two"
    assert latencies.error_rate(SLOTS, 1.0).tolist() == [pytest.approx(0.25, abs=0.05), 0.0, 0.0]


def test_one_sample_is_half_believed() -> None:
    """One slow answer, or one error, is mixed with one sample of a stranger."""
    latencies = Latencies(3)
    latencies.answered(1, 1.0, 0.0)
    latencies.answered(2, 1.0, 0.0)
    latencies.answered(0, 9.0, 0.0)
    latencies.ended(0, 0.0, is_error=True)
    assert latencies.seconds(SLOTS, 0.0).tolist() == [5.0, 1.0, 1.0]
    assert latencies.error_rate(SLOTS, 0.0).tolist() == [0.5, 0.0, 0.0]


def test_what_was_is_forgotten() -> None:
    """A bad endpoint that is not asked any more drifts back to what is usual."""
    latencies = Latencies(2)
    for _ in range(50):
        latencies.answered(0, 30.0, 0.0)
        latencies.ended(0, 0.0, is_error=True)
    later = 20 * HALF_LIFE_S
    latencies.answered(1, 1.0, later)
    assert latencies.seconds(SLOTS[:2], later)[0] == pytest.approx(1.0, abs=0.01)
    assert latencies.error_rate(SLOTS[:2], later)[0] < 0.001


def test_late_records_and_long_silence_are_harmless() -> None:
    """Time that runs backwards, and time that is far off, give finite numbers."""
    latencies = Latencies(2)
    latencies.answered(0, 2.0, 100.0)
    latencies.answered(0, 2.0, 50.0)
    assert latencies.seconds(SLOTS[:1], 60.0).tolist() == [2.0]
    assert math.isfinite(latencies.seconds(SLOTS[:2], 1e9)[0])


def test_an_endpoint_that_leaves_is_forgotten() -> None:
    """The next one in its slot begins as a stranger; growing keeps the others."""
    latencies = Latencies(1)
    latencies.answered(0, 8.0, 0.0)
    latencies.ended(0, 0.0, is_error=True)
    latencies.grow(3)
    assert latencies.seconds(SLOTS, 0.0).tolist() == [8.0, 8.0, 8.0]
    latencies.reset(0)
    assert latencies.seconds(SLOTS, 0.0).tolist() == [START_LATENCY_S] * 3
    assert latencies.error_rate(SLOTS, 0.0).tolist() == [0.0] * 3


def test_excess_is_above_what_is_usual_and_above_chance() -> None:
    """By hand: 4 of 20 failed here, none of 40 elsewhere; expected are 20 · 4 ÷ 61, and two deviations are chance."""
    latencies = Latencies(3)
    for slot in range(3):
        for number in range(20):
            latencies.ended(slot, 0.0, is_error=slot == 0 and number >= 16)
    total, weight = sum(0.95**n for n in range(4)), sum(0.95**n for n in range(20))
    expected = weight * total / (3 * weight + 1)
    excess = (total - expected - 2 * math.sqrt(expected + 0.25)) / (weight + 1)
    assert latencies.excess_errors(SLOTS, 0.0).tolist() == pytest.approx([excess, 0, 0])
    assert latencies.excess_errors(SLOTS[:1], 0.0).tolist() == [0]


def test_one_error_is_chance() -> None:
    """On an endpoint of which nothing else is known, and among many good ends of others."""
    latencies = Latencies(3)
    latencies.ended(0, 0.0, is_error=True)
    assert not latencies.excess_errors(SLOTS, 0.0).any()
    for _ in range(100):
        latencies.ended(1, 0.0, is_error=False)
    assert not latencies.excess_errors(SLOTS, 0.0).any()


def test_what_is_forgiven_is_not_held_against_anybody() -> None:
    """The share of errors is what it was; what comes later is held again."""
    latencies = Latencies(3)
    for slot in range(3):
        for _ in range(20):
            latencies.ended(slot, 0.0, is_error=slot == 0)
    rate = float(latencies.error_rate(SLOTS, 0.0)[0])
    latencies.forgive(0)
    assert not latencies.excess_errors(SLOTS, 0.0).any()
    assert float(latencies.error_rate(SLOTS, 0.0)[0]) == rate > 0.5
    for _ in range(5):
        latencies.ended(0, 0.0, is_error=True)
    assert latencies.excess_errors(SLOTS, 0.0)[0] > 0


def test_errors_are_over_some_time_after_the_last() -> None:
    """Until then somebody has to look; before the first one nobody has."""
    latencies = Latencies(3)
    latencies.ended(1, 5.0, is_error=False)
    assert not latencies.may_have_errors(5.0)
    latencies.ended(1, 6.0, is_error=True)
    assert latencies.may_have_errors(6.0 + 9 * HALF_LIFE_S)
    assert not latencies.may_have_errors(6.0 + 10 * HALF_LIFE_S)


def test_the_usual_answer_follows_the_answers() -> None:
    """From the start's guess to what the latest ones took."""
    latencies = Latencies(3)
    latencies.lasted(1_000.0)
    assert latencies.usual_answer_ms == pytest.approx(0.95 * 5_000 + 0.05 * 1_000)
    for _ in range(200):
        latencies.lasted(1_000.0)
    assert latencies.usual_answer_ms == pytest.approx(1_000, rel=0.01)
