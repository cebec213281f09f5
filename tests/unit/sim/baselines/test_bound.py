"""The lower bound."""

import pytest

from sim.baselines import registry
from sim.baselines.bound import lower_bound
from sim.traces.trace import Trace, TraceRequest
from sim.virtual.fleet import run
from sim.virtual.setup import Setup
from tests.unit.sim.baselines.play import PROFILE
from tests.unit.sim.baselines.test_rule import NAMES, trace


def test_what_came_before_costs_nothing() -> None:
    """At 1,000 tokens a second: 350 ms cold, then 50 ms behind three shared blocks, and one token for a repetition."""
    requests = (
        TraceRequest(0.0, (1, 2, 3), 350, 1),
        TraceRequest(0.0, (1, 2, 3), 350, 1),
        TraceRequest(9.0, (1, 2, 3), 300, 1),
    )
    bound = lower_bound(Trace("three", 100, requests), PROFILE)
    assert bound.ttft_s == pytest.approx((0.35, 0.05, 0.001), abs=1e-4)
    assert bound.cached_share == pytest.approx(599 / 1_000)
    assert bound.mean_ttft_s == pytest.approx(0.1337, abs=1e-4)


def test_an_empty_trace_has_no_times() -> None:
    """Nothing is divided by nothing."""
    bound = lower_bound(Trace("none", 100, ()), PROFILE)
    assert (bound.ttft_s, bound.mean_ttft_s, bound.cached_share) == ((), 0.0, 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_beats_it(name: str) -> None:
    """Not for a single request of a replay, under any rule."""
    outcomes = run(trace(), Setup(factory=registry[name], profile=PROFILE, engines=3), seed=2).outcomes
    for outcome, bound in zip(outcomes, lower_bound(trace(), PROFILE).ttft_s, strict=True):
        assert outcome.ttft_s is not None
        assert outcome.ttft_s >= bound - 1e-6
