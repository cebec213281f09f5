"""The most load that a rule holds an SLO under, and the fewest pods that it holds it with.

    limit = highest_rate(plan, "kv-aware")
    size = fewest_pods(plan, 2.0, "kv-aware")

Pure. Both try one value after the other, halving what lies between the best that held and the worst that did not. That
assumes that who holds the SLO also holds it at a lower rate, or with more pods. Queues make this true but for chance
close to the edge: there, the answer is one of the places where a rule passes from holding to not holding.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil, fsum, inf, sqrt
from typing import Any, Final

from sim.ranks import nearest_rank
from sim.virtual.capacity import load
from sim.virtual.fleet import run
from sim.virtual.metrics import Slo
from sim.virtual.outcome import RunResult
from sim.virtual.rules import factory
from sim.virtual.study import Plan, rate_for

TOLERANCE: Final = 0.02
"""A rate is found when one that is at most this share higher fails: less than what another seed changes."""

START_LOAD: Final = 0.5
"""Where the search for a rate begins: most rules have their knee within a factor of two of it."""

LEAST_LOAD: Final = 2**-6
"""Who does not hold the SLO on an all but idle fleet holds it nowhere."""

MOST_LOAD: Final = 4.0
"""Nobody keeps up beyond a load of 1; who still holds the SLO at this one has too short a trace to tell."""

MAX_RATES: Final = 16
"""Rates tried for one rule: up to six from the start to the least load, then six halvings to the tolerance."""

MOST_PODS: Final = 256
"""The largest fleet tried: a replay of a larger one takes minutes per rule."""

_RATE_DIGITS: Final = 6
_LOAD_DIGITS: Final = 4
_QUANTILE: Final = 90


@dataclass(frozen=True, slots=True)
class Measured:
    """What is held against an SLO, in seconds; of several seeds, the worst of each.

    `p90_ttft_s` is over all requests: one that was refused, failed or given up counts as one that waited for ever.
    `tpot_s` is the mean over the answers of more than one token.
    """

    p90_ttft_s: float
    tpot_s: float

    def holds(self, slo: Slo) -> bool:
        """Whether nine requests of ten begin in time, and answers come fast enough in the mean."""
        return self.p90_ttft_s <= slo.ttft_s and self.tpot_s <= slo.tpot_s


@dataclass(frozen=True, slots=True)
class RateLimit:
    """The highest rate, a multiple of the trace's pace, at which a rule holds the SLO with every seed.

    `rate` is None when it holds it at none that was tried, and `fails_at` when it fails at none. `load`,
    `requests_per_s` and `measured` are those at `rate`; `runs` counts the replays that it took.
    """

    strategy: str
    kind: str
    rate: float | None
    fails_at: float | None
    load: float | None
    requests_per_s: float | None
    measured: Measured | None
    runs: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON values."""
        measured = self.measured
        return {
            "strategy": self.strategy,
            "kind": self.kind,
            "rate": self.rate,
            "fails_at": self.fails_at,
            "load": self.load,
            "requests_per_s": self.requests_per_s,
            "p90_ttft_ms": None if measured is None else round(measured.p90_ttft_s * 1e3, 3),
            "tpot_ms": None if measured is None else round(measured.tpot_s * 1e3, 3),
            "runs": self.runs,
        }


@dataclass(frozen=True, slots=True)
class Size:
    """The fewest pods with which a rule holds the SLO at a rate with every seed; None: not with `MOST_PODS` either."""

    strategy: str
    kind: str
    rate: float
    pods: int | None
    runs: int

    def as_dict(self) -> dict[str, Any]:
        """The JSON values."""
        return {
            "strategy": self.strategy,
            "kind": self.kind,
            "rate": self.rate,
            "pods": self.pods,
            "runs": self.runs,
        }


