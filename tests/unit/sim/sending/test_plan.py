"""The times of a live run, and its bounds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.sending.plan import Bounds, head, plan
from sim.traces.trace import Trace, TraceRequest


def trace(*times: float) -> Trace:
    """Requests at these times."""
    return Trace("t", 16, tuple(TraceRequest(at, (), 100, 7) for at in times))


def test_a_trace_within_its_bounds_keeps_its_times() -> None:
    """Nothing is moved, nothing is cut, and nothing is said of either."""
    planned = plan(trace(0.0, 0.5, 0.5, 2.0), Bounds(max_rate=3))
    assert [(send.number, send.at_s) for send in planned.sends] == [(0, 0.0), (1, 0.5), (2, 0.5), (3, 2.0)]
    assert (planned.cut, planned.held, planned.late_most_s) == (0, 0, 0.0)
    assert (planned.peak, planned.duration_s, planned.prompt_tokens, planned.output_tokens) == (3, 2.0, 400, 28)
    (line,) = head(planned)
    assert "4 requests in 2.0 s, at most 3 within a second; 400 prompt tokens, up to 28 output tokens" in line


def test_a_burst_is_spread_to_the_most_per_second() -> None:
    """Five at once with two per second go out at 0, 0, 1, 1, 2; the report says that this is not open loop."""
    planned = plan(trace(0.0, 0.0, 0.0, 0.0, 0.0), Bounds(max_rate=2))
    assert [send.at_s for send in planned.sends] == [0.0, 0.0, 1.0, 1.0, 2.0]
    assert (planned.held, planned.late_most_s, planned.peak) == (3, 2.0, 2)
    assert "NOT OPEN LOOP" in head(planned)[1]


def test_less_than_one_per_second() -> None:
    """One every two seconds is 0.5 per second."""
    assert [send.at_s for send in plan(trace(0.0, 0.0, 5.0), Bounds(max_rate=0.5)).sends] == [0.0, 2.0, 5.0]


def test_what_lies_behind_the_time_is_cut() -> None:
    """Counted and told."""
    planned = plan(trace(0.0, 9.9, 10.0, 11.0), Bounds(duration_s=10))
    assert (len(planned.sends), planned.cut) == (2, 2)
    assert "2 requests lie behind the end of --duration" in head(planned)[1]


@given(st.integers(0, 1_000), st.floats(0.3, 40))
def test_no_second_has_more(seed: int, max_rate: float) -> None:
    """Whatever the trace: no request early, none out of order, no window fuller than the bound."""
    rng = random.Random(seed)
    times = sorted(round(rng.uniform(0, 5), 3) for _ in range(80))
    planned = plan(trace(0.0, *times), Bounds(max_rate=max_rate))
    sent = [send.at_s for send in planned.sends]
    assert sent == sorted(sent)
    assert all(send.at_s >= send.asked.at_s for send in planned.sends)
    assert planned.peak <= max(1.0, max_rate)
    assert planned.held == sum(send.at_s > send.asked.at_s for send in planned.sends)


@pytest.mark.parametrize("name", ["max_rate", "duration_s", "max_in_flight", "timeout_s"])
def test_bounds_of_nothing(name: str) -> None:
    """Nothing could be sent."""
    with pytest.raises(ValueError, match="positive"):
        Bounds(**{name: 0})


def test_an_empty_plan() -> None:
    """No request: no numbers, no exception."""
    planned = plan(trace(), Bounds())
    assert (planned.peak, planned.duration_s, head(planned)[0].split()[1]) == (0, 0.0, "0")
