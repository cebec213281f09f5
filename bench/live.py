"""Does the virtual result hold in the real program? `python -m bench.live [--strategies A,B,…] [--seconds S]`.

One trace, each strategy twice. Live: simulated pods in processes of their own, kvpilot and a real Envoy in front of
them, and `kvpilot replay --live` as the client. Virtual: the same trace over as many engines of the same profile, five
times, since chance in scrapes moves its numbers too. The pods compute nothing and keep the engine model's time, so what
differs is what the virtual run leaves out: the real network, Envoy, the picker's own time and the work of everybody on
the same cores. Answers are taken out of the trace's prefixes: a client that keeps the trace's times cannot send back
what it has not got yet.

Loopback only; each strategy takes as long as the trace.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from control_plane.demo.pod_process import PodProcess
from sim.hardware import named
from sim.traces.generate import generate
from sim.traces.read import write_trace
from sim.traces.trace import Trace
from sim.virtual.fleet import run
from sim.virtual.metrics import CHAT, summary
from sim.virtual.production import ProductionFactory
from sim.virtual.setup import Setup
from tests.kit.mesh import PolicyText, mesh

PODS = 4
PROFILE = "demo"
STRATEGIES = ("kv-aware", "least-request", "round-robin")
LOAD = "chat:turns=6,system_tokens=200,question_tokens=260,answer_tokens=12,think_s=5,token_s=0.01"
"""Conversations of long questions and short answers: prefills decide, and one small machine can stream the answers."""

BLOCK_TOKENS = 16
"""The engines' own, so that the trace knows what they can share."""

RATE = 10.0
"""Per second: blind strategies are near what the pods can do, and do not fall behind for good."""

SECONDS = 60.0
MOST_SECONDS = 120.0
VIRTUAL_SEEDS = (1, 2, 3, 4, 5)
MODEL = "sim-model"
WIDTH = 120


@dataclass(frozen=True, slots=True)
class Measured:
    """One strategy on one side: means over its runs, and half of the distance between the least and the most TTFT."""

    ttft_ms: float
    cached_share: float
    half_range_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One strategy on both sides. `sending` is the client's word on how well it kept the times."""

    strategy: str
    live: Measured
    virtual: Measured
    sending: dict[str, Any]

    @property
    def difference(self) -> float:
        """Of the mean TTFT, relative to the virtual one."""
        return self.live.ttft_ms / self.virtual.ttft_ms - 1


def ranking(rows: Sequence[Row], side: str) -> list[str]:
    """The strategies of one side, the least mean TTFT first."""
    return [row.strategy for row in sorted(rows, key=lambda row: getattr(row, side).ttft_ms)]


def trace_of(rate: float, seconds: float, seed: int) -> Trace:
    """What both sides are given."""
    trace = generate(LOAD, seed, requests=max(1, round(rate * seconds)), rate=rate, block_tokens=BLOCK_TOKENS)
    return replace(trace, requests=tuple(replace(request, answer_blocks=()) for request in trace.requests))


def virtually(trace: Trace, strategy: str) -> Measured:
    """The mean over seeds."""
    setup = Setup(factory=ProductionFactory(strategy), profile=named(PROFILE), engines=PODS)
    found = [summary(run(trace, setup, seed), CHAT) for seed in VIRTUAL_SEEDS]
    times = [one.ttft_ms.mean or 0.0 for one in found]
    cached = sum(one.cached_share for one in found) / len(found)
    return Measured(sum(times) / len(times), cached, (max(times) - min(times)) / 2)


async def lively(trace: Trace, strategy: str) -> tuple[Measured, dict[str, Any]]:
    """One run through the real Envoy, on pods that are cold. Raises RuntimeError when a request failed."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvpilot-bench-")))
        pods = [PodProcess(models=(MODEL,), profile=PROFILE) for _ in range(PODS)]
        for pod in pods:
            stack.push_async_callback(pod.kill)
            await pod.start()
        policy = PolicyText(pools={"bench": [pod.address for pod in pods]}, models={MODEL: "bench"}, strategy=strategy)
        running = await stack.enter_async_context(mesh(directory, policy))
        path = directory / "trace.jsonl"
        write_trace(trace, path)
        report = await _replayed(path, running.url, trace)
    result, sending = report["results"][0], report["sending"]
    if result["failed"] or result["shed"]:
        raise RuntimeError(f"{strategy}: not all requests were answered: {report['errors']}")
    return Measured(result["ttft_ms"]["mean"], result["cached_share"]), sending


async def _replayed(path: Path, url: str, trace: Trace) -> Any:
    words = ("replay", str(path), "--as-is", "--live", url, "--model", MODEL, "--output", "json")
    bounds = ("--max-rate", "1000", "--duration", f"{trace.duration_s + 1:g}")
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "control_plane.cli", *words, *bounds), stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    out, err = await client.communicate()
    if client.returncode:
        raise RuntimeError(f"kvpilot replay ended with {client.returncode}: {err.decode()}")
    return json.loads(out)


async def measure(trace: Trace, strategies: Sequence[str]) -> list[Row]:
    """Both sides of each strategy, one after the other."""
    rows = []
    for strategy in strategies:
        live, sending = await lively(trace, strategy)
        rows.append(Row(strategy, live, virtually(trace, strategy), sending))
    return rows


def _table(rows: Sequence[Row]) -> Table:
    table = Table("strategy", title="mean TTFT and cached share", title_justify="left")
    for name in ("live ms", "virtual ms", "difference", "cached live", "virtual", "sent late, p99 ms"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            row.strategy,
            f"{row.live.ttft_ms:,.0f}",
            f"{row.virtual.ttft_ms:,.0f} ±{row.virtual.half_range_ms:,.0f}",
            f"{row.difference:+.0%}",
            f"{row.live.cached_share:.1%}",
            f"{row.virtual.cached_share:.1%}",
            f"{row.sending['late_ms']['p99']:.1f}",
        )
    return table


def main() -> None:
    """Prints a table, the two rankings and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--strategies", default=",".join(STRATEGIES), help="names with commas between")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of the trace, at most {MOST_SECONDS:g}")
    parser.add_argument("--rate", type=float, default=RATE, help="requests per second (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the trace (default %(default)s)")
    args = parser.parse_args()
    trace = trace_of(args.rate, min(args.seconds, MOST_SECONDS), args.seed)
    before = os.getloadavg()[0]
    rows = asyncio.run(measure(trace, args.strategies.split(",")))
    Console(width=WIDTH).print(_table(rows))
    live, virtual = ranking(rows, "live"), ranking(rows, "virtual")
    print(f"{len(trace)} requests in {trace.duration_s:.0f} s, sharing {trace.sharing_rate:.1%}")
    print(f"load of the machine before: {before:.1f}")
    verdict = "equal" if live == virtual else "NOT EQUAL"
    print(f"ranking {verdict}; live: {', '.join(live)}; virtual: {', '.join(virtual)}")
    measured = {
        row.strategy: {
            "live_ms": row.live.ttft_ms,
            "virtual_ms": round(row.virtual.ttft_ms, 3),
            "live_cached": row.live.cached_share,
            "virtual_cached": round(row.virtual.cached_share, 4),
            "late_ms": row.sending["late_ms"],
        }
        for row in rows
    }
    print(json.dumps({"bench": "live", "requests": len(trace), "rows": measured, "is_equal": live == virtual}))


if __name__ == "__main__":
    main()
