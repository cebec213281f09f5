"""The values of a trace: what they refuse, the sharing rate, and changes of rate and length."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.traces.trace import Trace, TraceRequest


def request(
    at_s: float = 0.0, blocks: tuple[int, ...] = (), prompt: int = 100, answer: tuple[int, ...] = ()
) -> TraceRequest:
    """A request of blocks of 10 tokens."""
    return TraceRequest(at_s, blocks, prompt, 5, answer_blocks=answer)


def trace(*requests: TraceRequest) -> Trace:
    """A trace of blocks of 10 tokens."""
    return Trace("t", 10, requests)


@pytest.mark.parametrize(("at_s", "prompt", "output"), [(-0.1, 1, 1), (0.0, 0, 1), (0.0, 1, 0)])
def test_request_refuses_what_no_engine_could_serve(at_s: float, prompt: int, output: int) -> None:
    """A time before the trace, an empty prompt and an empty answer are errors."""
    with pytest.raises(ValueError, match=r"arrive|at least one"):
        TraceRequest(at_s, (), prompt, output)


@pytest.mark.parametrize(
    ("block_tokens", "requests", "words"),
    [
        (0, (), "at least one token"),
        (10, (request(1.0),), "arrives at 0 s"),
        (10, (request(0.0), request(2.0), request(1.0)), "ordered"),
        (10, (request(0.0, (1, 2), prompt=19),), "2 blocks of 10 tokens exceed"),
    ],
)
def test_trace_refuses_contradictions(block_tokens: int, requests: tuple[TraceRequest, ...], words: str) -> None:
    """Size of blocks, first time, order of times and number of blocks are held."""
    with pytest.raises(ValueError, match=words):
        Trace("t", block_tokens, requests)


def test_empty_trace_has_zero_numbers() -> None:
    """No request: no duration, no rate, nothing shared; operations give empty traces."""
    empty = trace()
    assert (len(empty), empty.duration_s, empty.rate, empty.sharing_rate) == (0, 0.0, 0.0, 0.0)
    assert empty.faster(2) == empty.cut(3) == empty.spread() == empty


def test_rate_is_requests_over_duration() -> None:
    """Three requests within 6 s are half a request per second; all at once have no rate."""
    assert trace(request(), request(3.0), request(6.0)).rate == 0.5
    assert trace(request(), request()).rate == 0.0


def test_sharing_counts_the_run_from_block_0() -> None:
    """A block behind one that is missing does not count, as in an engine."""
    shared = list(
        trace(request(blocks=(1, 2, 3)), request(blocks=(1, 2, 4)), request(blocks=(9, 2, 3))).shared_tokens()
    )
    assert shared == [0, 20, 0]


def test_sharing_counts_answers_where_known() -> None:
    """The next turn finds prompt and answer of the one before."""
    turns = trace(request(blocks=(1,), prompt=15, answer=(2, 3)), request(blocks=(1, 2, 3, 4), prompt=40))
    assert turns.sharing_rate == pytest.approx(30 / 55)


def test_faster_divides_times_and_keeps_all_else() -> None:
    """Twice the rate is half of each time."""
    slow = trace(request(blocks=(1,)), request(1.0, (2,)), request(3.0, (3,)))
    fast = slow.faster(2)
    assert [found.at_s for found in fast.requests] == [0.0, 0.5, 1.5]
    assert [found.blocks for found in fast.requests] == [(1,), (2,), (3,)]
    assert fast.rate == slow.rate * 2


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan")])
def test_faster_refuses_what_is_no_rate(factor: float) -> None:
    """A rate is multiplied by a positive number only."""
    with pytest.raises(ValueError, match="positive"):
        trace().faster(factor)


def test_cut_takes_the_beginning() -> None:
    """The first requests, all if there are fewer, none for a negative count."""
    whole = trace(request(), request(1.0), request(2.0))
    assert [len(whole.cut(count)) for count in (2, 9, 0, -1)] == [2, 3, 0, 0]


def test_spread_fills_the_gap_to_the_next_instant() -> None:
    """Equal times are spread evenly up to the next one; the last ones get the gap before them."""
    coarse = trace(request(), request(), request(3.0), request(6.0), request(6.0), request(6.0))
    assert [found.at_s for found in coarse.spread().requests] == [0.0, 1.5, 3.0, 6.0, 7.0, 8.0]
    assert not replace(coarse, has_coarse_clock=True).spread().has_coarse_clock


def test_spread_leaves_a_single_instant() -> None:
    """When all come at once nothing says how far apart they were."""
    at_once = trace(request(), request())
    assert at_once.spread() == at_once


@given(st.lists(st.integers(0, 20), min_size=1, max_size=30), st.sampled_from([0.3, 1.0, 7.0]))
def test_operations_keep_the_order(times: list[int], factor: float) -> None:
    """Whatever the times, a changed trace is a valid one with the same requests."""
    ordered = sorted(at - min(times) for at in times)
    whole = trace(*(request(float(at), (number,)) for number, at in enumerate(ordered)))
    for changed in (whole.faster(factor), whole.spread()):
        assert [found.blocks for found in changed.requests] == [found.blocks for found in whole.requests]
