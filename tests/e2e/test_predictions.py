"""Engines that do not cache what was believed, behind a real Envoy: it is found out, told, and acted upon."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from control_plane.demo.conversations import text
from ext_proc.core.judge import WINDOW
from sim.fleet import SimFleet, pod_specs
from sim.profile import Profile
from tests.kit.fleet import QUICK
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

OFF = replace(QUICK, prefix_caching=False)
COARSE = QUICK.with_block_size(1_024)

SYSTEM = text(1, 800)
"""Less than one block of the coarse engine."""


def pod(model: str, port: int, profile: Profile) -> SimFleet:
    """One pod."""
    return SimFleet(pod_specs(1, models=(model,), base_port=port, profile=profile))


async def ask(running: Mesh, model: str, requests: int, stream: bool = False) -> None:
    """Questions behind one system prompt, four at a time."""
    lanes = asyncio.Semaphore(4)

    async def one(number: int) -> None:
        async with lanes:
            answer = await running.chat(model, f"{SYSTEM} {number}?", max_tokens=1, stream=stream)
            assert answer.ok

    await asyncio.gather(*map(one, range(requests)))


async def verdict(running: Mesh, pool: str, expected: str) -> dict[str, Any]:
    """What is known of a pool, once it is this."""

    async def known() -> Any:
        found = (await running.kvpilot.get("/status"))["pools"][pool]["prediction"]
        return found if found["verdict"] == expected else None

    found: dict[str, Any] = await eventually(known, f"predictions of {pool} to be {expected}")
    return found


async def test_predictions_are_held_against_what_engines_find(tmp_path: Path) -> None:
    """Caching that is off and blocks that are too large are found out by what answers tell; a pool that is as it was
    taken to be is left alone; and one whose caching is switched on is trusted again."""
    profiles = {"off": OFF, "coarse": COARSE, "fine": QUICK}
    ports = dict(zip(profiles, free_ports(len(profiles)), strict=True))
    pools = {name: [f"127.0.0.1:{port}"] for name, port in ports.items()}
    async with AsyncExitStack() as stack:
        fleets = {name: pod(name, ports[name], profile) for name, profile in profiles.items()}
        for fleet in fleets.values():
            await stack.enter_async_context(fleet)
        policy = PolicyText(pools=pools, models={name: name for name in pools})
        running = await stack.enter_async_context(mesh(tmp_path, policy))
        await asyncio.gather(*(ask(running, name, WINDOW + 2) for name in pools))

        for name in ("off", "coarse"):
            found = await verdict(running, name, "over")
            assert (found["trust"], found["found_share"]) == (0.0, 0.0)
            assert "prefix caching is off" in found["why"]
        assert (await verdict(running, "fine", "fine"))["trust"] == 1.0
        assert "predictions of pool off: over: " in running.kvpilot.log.read_text()
        metrics = await running.kvpilot.text("/metrics")
        for name, trust in (("off", 0.0), ("coarse", 0.0), ("fine", 1.0)):
            assert f'kvpilot_pool_prediction_trust{{pool="{name}"}} {trust}' in metrics
        assert 'kvpilot_model_bytes_per_token{model="fine"}' in metrics
        status = await running.kvpilot.get("/status")
        assert 0 < status["index"]["bytes"] < status["index"]["budget_bytes"]
        await ask(running, "off", 1)
        reason = (await running.kvpilot.get("/decisions?limit=1"))["decisions"][0]["reason"]
        assert reason.endswith("; what is believed cached counts 0%: engines do not find it")

        await fleets["off"].close()
        await stack.enter_async_context(pod("off", ports["off"], QUICK))
        await ask(running, "off", 2 * WINDOW)
        assert (await verdict(running, "off", "fine"))["trust"] == 1.0
        assert "cached tokens count in full again" in running.kvpilot.log.read_text()
