"""What happened when in one run: requests on each pod, and the cached share, over the time of arrivals.

Pure, from the outcomes alone, so that a run costs nothing more while it is played. The number of bins is bounded: a
run of an hour takes no more space than one of a minute.
"""

from dataclasses import dataclass
from typing import Final

from sim.virtual.outcome import Outcome, RunResult

BINS: Final = 48
"""As many as can be told apart in a plot of a hand's width."""

_DIGITS: Final = 3
_SHARE_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class PodLoad:
    """One pod: the mean number of requests in flight to it in each bin."""

    address: str
    in_flight: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """One run in bins of `step_s` seconds, from the first arrival to the last; no bins when all arrive at once.

    `cached` is the cached share of the prompt tokens of requests that arrived in the bin and got a first token; None
    where there was none. Requests count on the pod that had them last, from their arrival to their end; one whose
    answer broke off counts to its first token, since nothing later is known of it.
    """

    step_s: float
    cached: tuple[float | None, ...]
    pods: tuple[PodLoad, ...]


def series(result: RunResult, bins: int = BINS) -> Series:
    """Sums the outcomes of a run up in so many bins."""
    span = max((outcome.at_s for outcome in result.outcomes), default=0.0)
    if not span:
        return Series(0.0, (), tuple(PodLoad(pod.address, ()) for pod in result.pods))
    step = span / bins
    prompt, cached = [0] * bins, [0] * bins
    busy = {pod.address: [0.0] * bins for pod in result.pods}
    for outcome in result.outcomes:
        if outcome.ttft_s is not None:
            arrived = min(bins - 1, int(outcome.at_s / step))
            prompt[arrived] += outcome.prompt_tokens
            cached[arrived] += outcome.cached_tokens
        if outcome.address in busy:
            _fill(busy[outcome.address], outcome, step)
    return Series(
        step_s=round(step, 6),
        cached=tuple(round(c / p, _SHARE_DIGITS) if p else None for c, p in zip(cached, prompt, strict=True)),
        pods=tuple(PodLoad(address, tuple(round(s / step, _DIGITS) for s in found)) for address, found in busy.items()),
    )


def _fill(busy: list[float], outcome: Outcome, step: float) -> None:
    """Adds the seconds of each bin in which the request was in flight."""
    lasted = outcome.e2e_s if outcome.e2e_s is not None else outcome.ttft_s or 0.0
    start, end = outcome.at_s / step, (outcome.at_s + lasted) / step
    for index in range(int(start), min(len(busy), int(end) + 1)):
        busy[index] += (min(end, index + 1) - max(start, index)) * step