def highest_rate(plan: Plan, strategy: str) -> RateLimit:
    """Searches the rates. Raises ValueError for a trace that has no pace."""
    first = next(iter(plan.traces.values()))
    trials = _Trials(plan, strategy)
    start, least, most = (
        _rounded(rate_for(first, plan.setup, wanted)) for wanted in (START_LOAD, LEAST_LOAD, MOST_LOAD)
    )
    rate, fails_at = highest(lambda rate: trials.hold(rate, plan.setup.engines), start, least, most)
    held = None if rate is None else first.faster(rate)
    return RateLimit(
        strategy=strategy,
        kind=trials.kind,
        rate=rate,
        fails_at=fails_at,
        load=None if held is None else round(load(held, plan.setup.profile, plan.setup.engines), _LOAD_DIGITS),
        requests_per_s=None if held is None else round(held.rate, _LOAD_DIGITS),
        measured=None if rate is None else trials.found[rate, plan.setup.engines],
        runs=trials.runs,
    )


def fewest_pods(plan: Plan, rate: float, strategy: str) -> Size:
    """Searches the fleet's sizes, from the least that has all of the pods that `plan.setup.faults` names."""
    first = next(iter(plan.traces.values())).faster(rate)
    trials = _Trials(plan, strategy)
    least = max((fault.pod for fault in plan.setup.faults), default=1)
    start = max(least, ceil(load(first, plan.setup.profile, 1)))
    pods = fewest(lambda engines: trials.hold(rate, engines), start, least, MOST_PODS)
    return Size(strategy, trials.kind, rate, pods, trials.runs)


def highest(
    holds: Callable[[float], bool], start: float, least: float, most: float
) -> tuple[float | None, float | None]:
    """The highest value that was seen to hold, and the lowest above it that was seen not to.

    They are no further apart than `TOLERANCE`, unless `MAX_RATES` is exceeded; one of them is None when all values from
    `least` to `most` do the same.
    """
    held: float | None = None
    failed: float | None = None
    value = start
    for _ in range(MAX_RATES):
        if holds(value):
            held = value
        else:
            failed = value
        if held is None:
            if value <= least:
                break
            value = max(least, _rounded(value / 2))
        elif failed is None:
            if value >= most:
                break
            value = min(most, _rounded(value * 2))
        elif failed <= held * (1 + TOLERANCE):
            break
        else:
            # The geometric middle: the tolerance is a share.
            value = _rounded(sqrt(held * failed))
    return held, failed


def fewest(holds: Callable[[int], bool], start: int, least: int, most: int) -> int | None:
    """The least number that holds while the one below it does not; None when `most` does not.

    Numbers above `start` are tried by doubling, so that large ones, which take long, are tried only where needed.
    """
    held: int | None = None
    failed = least - 1
    value = min(start, most)
    while held is None or held - failed > 1:
        if holds(value):
            held = value
        elif value == most:
            return None
        else:
            failed = value
        value = min(most, 2 * value) if held is None else (held + failed) // 2
    return held


def measured(result: RunResult) -> Measured:
    """What one run is held against an SLO with."""
    waits = sorted(inf if outcome.is_lost or outcome.ttft_s is None else outcome.ttft_s for outcome in result.outcomes)
    paces = [tpot for outcome in result.outcomes if (tpot := outcome.tpot_s) is not None]
    p90 = nearest_rank(waits, _QUANTILE) if waits else 0.0
    return Measured(p90, fsum(paces) / len(paces) if paces else 0.0)


class _Trials:
    """The runs of one search: those of one rule, at any rate, on any number of engines."""

    def __init__(self, plan: Plan, strategy: str) -> None:
        self.kind = ""
        self.runs = 0
        self.found: dict[tuple[float, int], Measured] = {}
        self._plan = plan
        self._factory = factory(strategy, plan.pool)

    def hold(self, rate: float, engines: int) -> bool:
        """Whether every seed holds the SLO; the first that does not spares the others."""
        setup = replace(self._plan.setup, factory=self._factory, engines=engines)
        worst = Measured(0.0, 0.0)
        for seed, trace in self._plan.traces.items():
            result = run(trace.faster(rate), setup, seed)
            self.kind = result.kind
            self.runs += 1
            one = measured(result)
            worst = Measured(max(worst.p90_ttft_s, one.p90_ttft_s), max(worst.tpot_s, one.tpot_s))
            if not worst.holds(self._plan.slo):
                return False
        self.found[rate, engines] = worst
        return True


def _rounded(rate: float) -> float:
    """Digits that count, so that it reads well and is the same on any machine."""
    return float(f"{rate:.{_RATE_DIGITS}g}")
