"""The head of a report: what a trace is like."""

from dataclasses import replace

from sim.traces.summary import Spread, lines, spread, summarise
from sim.traces.trace import Trace, TraceRequest


def small() -> Trace:
    """Two turns of one conversation and one other request, in 20 s."""
    return Trace(
        "small",
        64,
        (
            TraceRequest(0.0, (1, 2), 150, 40, session="a", tenant="t", answer_blocks=(3,)),
            TraceRequest(1.0, (1, 2, 3, 4), 260, 60, session="a", tenant="t"),
            TraceRequest(20.0, (), 10, 20, session="b", tenant="u"),
        ),
    )


def test_numbers() -> None:
    """Rates are over the duration, sharing counts the answer, distinct blocks are counted once."""
    found = summarise(small())
    assert (found.requests, found.duration_s, found.rate) == (3, 20.0, 0.15)
    assert (found.prompt_tokens_per_s, found.output_tokens_per_s) == (21.0, 6.0)
    assert found.uncached_tokens_per_s == (420 - 192) / 20
    assert found.sharing_rate == 192 / 420
    assert found.distinct_tokens == 4 * 64
    assert (found.sessions, found.tenants, found.models) == (2, 2, 0)
    assert found.prompt == Spread(140.0, 150, 260, 260, 260)


def test_peak_is_the_fullest_window() -> None:
    """Two of three requests within 10 s of 20 are 4/3 of the mean."""
    assert summarise(small()).peak == 2 / 1.5


def test_percentiles_are_ranks() -> None:
    """Of 1 to 100 the p90 is 90; nothing has no spread."""
    assert spread(range(1, 101)) == Spread(50.5, 50, 90, 99, 100)
    assert spread([]) == Spread()


def test_empty_trace() -> None:
    """No request: zeros, and lines that can be printed."""
    found = summarise(Trace("none", 64, ()))
    assert (found.rate, found.peak, found.sharing_rate, found.prompt_tokens_per_s) == (0.0, 0.0, 0.0, 0.0)
    assert lines(found)[0] == "trace     none: 0 requests in 0.0 s"


def test_a_short_trace_has_no_peak_to_tell() -> None:
    """Shorter than a window: nothing is said about one."""
    trace = small()
    assert trace.duration_s > 10
    short = replace(trace, requests=trace.requests[:2])
    assert short.duration_s < 10
    assert lines(summarise(short))[1] == f"rate      {short.rate:.2f} requests/s"


def test_lines() -> None:
    """What a report prints above its table."""
    assert lines(summarise(small())) == [
        "trace     small: 3 requests in 20.0 s, 2 sessions, 2 tenants",
        "rate      0.15 requests/s, at most 1.3 times that within 10 s",
        "sharing   45.7% of the prompt tokens would be in an infinite cache "
        "(blocks of 64 tokens, 256 tokens in different blocks)",
        "load      21 prompt tokens/s, of which 11 are new; 6 output tokens/s",
        "prompt    mean 140, p50 150, p90 260, p99 260, most 260 tokens",
        "output    mean 40, p50 40, p90 60, p99 60, most 60 tokens",
    ]


def test_json_values_are_rounded() -> None:
    """Six decimals, in what lies inside as well; whole numbers stay whole."""
    values = summarise(small()).as_dict()
    assert (values["requests"], values["sharing_rate"], values["prompt"]["p50"]) == (3, 0.457143, 150)
    assert all(value == round(value, 6) for value in values.values() if isinstance(value, float))


def test_lost_requests_are_told() -> None:
    """A trace with gaps says so in every report."""
    assert lines(summarise(replace(small(), missing=1_200)))[-1] == (
        "missing   1,200 requests more, which the recording lost"
    )
