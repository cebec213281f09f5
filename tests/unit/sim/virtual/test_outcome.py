"""What an outcome says."""

import pytest

from tests.unit.sim.virtual.outcomes import outcome


def test_time_between_tokens_needs_two_of_them() -> None:
    """The time after the first token over the tokens after it."""
    assert outcome(ttft_s=1.0, e2e_s=2.0, output_tokens=11).tpot_s == pytest.approx(0.1)
    assert outcome(output_tokens=1).tpot_s is None
    assert outcome(e2e_s=None).tpot_s is None
