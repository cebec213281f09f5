"""What `bench.live` compares."""

import pytest

from bench.live import BLOCK_TOKENS, STRATEGIES, Measured, Row, ranking, trace_of, virtually


def row(strategy: str, live_ms: float, virtual_ms: float) -> Row:
    """One strategy with these times."""
    return Row(strategy, Measured(live_ms, 0.5), Measured(virtual_ms, 0.5), {})


def test_rankings_are_by_mean_of_each_side() -> None:
    """The least first; a side does not see the other."""
    rows = [row("a", 30.0, 10.0), row("b", 20.0, 20.0), row("c", 10.0, 30.0)]
    assert ranking(rows, "live") == ["c", "b", "a"]
    assert ranking(rows, "virtual") == ["a", "b", "c"]


def test_the_difference_is_relative_to_the_virtual_run() -> None:
    """Above 0: slower than simulated."""
    assert row("a", 120.0, 100.0).difference == pytest.approx(0.2)


def test_both_sides_are_given_a_trace_without_answers() -> None:
    """At the rate that was asked for, in the engines' own blocks, with prefixes to share."""
    trace = trace_of(rate=10.0, seconds=6.0, seed=1)
    assert (len(trace), trace.block_tokens) == (60, BLOCK_TOKENS)
    assert trace.duration_s == pytest.approx(6.0, rel=0.05)
    assert not any(request.answer_blocks for request in trace.requests)
    assert trace.sharing_rate > 0.2


def test_the_virtual_side_tells_the_strategies_apart() -> None:
    """The order that the live side is held against is not one of chance: kv-aware is far ahead."""
    trace = trace_of(rate=10.0, seconds=20.0, seed=1)
    found = {strategy: virtually(trace, strategy) for strategy in STRATEGIES}
    assert found["kv-aware"].ttft_ms < 0.6 * min(found["least-request"].ttft_ms, found["round-robin"].ttft_ms)
    assert found["kv-aware"].cached_share > 1.5 * found["round-robin"].cached_share
