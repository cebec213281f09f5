"""What can be said of a difference."""

from typing import Any

import pytest

from sim.virtual.estimate import LEAST_STRETCHES, STRETCHES, Estimate, interval

RESAMPLES = [n / 1_000 for n in range(1, 1_001)]


def estimate(low: float | None, high: float | None, *by_seed: float | None, **values: Any) -> Estimate:
    """A difference of -1, or the sign of the interval."""
    difference = -1.0 if low is None or low <= 0 else 1.0
    given = {"is_less_better": True, **values}
    return Estimate(2.0, 2.0 + difference, difference, low, high, by_seed=by_seed or (difference,), **given)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (estimate(-2.0, -0.5), "better"),
        (estimate(-2.0, -0.5, is_less_better=False), "worse"),
        (estimate(0.5, 2.0), "worse"),
        (estimate(0.5, 2.0, is_less_better=False), "better"),
        (estimate(-2.0, 0.5), "no difference seen"),
        (estimate(-2.0, 0.0), "no difference seen"),
        (estimate(None, None), "too little to say"),
        (estimate(-2.0, -0.5, -1.0, 0.1), "seeds disagree"),
        (estimate(-2.0, -0.5, -1.0, None), "seeds disagree"),
        (estimate(-2.0, -0.5, -1.0, -1.0, 0.1), "better"),
    ],
)
def test_verdicts(found: Estimate, verdict: str) -> None:
    """Only an interval without 0, in which the seeds agree, is a difference."""
    assert found.verdict == verdict


def test_the_middle_is_taken_and_made_wider() -> None:
    """Student's t of 9 degrees of freedom is 2.262; ten stretches lose a tenth of the variance."""
    ends = interval(0.5, RESAMPLES, range(STRETCHES))
    assert STRETCHES == 10
    wider = 2.262 / 1.96 * (10 / 9) ** 0.5
    assert ends == pytest.approx((0.5 + wider * (0.025 - 0.5), 0.5 + wider * (0.975 - 0.5)), abs=1e-3)


def test_more_traffic_needs_less_widening() -> None:
    """Four traces have 36 degrees of freedom: t is 2.028."""
    ends = interval(0.5, RESAMPLES, range(4 * STRETCHES))
    assert ends is not None
    assert 0.5 - ends[0] == pytest.approx(2.028 / 1.96 * (40 / 36) ** 0.5 * 0.475, abs=1e-3)


def test_few_stretches_have_no_interval() -> None:
    """Nor has what no resample had."""
    assert interval(0.5, RESAMPLES, range(LEAST_STRETCHES - 1)) is None
    assert interval(0.5, RESAMPLES, range(LEAST_STRETCHES)) is not None
    assert interval(0.5, [], range(STRETCHES)) is None
