"""The whole control plane under constant change and constant load: not one request may fail.

Pools are added, edited, renamed and removed by edits of the policy, while the endpoints of another pool come and go
fifty times a second by its file of targets.
"""

import asyncio
import itertools
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.compile import AdsVariant
from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh

WORKERS = 2
"""Per model; each sends its next request when it has the answer to the last, and a pause later."""

PAUSE_S = 0.02

TURN_S = 0.8
"""Between two versions of the file: it is read every 250 ms, and must be read the same twice."""

COMING_AND_GOING = 20
"""Endpoints that replace as many others each turn: 40 changes in 0.8 s are 50 a second."""

STAGES = (
    # Pool added, edited (an endpoint and a timeout more), renamed, removed again.
    ("pools: {first: {POOL, endpoints: [{address: ONE}]}, CHURN}", "first"),
    (
        "pools: {first: {POOL, endpoints: [{address: ONE}]}, second: {POOL, endpoints: [{address: TWO}]}, CHURN}",
        "second",
    ),
    (
        "pools: {second: {POOL, timeouts: {firstByte: 9s}, endpoints: [{address: TWO}, {address: ONE}]}, CHURN}",
        "second",
    ),
    (
        "pools: {renamed: {POOL, timeouts: {firstByte: 9s}, endpoints: [{address: TWO}, {address: ONE}]}, CHURN}",
        "renamed",
    ),
)


def policy(stage: int, one: str, two: str) -> str:
    """The policy at a stage: model `qwen` by the pools that change, `llama` by the pool of the file."""
    pools, pool = STAGES[stage % len(STAGES)]
    pools = pools.replace("CHURN", "listed: {POOL, endpoints: [{file: targets.json}]}")
    pools = pools.replace("POOL", "engine: vllm, picker: {strategy: round-robin}")
    return f"""\
kvpilot: v1
listeners: [{{name: openai, address: LISTEN}}]
safety: {{maxRemovedPercent: 100}}
models:
  - {{name: llama, pool: listed}}
  - {{name: qwen, pool: {pool}}}
{pools.replace("ONE", one).replace("TWO", two)}
"""


def write_targets(path: Path, addresses: list[str]) -> None:
    """Replaces the file of targets at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps([{"targets": addresses}]))
    os.replace(new, path)


@asynccontextmanager
async def load(running: Mesh, answers: list[Answer]) -> AsyncIterator[None]:
    """Requests to both models, from the entry of the block to its exit."""
    stop = asyncio.Event()

    async def work(worker: int, model: str) -> None:
        number = worker
        while not stop.is_set():
            answers.append(await running.chat(model, text(number, 40), stream=number % 2 == 0, max_tokens=4))
            number += WORKERS
            await asyncio.sleep(PAUSE_S)

    workers = [asyncio.create_task(work(worker, model)) for worker in range(WORKERS) for model in ("llama", "qwen")]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*workers)


async def churn(path: Path, stays: str, shifts: list[list[str]]) -> None:
    """Replaces one shift of endpoints by the other until cancelled."""
    for shift in itertools.cycle(shifts):
        write_targets(path, [stays, *shift])
        await asyncio.sleep(TURN_S)


async def test_ten_seconds(tmp_path: Path) -> None:
    """In delta; the other variant and the longer run are below."""
    await changed_under_load(tmp_path, "delta", 10.0)


@pytest.mark.long
@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_a_minute(tmp_path: Path, ads: AdsVariant) -> None:
    """The same for longer, in both variants."""
    await changed_under_load(tmp_path, ads, 60.0)


async def test_five_seconds_in_state_of_the_world(tmp_path: Path) -> None:
    """All clusters in each response, all the same nothing breaks."""
    await changed_under_load(tmp_path, "sotw", 5.0)


async def changed_under_load(tmp_path: Path, ads: AdsVariant, seconds: float) -> None:
    """Everything changes for so long, under load; every request succeeds, and the changes were real."""
    async with quick_fleet(3 + 2 * COMING_AND_GOING) as fleet:
        one, two, stays, *others = fleet.addresses
        shifts = [others[:COMING_AND_GOING], others[COMING_AND_GOING:]]
        targets = tmp_path / "targets.json"
        write_targets(targets, [stays, *shifts[0]])
        text_of = PolicyText(text=policy(0, one, two))
        async with mesh(tmp_path, text_of, ads=ads) as running:
            answers: list[Answer] = []
            updates = "cluster.pool/listed.*(update_success|membership_change)"
            before = await running.stats(updates)
            async with load(running, answers):
                changing = asyncio.create_task(churn(targets, stays, shifts[::-1]))
                loop, stage = asyncio.get_running_loop(), 0
                end = loop.time() + seconds
                while loop.time() < end or stage < len(STAGES):
                    stage += 1
                    text_of.text = policy(stage, one, two)
                    await running.edit()
                    await asyncio.sleep(0.5)
                changing.cancel()
                await asyncio.gather(changing, return_exceptions=True)
            assert [answer.error for answer in answers if not answer.ok] == []
            turned = Counter(await running.stats(updates))
            turned.subtract(before)
            changes = sum(count for name, count in turned.items() if name.endswith("membership_change"))
            assert changes >= seconds / TURN_S / 2, f"{dict(turned)}: the endpoints did not change"
            # Several pods of each shift have really served.
            served = [pod for pod in others if pod in await addresses_served(running)]
            assert set(served) & set(shifts[0])
            assert set(served) & set(shifts[1])


async def addresses_served(running: Mesh) -> set[str]:
    """Those that the latest decisions named."""
    decisions = (await running.kvpilot.get("/decisions?limit=500"))["decisions"]
    return {decision["endpoints"][0] for decision in decisions if decision["endpoints"]}
