"""What a trace is like: the numbers without which no result of a replay means anything.

Pure. Example:

    print("\\n".join(lines(summarise(trace))))
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sim.ranks import nearest_rank
from sim.traces.trace import Trace

# Long enough to hold several requests at usual rates, short enough to show a burst that fills queues.
PEAK_WINDOW_S = 10.0

# Digits of a report: what lies beyond may differ between machines.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Spread:
    """How a length is distributed over the requests, in tokens; percentiles by nearest rank."""

    mean: float = 0.0
    p50: int = 0
    p90: int = 0
    p99: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Summary:
    """A trace in numbers. Rates per second are over its duration, 0 when all requests come at once."""

    name: str
    requests: int
    duration_s: float
    rate: float
    peak: float
    """Requests in the fullest window of `PEAK_WINDOW_S`, as a multiple of the mean; 0 for traces shorter than one."""

    prompt: Spread
    output: Spread
    prompt_tokens_per_s: float
    uncached_tokens_per_s: float
    """Prompt tokens that even one infinite cache would have to compute."""

    output_tokens_per_s: float
    sharing_rate: float
    """Share of the prompt tokens that one infinite cache would have, 0 to 1."""

    block_tokens: int
    distinct_tokens: int
    """Tokens in all different blocks, answers included where known: the cache that would never have to evict."""

    sessions: int
    """Different sessions named; 0 where the source names none."""

    tenants: int
    models: int
    missing: int = 0
    """Requests that whoever recorded it has lost."""

    def as_dict(self) -> dict[str, Any]:
        """The JSON values."""
        values: dict[str, Any] = _rounded(asdict(self))
        return values


def summarise(trace: Trace) -> Summary:
    """Count everything, in a few passes over the trace."""
    requests, duration = trace.requests, trace.duration_s
    shared = sum(trace.shared_tokens())
    prompts, outputs = trace.prompt_tokens, sum(request.output_tokens for request in requests)
    distinct: set[int] = set()
    for request in requests:
        distinct.update(request.blocks, request.answer_blocks)

    def per_s(tokens: int) -> float:
        return tokens / duration if duration else 0.0

    return Summary(
        name=trace.name,
        requests=len(requests),
        duration_s=duration,
        rate=trace.rate,
        peak=_peak([request.at_s for request in requests]),
        prompt=spread(request.prompt_tokens for request in requests),
        output=spread(request.output_tokens for request in requests),
        prompt_tokens_per_s=per_s(prompts),
        uncached_tokens_per_s=per_s(prompts - shared),
        output_tokens_per_s=per_s(outputs),
        sharing_rate=shared / prompts if prompts else 0.0,
        block_tokens=trace.block_tokens,
        distinct_tokens=len(distinct) * trace.block_tokens,
        sessions=_named(request.session for request in requests),
        tenants=_named(request.tenant for request in requests),
        models=_named(request.model for request in requests),
        missing=trace.missing,
    )


def spread(values: Iterable[int]) -> Spread:
    """Describe some lengths."""
    found = sorted(values)
    if not found:
        return Spread()
    return Spread(
        sum(found) / len(found), nearest_rank(found, 50), nearest_rank(found, 90), nearest_rank(found, 99), found[-1]
    )


def lines(summary: Summary) -> list[str]:
    """Write a summary as the head of a report."""
    named = [
        f"{number:,} {what if number > 1 else what[:-1]}"
        for number, what in ((summary.sessions, "sessions"), (summary.tenants, "tenants"), (summary.models, "models"))
        if number
    ]
    peak = f", at most {summary.peak:.1f} times that within {PEAK_WINDOW_S:.0f} s"
    return [
        f"trace     {summary.name}: {summary.requests:,} requests in {summary.duration_s:,.1f} s"
        + "".join(f", {text}" for text in named),
        f"rate      {summary.rate:.2f} requests/s" + (peak if summary.peak else ""),
        f"sharing   {summary.sharing_rate:.1%} of the prompt tokens would be in an infinite cache "
        f"(blocks of {summary.block_tokens} tokens, {_tokens(summary.distinct_tokens)} tokens in different blocks)",
        f"load      {summary.prompt_tokens_per_s:,.0f} prompt tokens/s, of which {summary.uncached_tokens_per_s:,.0f} "
        f"are new; {summary.output_tokens_per_s:,.0f} output tokens/s",
        f"prompt    {_line(summary.prompt)}",
        f"output    {_line(summary.output)}",
        *([f"missing   {summary.missing:,} requests more, which the recording lost"] if summary.missing else []),
    ]


def _line(found: Spread) -> str:
    return (
        f"mean {found.mean:,.0f}, p50 {found.p50:,}, p90 {found.p90:,}, p99 {found.p99:,}, most {found.most:,} tokens"
    )


def _tokens(count: int) -> str:
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count:,}"


def _peak(times: Sequence[float]) -> float:
    """Compare the fullest window with the mean one; windows begin at every request."""
    if not times or times[-1] < PEAK_WINDOW_S:
        return 0.0
    most = end = 0
    for begin, at in enumerate(times):
        while end < len(times) and times[end] < at + PEAK_WINDOW_S:
            end += 1
        most = max(most, end - begin)
    return most / (len(times) / times[-1] * PEAK_WINDOW_S)


def _named(labels: Iterable[str]) -> int:
    return len(set(labels) - {""})


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, _DIGITS) if isinstance(value, float) else value
