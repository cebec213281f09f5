"""What is told of a request."""

import pytest

from sim.virtual.job import Job
from tests.unit.sim.virtual.fleets import request


def job(**values: object) -> Job:
    """A request that came at 2 s and was sent to a pod."""
    given: dict[str, object] = {"router": 0, "attempts": 1, "address": "a", "cached_tokens": 300, **values}
    return Job("r1", request(2.0, output=7), (), **given)  # type: ignore[arg-type]


def test_an_end_has_all_numbers() -> None:
    """Times since the arrival, in milliseconds, and the tokens."""
    ended = job(first_s=2.5).ended(4.0)
    assert (ended.decision_id, ended.at, ended.status, ended.served, ended.aborted) == ("r1", 4.0, 200, "a", False)
    assert (ended.ttft_ms, ended.duration_ms) == pytest.approx((500.0, 2_000.0))
    assert (ended.prompt_tokens, ended.cached_tokens, ended.completion_tokens) == (1_000, 300, 7)


def test_who_leaves_was_served_if_anything_came() -> None:
    """Before the first token there is no status; tokens are not told."""
    before, after = job().aborted(3.0), job(first_s=2.5).aborted(3.0)
    assert (before.status, before.served, before.ttft_ms, before.aborted) == (0, "", None, True)
    assert (after.status, after.served, after.ttft_ms, after.aborted) == (200, "a", 500.0, True)
    assert (after.flags, after.completion_tokens, after.duration_ms) == (("DC",), None, 1_000.0)


def test_an_outcome_counts_from_the_arrival() -> None:
    """What did not come so far has no time."""
    found = job(first_s=2.5, end_s=3.0, status="ok").outcome()
    assert (found.at_s, found.ttft_s, found.e2e_s, found.tpot_s) == pytest.approx((2.0, 0.5, 1.0, 0.5 / 6))
    assert (job().outcome().ttft_s, job().outcome().e2e_s, job().outcome().status) == (None, None, "failed")
