"""A comparison: every rule at every rate with every seed, each a run of its own, and the numbers that came of it.

    rows = [play(task) for task in tasks(plan)]

Pure. Tasks are values, so that they can be played in other processes; the result does not depend on where.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ext_proc.core.settings import PoolSettings
from sim.traces.trace import TIME_DIGITS, Trace
from sim.virtual.capacity import load
from sim.virtual.fleet import run
from sim.virtual.metrics import CHAT, Slo, Summary, summary
from sim.virtual.production import BARE
from sim.virtual.rules import factory
from sim.virtual.series import Series, series
from sim.virtual.setup import Setup

MAX_DURATION_S: Final = 31 * 86_400.0
"""A month of traffic. Engines are scraped in quiet hours as well, some 40 times a second in a fleet of eight, so that
a trace of years would be played for days, and nearly all of that would be scrapes."""

_LOAD_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is compared. `traces` holds one trace for each seed; `setup.factory` is replaced by each rule's own.

    `rates` multiply the pace of the traces; `pool` has the settings for our own strategies. With `bins` the runs of the
    first seed at the highest rate also have a time series of so many.
    """

    traces: Mapping[int, Trace]
    setup: Setup
    strategies: tuple[str, ...]
    rates: tuple[float, ...] = (1.0,)
    pool: PoolSettings = BARE
    slo: Slo = CHAT
    bins: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One run."""

    strategy: str
    rate: float
    seed: int
    trace: Trace
    setup: Setup
    pool: PoolSettings
    slo: Slo
    bins: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one run. `load` is that of `sim.virtual.capacity`."""

    strategy: str
    kind: str
    rate: float
    seed: int
    load: float
    summary: Summary
    series: Series | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON values of one result."""
        return {
            "strategy": self.strategy,
            "kind": self.kind,
            "rate": self.rate,
            "seed": self.seed,
            "load": self.load,
            **self.summary.as_dict(),
        }


def tasks(plan: Plan) -> Iterator[Task]:
    """All runs, by rate, seed and strategy."""
    for rate in plan.rates:
        for seed, trace in plan.traces.items():
            bins = plan.bins if rate == max(plan.rates) and seed == next(iter(plan.traces)) else 0
            for strategy in plan.strategies:
                yield Task(strategy, rate, seed, trace, plan.setup, plan.pool, plan.slo, bins)


def play(task: Task) -> Row:
    """Plays one run."""
    trace = task.trace.faster(task.rate)
    setup = replace(task.setup, factory=factory(task.strategy, task.pool))
    result = run(trace, setup, task.seed)
    offered = round(load(trace, setup.profile, setup.engines), _LOAD_DIGITS)
    binned = series(result, task.bins) if task.bins else None
    return Row(task.strategy, result.kind, task.rate, task.seed, offered, summary(result, task.slo), binned)


def rate_for(trace: Trace, setup: Setup, wanted: float) -> float:
    """The rate at which a trace is this load.

    Raises ValueError for a trace that has no pace, and for a load of which rounding leaves nothing.
    """
    own = load(trace, setup.profile, setup.engines)
    if not own:
        raise ValueError(f"{trace.name} has no pace: all of its requests arrive at once")
    rate = round(wanted / own, TIME_DIGITS)
    if not rate:
        raise ValueError(f"a load of {wanted:g} is too small: {trace.name} would hardly begin")
    return rate


def paced(
    traces: Mapping[int, Trace], setup: Setup, *, rates: Sequence[float] = (), loads: Sequence[float] = ()
) -> tuple[Mapping[int, Trace], tuple[float, ...]]:
    """The traces by seed and the rates to play them at, each once: `rates`, or those at which they are `loads`.

    Loads are the first trace's. Made traces differ in theirs, so those of further seeds are brought to it. Raises
    ValueError for a load that cannot be, and for what would last longer than `MAX_DURATION_S`.
    """
    first = next(iter(traces.values()))
    if loads:
        own = rate_for(first, setup, 1.0)
        traces = {s: t if t is first else t.faster(rate_for(t, setup, 1.0) / own) for s, t in traces.items()}
        rates = [rate_for(first, setup, wanted) for wanted in loads]
    found = tuple(dict.fromkeys(rates or (1.0,)))
    longest = max(traces.values(), key=lambda trace: trace.duration_s)
    if longest.duration_s > MAX_DURATION_S * min(found):
        days = longest.duration_s / min(found) / 86_400
        raise ValueError(f"{longest.name} × {min(found):g} would last {days:,.6g} days, and 31 are the most")
    return traces, found
