"""Lengths of steps, and sums of many that are exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.pace import Pace, Row
from sim.profile import Profile

rows = st.builds(Row, first=st.integers(1, 10**8), growth=st.integers(0, 10**6))


@given(rows, st.integers(0, 300))
def test_a_total_is_the_sum_of_its_steps(row: Row, count: int) -> None:
    """Each step is longer than the one before by the growth."""
    assert row.total(count) == sum(row.first + index * row.growth for index in range(count))


@given(rows, st.integers(0, 10**11))
def test_as_many_steps_fit_as_possible(row: Row, span: int) -> None:
    """The number that fits does, and one more would not."""
    count = row.fitting(span)
    assert row.total(count) <= span < row.total(count + 1)


def test_a_step_is_the_sum_of_its_parts() -> None:
    """2 requests, 10 prompt tokens with 55 pairs, decodes that look at 7 tokens."""
    profile = Profile(
        step_base_ms=5.0,
        step_per_request_ms=0.5,
        prefill_tokens_per_s=1_000.0,
        attention_ns_per_pair=1_000.0,
        kv_read_ns_per_token=100.0,
    )
    assert Pace(profile).step(2, 10, 55, 7) == 5_000_000 + 1_000_000 + 10_000_000 + 55_000 + 700


def test_a_slowdown_stretches_all_parts() -> None:
    """Reading of KV included, and the growth of a row with it."""
    pace = Pace(Profile(step_base_ms=5.0, step_per_request_ms=0.0, kv_read_ns_per_token=100.0))
    pace.set_slowdown(3.0)
    assert pace.row(requests=4, context=10) == Row(first=15_000_000 + 3_000, growth=1_200)
    with pytest.raises(ValueError, match="positive"):
        pace.set_slowdown(0.0)
