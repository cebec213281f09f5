"""The load of a trace, against engines that are given exactly that."""

from dataclasses import replace

import pytest

from sim.baselines import registry
from sim.virtual.capacity import full_batch, load, work_s
from sim.virtual.fleet import run
from tests.unit.sim.virtual.fleets import PLAIN, many, request, setup, trace


def test_work_counts_what_no_cache_has() -> None:
    """1,000 new tokens, then 1 of the same prompt, and the decode steps of a full batch of eight."""
    replayed = trace(request(0, output=8), request(10, output=8))
    assert work_s(replayed, PLAIN) == pytest.approx(0.1 + 0.0001 + 2 * 8 * 0.010 / 8)
    assert load(replayed, PLAIN, 2) == pytest.approx(work_s(replayed, PLAIN) / 20)
    costly = replace(PLAIN, attention_ns_per_pair=1_000.0, kv_read_ns_per_token=1_000.0, step_per_request_ms=1)
    pairs, reads = (1_000 * 1_001 // 2 + 1_000) * 1e-6, 2 * 8 * (1e-3 + 1_004 * 1e-6)
    assert work_s(replayed, costly) - work_s(replayed, PLAIN) == pytest.approx(pairs + reads)


def test_memory_bounds_the_batch() -> None:
    """Long requests fill the memory before the batch; a trace without pace has no load."""
    assert full_batch(trace(request(0, blocks=40)), PLAIN) == pytest.approx(10_000 / 4_000.5)
    assert full_batch(trace(), PLAIN) == 8
    assert load(trace(request(0), request(0)), PLAIN, 1) == 0


def test_a_fleet_keeps_up_below_load_one_only() -> None:
    """At twice what the engines can do, the last answer comes about twice as late as the last arrival."""
    replayed = many(400)
    offered = load(replayed, PLAIN, 2)
    ends = {}
    for wanted in (0.4, 2.0):
        faster = replayed.faster(wanted / offered)
        assert load(faster, PLAIN, 2) == pytest.approx(wanted, rel=1e-3)
        result = run(faster, setup(registry["plain-least-request"]), 1)
        ends[wanted] = max(o.at_s + (o.e2e_s or 0) for o in result.outcomes) / faster.duration_s
    assert ends[0.4] < 1.1
    assert ends[2.0] > 1.9
