"""What an outcome says."""

import pytest

from sim.virtual.outcome import Status
from tests.unit.sim.virtual.outcomes import outcome


def test_time_between_tokens_needs_two_of_them() -> None:
    """The time after the first token over the tokens after it."""
    assert outcome(ttft_s=1.0, e2e_s=2.0, output_tokens=11).tpot_s == pytest.approx(0.1)
    assert outcome(output_tokens=1).tpot_s is None
    assert outcome(e2e_s=None).tpot_s is None


@pytest.mark.parametrize(
    ("status", "ttft_s", "is_lost"),
    [("ok", 1.0, False), ("failed", 1.0, True), ("shed", None, True), ("aborted", 1.0, False), ("aborted", None, True)],
)
def test_what_is_lost(status: Status, ttft_s: float | None, is_lost: bool) -> None:
    """All that came to nothing; a client that leaves in mid-answer has its own reasons."""
    assert outcome(status=status, ttft_s=ttft_s).is_lost is is_lost
