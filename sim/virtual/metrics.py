"""The numbers of a report from the outcomes of one run.

Pure. A quantile is the value at the place ⌈p·n⌉ of the ordered ones: one that occurred, without interpolation, which is
the same on any machine.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Any, Final

from sim.ranks import nearest_rank
from sim.virtual.outcome import Outcome, RunResult

# Microseconds in a table of milliseconds; further digits say nothing about a model.
_DIGITS: Final = 3
_SHARE_DIGITS: Final = 4

_LIMIT: Final = re.compile(r"(?P<name>ttft|tpot)=(?P<number>\d+(?:\.\d+)?)(?P<unit>ms|s)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request has to hold to count as good: its time to the first token, and its mean time between tokens.

    The defaults are what a person in a chat accepts: two seconds of silence, then 20 tokens a second.
    """

    ttft_s: float = 2.0
    tpot_s: float = 0.05

    def holds(self, outcome: Outcome) -> bool:
        """Whether the request was answered in time, to its end or until its client had enough."""
        if outcome.status not in ("ok", "aborted") or outcome.ttft_s is None or outcome.ttft_s > self.ttft_s:
            return False
        return outcome.tpot_s is None or outcome.tpot_s <= self.tpot_s


CHAT: Final = Slo()
"""What a report counts when nothing else is said."""


def slo_of(text: str) -> Slo:
    """Reads `ttft=2s,tpot=50ms`; what is not named has its default. Raises ValueError."""
    limits: dict[str, float] = {}
    for word in filter(None, text.split(",")):
        found = _LIMIT.fullmatch(word)
        if found is None or float(found["number"]) <= 0:
            raise ValueError(f"{word!r} is no limit; limits are written ttft=2s,tpot=50ms")
        limits[f"{found['name']}_s"] = float(found["number"]) / (1e3 if found["unit"] == "ms" else 1.0)
    return Slo(**limits)


@dataclass(frozen=True, slots=True)
class Spread:
    """A mean and quantiles, in milliseconds; None where nothing was measured."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None

    def as_dict(self) -> dict[str, float | None]:
        """The JSON values."""
        return {"mean": self.mean, "p50": self.p50, "p90": self.p90, "p99": self.p99}


@dataclass(frozen=True, slots=True)
class Summary:
    """One run.

    `aborted` counts the clients that went away, with or without a first token.
    `cached_share` is the share of the prompt tokens of requests with a first token that came from a cache. `goodput`
    counts requests per second that held the SLO, over the time of arrivals. `imbalance` is what the pod with the most
    prompt tokens to compute had, over the mean of all (1: even).
    """

    requests: int
    failed: int
    shed: int
    aborted: int
    ttft_ms: Spread
    tpot_ms: Spread
    e2e_ms: Spread
    cached_share: float
    good_share: float
    goodput: float
    imbalance: float

    def as_dict(self) -> dict[str, Any]:
        """The JSON values."""
        return {
            "requests": self.requests,
            "failed": self.failed,
            "shed": self.shed,
            "aborted": self.aborted,
            "ttft_ms": self.ttft_ms.as_dict(),
            "tpot_ms": self.tpot_ms.as_dict(),
            "e2e_ms": self.e2e_ms.as_dict(),
            "cached_share": self.cached_share,
            "good_share": self.good_share,
            "goodput": self.goodput,
            "imbalance": self.imbalance,
        }


def summary(result: RunResult, slo: Slo) -> Summary:
    """The numbers of one run."""
    outcomes = result.outcomes
    begun = [outcome for outcome in outcomes if outcome.ttft_s is not None]
    prompt = sum(outcome.prompt_tokens for outcome in begun)
    cached = sum(outcome.cached_tokens for outcome in begun)
    good = sum(slo.holds(outcome) for outcome in outcomes)
    lasts = outcomes[-1].at_s if outcomes else 0.0
    computed = [pod.computed_tokens for pod in result.pods]
    return Summary(
        requests=len(outcomes),
        failed=sum(outcome.status == "failed" for outcome in outcomes),
        shed=sum(outcome.status == "shed" for outcome in outcomes),
        aborted=sum(outcome.status == "aborted" for outcome in outcomes),
        ttft_ms=spread([o.ttft_s for o in begun if o.ttft_s is not None]),
        tpot_ms=spread([tpot for o in begun if (tpot := o.tpot_s) is not None]),
        e2e_ms=spread([o.e2e_s for o in begun if o.e2e_s is not None]),
        cached_share=round(cached / prompt, _SHARE_DIGITS) if prompt else 0.0,
        good_share=round(good / len(outcomes), _SHARE_DIGITS) if outcomes else 0.0,
        goodput=round(good / lasts, _SHARE_DIGITS) if lasts else 0.0,
        imbalance=round(max(computed) * len(computed) / sum(computed), _DIGITS) if any(computed) else 1.0,
    )


def spread(seconds: Sequence[float]) -> Spread:
    """Mean and quantiles of durations."""
    if not seconds:
        return Spread(None, None, None, None)
    ordered = sorted(seconds)
    p50, p90, p99 = (nearest_rank(ordered, percent) for percent in (50, 90, 99))
    # fsum: exact, so that the mean does not depend on the order or on the machine.
    return Spread(*(round(value * 1e3, _DIGITS) for value in (fsum(ordered) / len(ordered), p50, p90, p99)))
