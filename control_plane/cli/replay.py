"""`kvpilot replay TRACE`: a trace over a simulated fleet in virtual time, once per strategy, and how they compare."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from control_plane.cli.argument_types import number, positive, reader
from control_plane.cli.playing import played, with_progress
from control_plane.cli.replay_compare import Readers, compare
from control_plane.cli.replay_live import add_live_arguments, check_live, live
from control_plane.cli.replay_page import add_page_arguments, bins, check_page, write_page
from control_plane.cli.replay_search import Found, add_search_arguments, check_search, search
from control_plane.cli.replay_setup import (
    MAX_RUNS_OF_A_KIND,
    add_setup_arguments,
    described,
    fleet_words,
    setup_of,
)

if TYPE_CHECKING:
    from ext_proc.core.settings import PoolSettings
    from sim.traces.trace import Trace
    from sim.virtual.metrics import Slo
    from sim.virtual.study import Plan, Row

NAME = "replay"
HELP = "replay a trace in virtual time over a simulated fleet, comparing strategies"

GENERATE = "generate:"
"""What begins a TRACE that is made instead of read."""

MAX_REQUESTS = 10_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What is replayed, over what, and how it is shown."""
    few = number(1, MAX_RUNS_OF_A_KIND)
    parser.add_argument(
        "trace",
        metavar="TRACE",
        help="a file (Mooncake JSONL, Azure CSV, kvpilot's own), or generate:KIND[:NAME=VALUE,…] (see docs/traces.md)",
    )
    parser.add_argument("--policy", type=Path, help="take the pool's settings, endpoints and zones from this policy")
    parser.add_argument("--pool", help="which pool of the policy (default: its first), and of a recording")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--strategies", help="names with commas between (default: all, other systems' rules too)")
    what.add_argument(
        "--compare",
        nargs=2,
        metavar=("OLD", "NEW"),
        help="two policies (or strategies) instead: what differs, for whom",
    )
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument("--rate", type=positive, nargs="+", metavar="X", help="multiples of the trace's pace (default 1)")
    pace.add_argument("--load", type=positive, nargs="+", metavar="X", help="or by loads: at 1 nobody could keep up")
    parser.add_argument("--requests", type=number(1, MAX_REQUESTS), help="the first so many (default: all; 1000 made)")
    parser.add_argument("--seeds", type=few, default=1, help="runs of each, with seeds 1, 2, … (default 1)")
    add_setup_arguments(parser)
    parser.add_argument(
        "--slo", type=reader("an SLO", _slo), help="ttft=2s,tpot=50ms (the default); given, its highest rate is found"
    )
    add_search_arguments(parser)
    parser.add_argument("--as-is", action="store_true", help="leave what one tick of a coarse clock has together")
    parser.add_argument("--jobs", type=few, default=1, help="processes (default 1)")
    parser.add_argument("--output", choices=["table", "json"], default="table", help="(default table)")
    add_page_arguments(parser)
    add_live_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Plays all runs and prints the report; 1 when the trace, the policy or an argument cannot be used."""
    from sim.traces.rows import TraceError

    try:
        check_live(args)
        if args.live is not None:
            return live(args, _traces)
        check_page(args)
        check_search(args)
        if args.compare:
            return compare(args, Readers(_traces, _pool, setup_of))
        plan = plan_of(args)
        if plan is None:
            return 1
        rows = list(_played(plan, args.jobs))
        found = search(args, plan)
    except (TraceError, ValueError) as error:
        print(f"kvpilot replay: {error}", file=sys.stderr)
        return 1
    # The page first: whoever reads the tables may stop reading (`| head`), which ends this program.
    status = 0
    if args.html is not None:
        status = write_page(args.html, args.words, _head(args, plan), rows, _slo_words(plan))
    _print(args, plan, rows, found)
    return status


# --- what is played ---------------------------------------------------------------------------------------------------


def plan_of(args: argparse.Namespace) -> "Plan | None":
    """All that the words say; None when the policy has errors, which are on standard error."""
    from sim.virtual.metrics import CHAT
    from sim.virtual.production import BARE
    from sim.virtual.rules import checked, defaults
    from sim.virtual.study import Plan, paced, rate_for

    pool = _pool(args) if args.policy else BARE
    if pool is None:
        return None
    users = () if pool.own is None else (pool.strategy,)
    if args.strategies is None:
        strategies = (*users, *defaults())
    else:
        strategies = checked([name.strip() for name in args.strategies.split(",")], pool)
    setup = setup_of(args, pool)
    traces, rates = paced(_traces(args), setup, rates=args.rate or (), loads=args.load or ())
    if args.slo and not args.size:
        rate_for(next(iter(traces.values())), setup, 1.0)  # what has no pace has no highest rate: say so now
    return Plan(
        traces=traces,
        setup=setup,
        strategies=strategies,
        rates=rates,
        pool=pool,
        slo=args.slo or CHAT,
        bins=bins(args.html),
    )


def _traces(args: argparse.Namespace) -> "dict[int, Trace]":
    """One trace for each seed: a file is the same for all, a made one differs."""
    seeds = range(1, args.seeds + 1)
    if args.trace.startswith(GENERATE):
        from sim.traces.generate import REQUESTS, generate

        if args.pool and not args.policy and not args.compare:
            raise ValueError("--pool: a made trace has no pools, and there is no --policy")

        kind = args.trace.removeprefix(GENERATE)
        return {seed: generate(kind, seed, requests=args.requests or REQUESTS) for seed in seeds}
    from sim.traces.read import read_trace

    trace = read_trace(args.trace, limit=args.requests)
    if args.pool:
        trace = trace.of_pool(args.pool)
    if not trace.requests:
        raise ValueError(f"{args.trace} has no requests" + (f" of pool {args.pool}" if args.pool else ""))
    return dict.fromkeys(seeds, trace.spread() if trace.has_coarse_clock and not args.as_is else trace)


def _pool(args: argparse.Namespace) -> "PoolSettings | None":
    """The settings of the policy's pool; None when it has errors, which are on standard error."""
    from control_plane.cli.policy_file import read_policy
    from control_plane.fleet.model import static_fleet
    from control_plane.sidecar.picker_settings import picker_settings

    document = read_policy(args.policy)
    if document is None:
        return None
    fleet = static_fleet(document.policy)
    pools = picker_settings(document.policy, fleet, document.version, zone=args.zone).pools
    pool = next((pool for pool in pools if args.pool in (None, pool.name)), None)
    if pool is None:
        known = ", ".join(pool.name for pool in pools)
        raise ValueError(f"{args.policy} has no pool {args.pool!r}; there are {known}" if pools else "it has no pools")
    return pool


# --- playing ----------------------------------------------------------------------------------------------------------


def _played(plan: "Plan", jobs: int) -> "Iterator[Row]":
    """The rows in the order of the plan."""
    from sim.virtual.study import play, tasks

    count = len(plan.rates) * len(plan.traces) * len(plan.strategies)
    return with_progress(played(play, tasks(plan), jobs), count, "replaying", lambda row: row.strategy)


# --- the report -------------------------------------------------------------------------------------------------------


def _print(args: argparse.Namespace, plan: "Plan", rows: "list[Row]", found: "Found") -> None:
    from sim.baselines.bound import lower_bound
    from sim.traces.summary import summarise
    from sim.virtual.report import as_json, tables

    if args.output == "json":
        import json

        first = next(iter(plan.traces.values()))
        trace, bound = summarise(first), lower_bound(first, plan.setup.profile)
        report = as_json(trace, bound, _described(args, plan), rows) | found.as_dict()
        print(json.dumps(report, indent=1))
        return
    from control_plane.cli.console import report_console

    console = report_console()
    for line in _head(args, plan):
        console.print(line)
    slo = _slo_words(plan)
    for table in tables(rows, slo):
        console.print()
        console.print(table)
    found.show(console, slo)


def _head(args: argparse.Namespace, plan: "Plan") -> list[str]:
    """What was played over what: lines of a word and its text."""
    from sim.baselines.bound import lower_bound
    from sim.traces.summary import lines, summarise

    first, setup = next(iter(plan.traces.values())), plan.setup
    bound = lower_bound(first, setup.profile)
    return [
        *lines(summarise(first)),
        f"fleet     {fleet_words(args, setup)}",
        f"bound     TTFT {bound.mean_ttft_s * 1e3:,.0f} ms in the mean, {bound.cached_share:.1%} cached: "
        "each request alone on an engine that has had all of the others before it",
    ]


def _slo_words(plan: "Plan") -> str:
    return f"ttft={plan.slo.ttft_s:g}s,tpot={plan.slo.tpot_s * 1e3:g}ms"


def _described(args: argparse.Namespace, plan: "Plan") -> dict[str, Any]:
    slo = {"ttft_ms": round(plan.slo.ttft_s * 1e3, 3), "tpot_ms": round(plan.slo.tpot_s * 1e3, 3)}
    return described(args, plan.setup) | {"slo": slo}


def _slo(text: str) -> "Slo":
    from sim.virtual.metrics import slo_of

    return slo_of(text)
