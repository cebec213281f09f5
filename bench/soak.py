"""Mixed faults for an hour: does anything stay behind? `python -m bench.soak [--minutes M] [--rate R] [--seed S]`.

Eight simulated pods, kvpilot and a real Envoy, under streams, plain requests and clients that leave. Every ten seconds
something else breaks for a while: a pod is killed, hangs, is slow, fails, cuts its answers, lies or is drained and
restarted; kvpilot is frozen or stutters; the policy is broken, and edited all the time. Each minute is printed. In the
end nothing may be in flight, in the picker's ledger or in Envoy; memory and descriptors of both may not have grown
(`bench/soak_judge.py`); and no request may be lost. The last line is JSON; exit 1 when a bound is broken.
"""

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp

from bench.soak_judge import Counts, Finding, Sample, verdicts
from control_plane.cli.envoy_files import bootstrap_template
from control_plane.drills.facts import Sent
from control_plane.drills.ground import FaultError
from control_plane.drills.model import Drill, Load, Step
from control_plane.drills.play import NotReadyError, play
from control_plane.drills.reading import places_of
from control_plane.drills.stage import Stage
from control_plane.drills.worker import NotStartedError
from control_plane.policy import load
from control_plane.policy.model import Policy

POLICY = Path(__file__).parents[1] / "examples" / "drills" / "policies" / "eight.yaml"

SLOT_S = 10.0
"""Between the begins of two faults."""

FAULT_S = 5.0
"""How long one lasts; in the rest of its slot what was broken comes back."""

FIRST_S = 5.0
"""Before the first fault: the picker learns what answers take."""

LAST_S = 15.0
"""From the begin of the last fault to the end: all of its slot, and half as much again for a drain."""

EDIT_S = 7.0
"""Between two edits of the policy: out of step with the faults."""

EDITS = (("attempts: 2", "attempts: 3"), ("attempts: 3", "attempts: 2"))

STAYING = ("http.admin", "cluster.kvpilot")
"""Envoy's gauges of what never ends: this question itself, and the streams of xDS, access logs and health checks."""

BROKEN_OFF = 502
"""What Envoy makes of a plain answer that broke off (`docs/reliability.md`): a cut one, which nobody may repeat."""

SAMPLE_S = 1.0
SETTLE_S = 20.0
"""For what is still counted as in flight after the last answer; records of the access log take less than a second."""

REPORT_S = 60.0
MINUTES = 60.0
RATE = 20
SEED = 1

PROCESS_STEPS: tuple[dict[str, Any], ...] = (
    {"fault": "freeze", "process": "kvpilot"},
    {"fault": "stutter", "process": "kvpilot"},
    {"fault": "breakPolicy"},
)
POD_STEPS: tuple[dict[str, Any], ...] = (
    {"fault": "kill"},
    {"fault": "hang"},
    {"fault": "slow"},
    {"fault": "status", "code": 500},
    {"fault": "cut"},
    {"fault": "rollingRestart"},
    {"fault": "lie"},
    {"fault": "die", "everything": True},
)


def schedule(duration_s: float, seed: int, pods: Sequence[str]) -> tuple[Step, ...]:
    """What breaks when: all kinds once in each round, in another order each time, each pod's turn by chance."""
    rng = random.Random(seed)
    found: list[Step] = []
    waiting: list[dict[str, Any]] = []
    at_s = FIRST_S
    while at_s + LAST_S <= duration_s:
        if not waiting:
            waiting = [*POD_STEPS, *PROCESS_STEPS]
            rng.shuffle(waiting)
        kind = waiting.pop()
        whose = (rng.choice(pods),) if kind in POD_STEPS else ()
        for_s = None if kind["fault"] == "rollingRestart" else FAULT_S
        found.append(Step(name=f"{len(found) + 1} {kind['fault']}", at_s=at_s, for_s=for_s, pods=whose, **kind))
        at_s += SLOT_S
    return tuple(found)


def sample(pid: int, at_s: float) -> Sample | None:
    """A process as it is now; None when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fds = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    return Sample(at_s, int(status.split("VmRSS:")[1].split()[0]), fds)


class Tally:
    """Mutable: what became of requests, and what was sampled."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.counts = {"sent": 0, "answered": 0, "left": 0, "lost": 0, "cut": 0, "unended": 0}
        self.errors: dict[str, int] = {}
        self.samples: dict[str, list[Sample]] = {}
        self.begun = time.monotonic()

    def heard(self, one: Sent) -> None:
        """A request has ended."""
        is_begun = one.is_cut or (one.is_lost and one.status == BROKEN_OFF)
        is_lost = one.is_lost and not is_begun
        for key, is_so in (
            ("sent", True),
            ("answered", one.is_ok),
            ("left", one.is_left),
            ("lost", is_lost),
            ("cut", is_begun),
            ("unended", one.is_timed_out),
        ):
            self.counts[key] += is_so
        if is_lost or one.is_timed_out or (is_begun and one.status == BROKEN_OFF):
            # Those that are taken to be cut as well, so that a reader can see what they were.
            what = f"{one.status} {one.error[:120]}"
            self.errors[what] = self.errors.get(what, 0) + 1

    async def watch(self, stage: Stage) -> None:
        """Samples until it is cancelled, and prints each minute."""
        told = time.monotonic()
        while True:
            now = time.monotonic()
            for name, pid in stage.pids.items():
                if (found := sample(pid, now - self.begun)) is not None:
                    self.samples.setdefault(name, []).append(found)
            if now - told >= REPORT_S:
                told = now
                self.tell(now)
            await asyncio.sleep(SAMPLE_S)

    def tell(self, now: float) -> None:
        """One line of a minute."""
        latest = {name: of[-1] for name, of in self.samples.items()}
        processes = ", ".join(f"{name} {one.rss_kib / 1024:.1f} MiB {one.fds} fds" for name, one in latest.items())
        counts = ", ".join(f"{value:,} {key}" for key, value in self.counts.items())
        print(f"{(now - self.begun) / 60:5.1f} min  {counts};  {processes}", flush=True)


