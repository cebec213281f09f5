"""Searches: that they end at the edge, within their bounds, and what counts as holding an SLO."""

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from math import inf

import pytest

from sim.virtual.faults import fault
from sim.virtual.metrics import Slo
from sim.virtual.search import (
    MAX_RATES,
    MOST_LOAD,
    MOST_PODS,
    TOLERANCE,
    Measured,
    fewest,
    fewest_pods,
    highest,
    highest_rate,
    measured,
)
from sim.virtual.study import Plan, rate_for
from tests.unit.sim.virtual.fleets import Telling, many, request, setup, trace
from tests.unit.sim.virtual.outcomes import outcome, result

TRACE = many(120)
STRICT = Slo(ttft_s=0.4, tpot_s=0.05)


def plan(**changes: object) -> Plan:
    """A small trace over three engines."""
    values: dict[str, object] = {
        "traces": {1: TRACE},
        "setup": setup(Telling(), scrape_s=0.2, engines=3),
        "strategies": ("kv-aware", "round-robin"),
        "slo": STRICT,
        **changes,
    }
    return Plan(**values)  # type: ignore[arg-type]


def counted(edge: float, asked: list[float]) -> Callable[[float], bool]:
    """Holds up to the edge; what was asked is noted."""

    def holds(value: float) -> bool:
        asked.append(value)
        return value <= edge

    return holds


@pytest.mark.parametrize("edge", [0.02, 0.09, 0.4999, 0.5, 0.51, 1.7, 3.9])
def test_the_highest_rate_is_within_the_tolerance(edge: float) -> None:
    """From either side of the start: held below the edge, failed above it, both close together, in few tries."""
    asked: list[float] = []
    held, failed = highest(counted(edge, asked), 0.5, 1 / 64, 4.0)
    assert held is not None
    assert failed is not None
    assert held <= edge < failed <= held * (1 + TOLERANCE)
    assert len(asked) == len(set(asked)) <= MAX_RATES
    assert {held, failed} <= set(asked)


def test_the_highest_rate_may_lie_outside() -> None:
    """Who fails at the least rate has none; who holds the most fails at none; nothing beyond is tried."""
    asked: list[float] = []
    assert highest(counted(0.0, asked), 0.5, 0.3, 4.0) == (None, 0.3)
    assert highest(counted(9.0, asked), 0.5, 0.3, 4.0) == (4.0, None)
    assert (min(asked), max(asked)) == (0.3, 4.0)


@pytest.mark.parametrize("start", [1, 5, 16, 40])
@pytest.mark.parametrize("edge", [1, 2, 7, 16, 17, 39, 40])
def test_the_fewest_is_exact(edge: int, start: int) -> None:
    """The first number that holds, wherever the search begins, in logarithmically many tries."""
    asked: list[int] = []

    def holds(value: int) -> bool:
        asked.append(value)
        return value >= edge

    assert fewest(holds, start, 1, 40) == edge
    assert len(asked) == len(set(asked)) <= 12
    assert set(asked) <= set(range(1, 41))


def test_the_fewest_may_not_exist() -> None:
    """When the most do not hold it; and the least is never undercut."""
    assert fewest(lambda _: False, 3, 1, 20) is None
    assert fewest(lambda _: False, 30, 1, 20) is None
    assert fewest(lambda _: True, 9, 4, 20) == 4


def test_nine_of_ten_and_the_mean_count() -> None:
    """P90 of the waits and the mean of the paces: one slow request of ten is forgiven, two are not."""
    quick, slow = outcome(ttft_s=1.0, e2e_s=1.4), outcome(ttft_s=9.0, e2e_s=9.4)
    one, two = measured(result(*[quick] * 9, slow)), measured(result(*[quick] * 8, slow, slow))
    assert (one.p90_ttft_s, two.p90_ttft_s) == (1.0, 9.0)
    assert one.tpot_s == pytest.approx(0.04)
    assert (one.holds(Slo()), two.holds(Slo()), one.holds(Slo(tpot_s=0.039))) == (True, False, False)


def test_who_refuses_gains_nothing() -> None:
    """Requests without an answer, or with a broken one, waited for ever."""
    quick = outcome(ttft_s=1.0, e2e_s=1.4)
    shed = outcome(ttft_s=None, e2e_s=None, status="shed")
    given_up = outcome(ttft_s=None, e2e_s=None, status="aborted")
    for lost in (shed, given_up, outcome(ttft_s=0.1, e2e_s=0.2, status="failed")):
        assert measured(result(*[quick] * 8, lost, lost)).p90_ttft_s == inf
        assert measured(result(*[quick] * 9, lost)).p90_ttft_s == 1.0
    left = outcome(ttft_s=3.0, e2e_s=None, status="aborted")
    assert measured(result(*[quick] * 8, left, left)).p90_ttft_s == 3.0


def test_answers_of_one_token_have_no_pace() -> None:
    """Embeddings are held against the wait alone."""
    assert measured(result(outcome(output_tokens=1))) == Measured(1.0, 0.0)


