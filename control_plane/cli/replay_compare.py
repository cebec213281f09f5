"""`kvpilot replay TRACE --compare OLD NEW`: two policies on one trace, and what differs between them.

OLD and NEW are policy files, or names of routing rules, which then take the settings of `--policy`.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from control_plane.cli.playing import played, with_progress
from control_plane.cli.replay_setup import fleet_words

if TYPE_CHECKING:
    from ext_proc.core.settings import PoolSettings
    from sim.traces.trace import Trace
    from sim.virtual.compare_report import Cell
    from sim.virtual.outcome import RunResult
    from sim.virtual.setup import Setup
    from sim.virtual.study import Task


@dataclass(frozen=True, slots=True)
class Readers:
    """How the verb reads its arguments: traces by seed, a policy's pool (None: it has errors), and the arrangement."""

    traces: "Callable[[argparse.Namespace], dict[int, Trace]]"
    pool: "Callable[[argparse.Namespace], PoolSettings | None]"
    setup: "Callable[[argparse.Namespace, PoolSettings], Setup]"


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: its word on the command line, its rule, and what it is played over."""

    word: str
    strategy: str
    pool: "PoolSettings"
    setup: "Setup"

    def as_dict(self) -> dict[str, Any]:
        """The JSON values."""
        return {"policy": self.word, "strategy": self.strategy, "pool": self.pool.name, "engines": self.setup.engines}


def compare(args: argparse.Namespace, readers: Readers) -> int:
    """Plays both on every seed and rate, and prints the comparison; 1 when a policy has errors.

    Raises ValueError for what cannot be played.
    """
    sides = []
    for word in args.compare:
        side = _side(word, args, readers)
        if side is None:
            return 1
        sides.append(side)
    traces = readers.traces(args)
    rates = _rates(args, traces, sides[0].setup)
    if args.load:
        traces = _of_one_load(traces, sides[0].setup)
    cells = list(_cells(args, traces, rates, sides))
    _print(args, traces, sides, cells)
    return 0


# --- what is played ---------------------------------------------------------------------------------------------------


def _side(word: str, args: argparse.Namespace, readers: Readers) -> Side | None:
    from sim.virtual.production import BARE
    from sim.virtual.rules import names

    is_rule = word in names()
    policy = args.policy if is_rule else Path(word)
    if not is_rule and not policy.is_file():
        raise ValueError(f"{word!r} is neither a policy file nor a strategy; strategies are {', '.join(names())}")
    pool = readers.pool(argparse.Namespace(**{**vars(args), "policy": policy})) if policy else BARE
    if pool is None:
        return None
    return Side(word, word if is_rule else pool.strategy, pool, readers.setup(args, pool))


def _rates(args: argparse.Namespace, traces: "dict[int, Trace]", old: "Setup") -> tuple[float, ...]:
    """Loads are those of the old policy's fleet: the traffic is the same for both."""
    from sim.virtual.study import rate_for

    if not args.load:
        return tuple(dict.fromkeys(args.rate or (1.0,)))
    first = next(iter(traces.values()))
    return tuple(dict.fromkeys(rate_for(first, old, wanted) for wanted in args.load))


def _of_one_load(traces: "dict[int, Trace]", old: "Setup") -> "dict[int, Trace]":
    """Made traces differ in their load; those of further seeds are brought to that of the first."""
    from sim.virtual.study import rate_for

    first = next(iter(traces.values()))
    own = rate_for(first, old, 1.0)
    return {seed: t if t is first else t.faster(rate_for(t, old, 1.0) / own) for seed, t in traces.items()}


def _cells(
    args: argparse.Namespace, traces: "dict[int, Trace]", rates: Sequence[float], sides: Sequence[Side]
) -> "Iterator[Cell]":
    import random

    from sim.virtual.capacity import load
    from sim.virtual.compare import Pair, compare
    from sim.virtual.compare_report import Cell
    from sim.virtual.metrics import CHAT

    first = next(iter(traces.values()))
    tasks = _tasks(args, traces, rates, sides)
    count = 2 * len(traces) * len(rates)
    runs = iter(with_progress(played(outcomes, tasks, args.jobs), count, "comparing", lambda run: run.strategy))
    for rate in rates:
        pairs = [Pair(seed, next(runs).outcomes, next(runs).outcomes) for seed in traces]
        # Chance of its own for each rate: a rate's interval does not depend on which others were asked for.
        found = compare(
            pairs,
            rng=random.Random(f"compare/{rate}"),
            is_same_trace=all(trace is first for trace in traces.values()),
            slo=args.slo or CHAT,
        )
        paced = first.faster(rate)
        old, new = (round(load(paced, side.setup.profile, side.setup.engines), 4) for side in sides)
        yield Cell(rate, old, new, found)
    next(runs, None)  # which ends the progress bar and the processes


def _tasks(
    args: argparse.Namespace, traces: "dict[int, Trace]", rates: Sequence[float], sides: Sequence[Side]
) -> "Iterator[Task]":
    """By rate and seed, the old one before the new one."""
    from sim.virtual.metrics import CHAT
    from sim.virtual.study import Task

    for rate in rates:
        for seed, trace in traces.items():
            for side in sides:
                yield Task(side.strategy, rate, seed, trace, side.setup, side.pool, args.slo or CHAT)


# --- playing ----------------------------------------------------------------------------------------------------------


def outcomes(task: "Task") -> "RunResult":
    """Plays one run and keeps every request."""
    from sim.virtual.fleet import run
    from sim.virtual.rules import factory

    setup = replace(task.setup, factory=factory(task.strategy, task.pool))
    return run(task.trace.faster(task.rate), setup, task.seed)


# --- the report -------------------------------------------------------------------------------------------------------


def _print(args: argparse.Namespace, traces: "dict[int, Trace]", sides: Sequence[Side], cells: "list[Cell]") -> None:
    from dataclasses import asdict

    from sim.traces.summary import lines, summarise
    from sim.virtual.compare_report import as_json, summing_up, tables

    trace = summarise(next(iter(traces.values())))
    if args.output == "json":
        import json

        told = as_json(dict(zip(("old", "new"), (side.as_dict() for side in sides), strict=True)), cells)
        print(json.dumps({"trace": _rounded(asdict(trace)), "compare": told}, indent=1))
        return
    from control_plane.cli.console import report_console

    console = report_console()
    for line in lines(trace):
        console.print(line, markup=False)
    for name, side in zip(("old", "new"), sides, strict=True):
        console.print(f"{name:<9} {side.word}: {side.strategy}; {fleet_words(args, side.setup)}", markup=False)
    for cell in cells:
        console.print()
        for table in tables(cell):
            console.print(table)
        console.print(summing_up(cell), markup=False)


def _rounded(value: Any) -> Any:
    """Six decimals, as in a report of strategies."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value