async def edits(stage: Stage) -> None:
    """Edits the policy now and then, until it is cancelled."""
    while True:
        for old, new in EDITS:
            await asyncio.sleep(EDIT_S)
            stage.edit(old, new)


async def in_flight(session: aiohttp.ClientSession, stage: Stage) -> dict[str, int]:
    """What the picker and Envoy count as in flight now."""
    async with session.get(f"{stage.admin}/status") as answer:
        pools = (await answer.json())["pools"]
    async with session.get(f"{stage.envoy_admin}/stats?filter=rq_active$&format=json") as answer:
        stats = (await answer.json(content_type=None))["stats"]
    gauges = {one["name"]: int(one["value"]) for one in stats if "name" in one}
    envoy = sum(value for name, value in gauges.items() if not name.startswith(STAYING))
    ledger = sum(int(row["in_flight"]) for pool in pools.values() for row in pool["endpoints"])
    return {"picker": ledger, "envoy": envoy}


async def settled(session: aiohttp.ClientSession, stage: Stage) -> dict[str, int]:
    """The same once it is nothing, or as it is after a while."""
    until = time.monotonic() + SETTLE_S
    while True:
        found = await in_flight(session, stage)
        if not any(found.values()) or time.monotonic() > until:
            return found
        await asyncio.sleep(SAMPLE_S)


async def soak(duration_s: float, rate: int, seed: int, lost_share: float, logs: Path) -> tuple[dict[str, Any], bool]:
    """The report, and whether all bounds hold."""
    text = POLICY.read_text()
    policy = _policy(text)
    places = places_of(policy)
    steps = schedule(duration_s, seed, [place.address for place in places])
    drill = Drill(
        policy=str(POLICY),
        duration_s=duration_s,
        load=Load(rate=rate, leaving=10, prompt_tokens=300, prompts=2000),
        steps=steps,
    )
    tally = Tally()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        Stage(session, drill, policy, text, places, logs, bootstrap_template()) as stage,
    ):
        aside = [asyncio.create_task(tally.watch(stage)), asyncio.create_task(edits(stage))]
        try:
            models = tuple(model.name for model in policy.models)
            facts = await play(session, stage, drill, places, models, _say, tally.heard)
        finally:
            for task in aside:
                task.cancel()
            await asyncio.gather(*aside, return_exceptions=True)
        left = await settled(session, stage)
    findings = verdicts(tally.samples, Counts(**tally.counts), left, lost_share)
    findings += [Finding(f"step {name}", phase.note, holds=False) for name, phase in facts.phases.items() if phase.note]
    report = {
        "minutes": round(duration_s / 60, 2),
        "rate": rate,
        "seed": seed,
        "faults": len(facts.phases),
        **tally.counts,
        "errors": tally.errors,
        "bounds": [asdict(one) for one in findings],
    }
    return report, all(one.holds for one in findings)


def _policy(text: str) -> Policy:
    document = load(text, str(POLICY)).document
    assert document is not None
    return document.policy


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """0 when all bounds hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long (default %(default)g)")
    parser.add_argument("--rate", type=int, default=RATE, help="requests per second (default %(default)d)")
    parser.add_argument("--seed", type=int, default=SEED, help="of what breaks when (default %(default)d)")
    parser.add_argument("--lost-share", type=float, default=0.0, help="of all requests, may be lost (default none)")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="keep what the processes wrote there")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="kvpilot-soak-") as temporary:
        logs = args.logs or Path(temporary)
        logs.mkdir(parents=True, exist_ok=True)
        try:
            report, holds = asyncio.run(soak(args.minutes * 60, args.rate, args.seed, args.lost_share, logs))
        except (NotStartedError, NotReadyError, FaultError) as error:
            print(f"bench.soak: {error}", file=sys.stderr)
            return 1
    for one in report["bounds"]:
        print(f"{'ok' if one['holds'] else 'FAIL':<5} {one['name']}: {one['found']}")
    print(json.dumps(report))
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
