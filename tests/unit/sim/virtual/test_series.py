"""What happened when: bins by hand."""

from dataclasses import replace

import pytest

from sim.virtual.outcome import Outcome, PodTotals, RunResult
from sim.virtual.series import PodLoad, Series, series
from sim.virtual.study import Plan, play, tasks
from tests.unit.sim.virtual.fleets import Telling, many, setup
from tests.unit.sim.virtual.outcomes import outcome


def binned(*outcomes: Outcome, bins: int = 4) -> Series:
    """The series of two pods, a and b."""
    pods = tuple(PodTotals(address, 1, 1, 0) for address in "ab")
    return series(RunResult("x", "published", 1, outcomes, pods), bins)


def test_requests_count_while_they_are_in_flight() -> None:
    """From arrival to end, by the share of each bin; what lasts beyond the last arrival is cut."""
    found = binned(
        outcome(at_s=0.0, e2e_s=2.0), outcome(at_s=0.5, e2e_s=1.0, address="b"), outcome(at_s=4.0, e2e_s=9.0)
    )
    assert found.step_s == 1.0
    assert found.pods == (PodLoad("a", (1.0, 1.0, 0.0, 0.0)), PodLoad("b", (0.5, 0.5, 0.0, 0.0)))


def test_broken_answers_count_to_their_first_token() -> None:
    """Nothing later is known of them; what was shed is nowhere."""
    found = binned(
        outcome(at_s=0.0, ttft_s=0.5, e2e_s=None, status="failed"),
        outcome(at_s=1.0, ttft_s=None, e2e_s=None, status="failed", address="b"),
        outcome(at_s=4.0, ttft_s=None, e2e_s=None, status="shed", address=""),
    )
    assert found.pods == (PodLoad("a", (0.5, 0.0, 0.0, 0.0)), PodLoad("b", (0.0, 0.0, 0.0, 0.0)))


def test_hits_are_by_tokens_and_arrival() -> None:
    """The last arrival is in the last bin; a bin without first tokens has no share."""
    found = binned(
        outcome(at_s=0.0, prompt_tokens=300, cached_tokens=0),
        outcome(at_s=0.9, prompt_tokens=100, cached_tokens=100),
        outcome(at_s=2.0, ttft_s=None, e2e_s=None, status="failed"),
        outcome(at_s=4.0, prompt_tokens=10, cached_tokens=9),
    )
    assert found.cached == (0.25, None, None, 0.9)


def test_no_time_no_bins() -> None:
    """When all requests arrive at once, or there are none."""
    none = Series(0.0, (), (PodLoad("a", ()), PodLoad("b", ())))
    assert binned() == none
    assert binned(outcome(at_s=0.0), outcome(at_s=0.0)) == none


def test_a_run_has_a_series_only_when_asked() -> None:
    """Of the first seed at the highest rate; the numbers beside it are the same."""
    trace = many(60)
    plan = Plan(
        traces={1: trace, 2: trace},
        setup=setup(Telling(), engines=2),
        strategies=("unified",),
        rates=(2.0, 1.0),
    )
    plain = [play(task) for task in tasks(plan)]
    timed = [play(task) for task in tasks(replace(plan, bins=10))]
    assert [row.series is not None for row in timed] == [True, False, False, False]
    assert [replace(row, series=None) for row in timed] == plain
    found = timed[0].series
    assert found is not None
    assert [len(pod.in_flight) for pod in found.pods] == [10, 10]
    assert found.step_s * 10 == pytest.approx(trace.duration_s / 2)
    assert "series" not in timed[0].as_dict()
