"""Comparisons: which runs there are, and what a small one's numbers are."""

import json
import pickle

import pytest
import xxhash

from sim.virtual.capacity import load
from sim.virtual.study import MAX_DURATION_S, Plan, Row, paced, play, rate_for, tasks
from tests.unit.sim.virtual.fleets import Telling, many, request, setup, trace

TRACE = many(120)


def plan(**changes: object) -> Plan:
    """Two strategies over a small trace."""
    values: dict[str, object] = {
        "traces": {1: TRACE},
        "setup": setup(Telling(), scrape_s=0.2, engines=3),
        "strategies": ("kv-aware", "unified"),
        **changes,
    }
    return Plan(**values)  # type: ignore[arg-type]


def test_every_cell_is_a_run() -> None:
    """By rate, seed and strategy; runs of one cell differ in the strategy alone."""
    found = list(tasks(plan(traces={1: TRACE, 2: TRACE.cut(9)}, rates=(1.0, 2.0))))
    assert [(t.rate, t.seed, t.strategy) for t in found] == [
        (rate, seed, name) for rate in (1.0, 2.0) for seed in (1, 2) for name in ("kv-aware", "unified")
    ]
    assert {len(task.trace) for task in found if task.seed == 2} == {9}


def test_tasks_travel() -> None:
    """A task can be played in another process, and its row comes back."""
    (task, _) = tasks(plan(setup=setup(print, scrape_s=0.2)))  # type: ignore[arg-type]  # any function that travels
    row = play(pickle.loads(pickle.dumps(task)))
    assert isinstance(row, Row)
    assert pickle.loads(pickle.dumps(row)) == row == play(task)


def test_the_rate_is_the_traces_times_a_factor() -> None:
    """Twice the rate, twice the load."""
    slow, fast = (play(task) for task in tasks(plan(strategies=("unified",), rates=(1.0, 2.0))))
    assert slow.load == pytest.approx(load(TRACE, setup(Telling()).profile, 3), abs=1e-4)
    assert fast.load == pytest.approx(2 * slow.load, abs=2e-4)


def test_a_load_is_a_rate() -> None:
    """The rate at which a trace is so much load; without a pace there is none."""
    arranged = setup(Telling())
    rate = rate_for(TRACE, arranged, 0.7)
    assert load(TRACE.faster(rate), arranged.profile, arranged.engines) == pytest.approx(0.7, rel=1e-4)
    with pytest.raises(ValueError, match="has no pace"):
        rate_for(trace(request(0), request(0)), arranged, 0.7)
    with pytest.raises(ValueError, match="too small"):
        rate_for(TRACE, arranged, 1e-12)


def test_traces_are_brought_to_a_load() -> None:
    """Those of all seeds to that of the first; rates come once each, in their order; without either there is one."""
    arranged, other = setup(Telling()), many(90, every_s=0.1)
    traces, rates = paced({1: TRACE, 2: other}, arranged, loads=(0.7, 0.4, 0.7))
    assert rates == (rate_for(TRACE, arranged, 0.7), rate_for(TRACE, arranged, 0.4))
    loads = [load(t.faster(rates[0]), arranged.profile, arranged.engines) for t in traces.values()]
    assert loads == pytest.approx([0.7, 0.7], rel=1e-4)
    assert traces[1] is TRACE
    assert paced({1: TRACE, 2: other}, arranged, rates=(2.0, 1.0, 2.0)) == ({1: TRACE, 2: other}, (2.0, 1.0))
    assert paced({1: TRACE}, arranged)[1] == (1.0,)


def test_what_would_last_for_ages_is_refused() -> None:
    """A month can be played; a longer one would be scrapes of idle engines."""
    month = trace(request(0), request(MAX_DURATION_S))
    assert paced({1: month}, setup(Telling()))[1] == (1.0,)
    with pytest.raises(ValueError, match=r"t × 0\.5 would last 62 days, and 31 are the most"):
        paced({1: month}, setup(Telling()), rates=(1.0, 0.5))


def test_a_small_study_has_these_numbers() -> None:
    """Replays are the same on any machine. Whoever changes the engine, a rule or the replay on purpose renews this."""
    rows = [play(task).as_dict() for task in tasks(plan(strategies=("kv-aware", "round-robin", "unified")))]
    assert [(row["strategy"], row["kind"], row["ttft_ms"]["mean"], row["cached_share"]) for row in rows] == [
        ("kv-aware", "product", 40.083, 0.7843),
        ("round-robin", "product", 70.167, 0.5504),
        ("unified", "published", 53.917, 0.6543),
    ]
    assert xxhash.xxh3_64_hexdigest(json.dumps(rows, sort_keys=True).encode()) == "60ee43b517cf3739"