def test_a_small_search_finds_the_edge() -> None:
    """The rate found holds, the one it fails at does not; both say so when replayed alone; the cache is worth rate."""
    aware, blind = (highest_rate(plan(), name) for name in ("kv-aware", "round-robin"))
    assert aware.rate is not None
    assert blind.rate is not None
    assert blind.fails_at is not None
    assert aware.rate > 1.2 * blind.rate
    assert aware.kind == "product"
    assert aware.requests_per_s == pytest.approx(aware.rate * TRACE.rate, rel=1e-3)
    assert blind.measured is not None
    assert blind.measured.holds(STRICT)
    # One rate that is known to hold, as the pace of another trace: sizing agrees with the search for the rate.
    assert (fewest_pods(plan(), blind.rate, "round-robin").pods or 99) <= 3
    again = highest_rate(plan(traces={1: TRACE.faster(2)}), "round-robin")
    assert again.rate == pytest.approx(blind.rate / 2, rel=0.05)


def test_every_seed_must_hold() -> None:
    """Two seeds find at most what the worse of them does, and take no run that cannot matter."""
    seeds = {1: TRACE, 2: TRACE.faster(1.5)}
    both = highest_rate(plan(traces=seeds), "round-robin")
    alone = highest_rate(plan(), "round-robin")
    assert both.rate is not None
    assert alone.rate is not None
    assert both.rate < alone.rate
    assert alone.runs < both.runs < 2 * MAX_RATES


def test_the_worst_seed_is_reported() -> None:
    """A further seed that has it easier changes neither the rate nor the numbers there."""
    busy = TRACE.faster(1.5)
    alone, both = (highest_rate(plan(traces=seeds), "round-robin") for seeds in ({1: busy}, {1: busy, 2: TRACE}))
    assert (both.rate, both.fails_at, both.measured) == (alone.rate, alone.fails_at, alone.measured)


def test_an_slo_may_be_out_of_reach_or_too_easy() -> None:
    """No rate, or none that fails up to the most that is tried; no number of pods, or one."""
    never, always = plan(slo=Slo(ttft_s=1e-6)), plan(slo=Slo(ttft_s=1e6, tpot_s=1e6))
    none, all_ = highest_rate(never, "round-robin"), highest_rate(always, "round-robin")
    assert (none.rate, none.load, none.measured) == (None, None, None)
    assert none.fails_at is not None
    assert all_.fails_at is None
    assert all_.load == pytest.approx(MOST_LOAD, rel=1e-3)
    assert fewest_pods(plan(traces={1: TRACE.cut(3)}, slo=never.slo), 1.0, "round-robin").pods is None
    assert fewest_pods(always, 1.0, "round-robin").pods == 1
    assert MOST_PODS > 3


def test_a_faulty_pod_is_in_the_fleet() -> None:
    """No fleet is smaller than the pods whose faults are played."""
    arranged = replace(plan().setup, faults=(fault("slow:3:2"),))
    assert fewest_pods(plan(setup=arranged, slo=Slo(ttft_s=1e6, tpot_s=1e6)), 1.0, "round-robin").pods == 3


def test_more_load_takes_more_pods() -> None:
    """And a rule that computes less takes fewer."""
    slow, fast = (fewest_pods(plan(), rate, "round-robin").pods for rate in (1.0, 4.0))
    assert slow is not None
    assert fast is not None
    assert slow < fast
    assert (fewest_pods(plan(), 4.0, "kv-aware").pods or MOST_PODS) <= fast


def test_searches_travel_and_repeat() -> None:
    """A search can be made in another process; its JSON has plain numbers."""
    given = plan(setup=setup(print, scrape_s=0.2, engines=3))  # type: ignore[arg-type]  # any function that travels
    found = highest_rate(pickle.loads(pickle.dumps(given)), "kv-aware")
    assert found == highest_rate(given, "kv-aware")
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert list(values) == [
        "strategy", "kind", "rate", "fails_at", "load", "requests_per_s", "p90_ttft_ms", "tpot_ms", "runs",
    ]  # fmt: skip
    assert values["p90_ttft_ms"] <= 400


def test_a_trace_without_a_pace_has_no_rate() -> None:
    """All at once can be sized for, and not made faster."""
    burst = plan(traces={1: trace(request(0), request(0, first_id=100))}, slo=Slo(ttft_s=0.15))
    with pytest.raises(ValueError, match="has no pace"):
        highest_rate(burst, "kv-aware")
    assert fewest_pods(burst, 1.0, "round-robin").pods == 2


def test_the_start_is_a_load() -> None:
    """The rates of the search are those of loads, whatever the trace's own pace."""
    found = highest_rate(plan(slo=Slo(ttft_s=1e6, tpot_s=1e6)), "round-robin")
    assert found.rate == pytest.approx(rate_for(TRACE, plan().setup, MOST_LOAD), rel=1e-5)
