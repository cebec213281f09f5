"""Who the picker found broken is avoided by Envoy too, also when there is no picker any more; and comes back."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

from control_plane.demo.conversations import text
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

QUICK = (
    "health: {probe: {interval: 200ms}, mirror: {after: 500ms, clearAfter: 500ms}}, "
    "trafficPolicy: {outlierDetection: off}"
)
"""Envoy's own ejections are off: what is seen here is the mirror."""


async def avoided(running: Mesh, flag: str = "failed_eds_health") -> set[str]:
    """Addresses that have this flag in Envoy: by default those that EDS says are unhealthy."""
    lines = (await running.envoy_admin("/clusters")).splitlines()
    parts = [line.split("::") for line in lines if "health_flags::" in line and f"/{flag}" in line]
    return {part[1] for part in parts}


async def becomes(running: Mesh, *addresses: str, flag: str = "failed_eds_health") -> None:
    """Waits until exactly these have the flag."""

    async def so() -> bool:
        return await avoided(running, flag) == set(addresses)

    await eventually(so, f"{flag} of {addresses}")


async def test_without_a_picker_envoy_avoids_whom_it_had_ejected(tmp_path: Path) -> None:
    """A pod answers 500 at once: ejected, mirrored, and not used by Envoy's own choices while kvpilot is gone. When
    kvpilot is back and the pod is well again, it serves as before."""
    async with quick_fleet(4, "llama") as fleet:
        policy = PolicyText(pools={"a": fleet.addresses}, models={"llama": "a"}, strategy="round-robin", pool=QUICK)
        async with mesh(tmp_path, policy) as running:
            broken = fleet["pod-0"]
            await broken.set_fault({"kind": "status", "code": 500})
            number = 0

            async def told() -> bool:
                nonlocal number
                number += 1
                await running.chat("llama", text(number, 30), stream=False, max_tokens=2)
                return await avoided(running) == {broken.address}

            await eventually(told, "Envoy to avoid the pod")
            (row,) = (await running.kvpilot.get("/status"))["mirrored"]
            assert row == {"pool": "a", "address": broken.address, "state": "unhealthy"}

            await running.kvpilot.signal(signal.SIGKILL)
            asked = (running.chat("llama", text(number, 30), stream=False, max_tokens=2) for number in range(40))
            answers = await asyncio.gather(*asked)
            assert [answer.error for answer in answers if not answer.ok] == []
            assert any(not answer.decision for answer in answers), "these were Envoy's own choices"
            served = Counter(answer.headers.get("x-kvpilot-pod", "") for answer in answers)
            assert len(served) == 3, served
            assert await avoided(running) == {broken.address}

            await broken.set_fault(None)
            await running.kvpilot.start()

            await becomes(running)


async def test_who_gets_no_requests_is_judged_by_probes(tmp_path: Path) -> None:
    """Not one request is sent: a pod that ends is avoided by Envoy, and used again when it is back; one whose metrics
    cannot be read any more is degraded in Envoy as well."""
    async with quick_fleet(4, "llama") as fleet:
        policy = PolicyText(pools={"a": fleet.addresses}, models={"llama": "a"}, pool=QUICK)
        async with mesh(tmp_path, policy) as running:
            await fleet["pod-1"].set_fault({"kind": "fail_scrape"})
            await fleet["pod-2"].stop()
            await becomes(running, fleet["pod-2"].address)
            await becomes(running, fleet["pod-1"].address, flag="degraded_eds_health")
            rows = (await running.kvpilot.get("/status"))["pools"]["a"]["endpoints"]
            states = [row["health"] for row in rows]
            # Its probes are refused, and then the request for one token by which that is made sure, too.
            assert states[2] in ("unhealthy", "ejected")
            assert [*states[:2], states[3]] == ["healthy", "degraded", "healthy"]
            assert "cannot connect" in rows[2]["why"]
            answer = await running.chat("llama", text(1, 30), stream=False, max_tokens=2)
            decision = await running.decision(answer.decision)
            assert {one["address"] for one in decision["left_out"]} == {fleet["pod-1"].address, fleet["pod-2"].address}
            await fleet["pod-1"].set_fault(None)
            await fleet["pod-2"].start()
            await becomes(running)
            await becomes(running, flag="degraded_eds_health")


async def test_a_failed_gpu(tmp_path: Path) -> None:
    """A pod's GPU falls off the bus, as its exporter tells, while the pod serves on: it gets nothing more, from picks
    and from Envoy, and `/status` says why; when the exporter tells of no error any more it serves as before."""
    async with quick_fleet(4, "llama") as fleet:
        hardware = (
            "gpu: {url: 'http://{host}:{port}/gpu-metrics', interval: 200ms}, mirror: {after: 0s, clearAfter: 0s}"
        )
        policy = PolicyText(
            pools={"a": fleet.addresses},
            models={"llama": "a"},
            strategy="round-robin",
            pool=f"health: {{{hardware}}}, trafficPolicy: {{outlierDetection: off}}",
        )
        async with mesh(tmp_path, policy) as running:
            broken = fleet["pod-2"]

            async def row() -> Any:
                rows = (await running.kvpilot.get("/status"))["pools"]["a"]["endpoints"]
                return next(row for row in rows if row["address"] == broken.address)

            async def is_well() -> bool:
                return "gpus" in await row() and (await row())["health"] == "healthy"

            await eventually(is_well, "the GPU to be looked at")
            await broken.set_fault({"kind": "gpu", "xid": 79})
            await becomes(running, broken.address)
            found = await row()
            assert (found["health"], found["why"]) == ("unhealthy", "GPU GPU-pod-2 has error XID 79")
            answers = [await running.chat("llama", text(n, 30), stream=False, max_tokens=2) for n in range(12)]
            assert [answer.error for answer in answers if not answer.ok] == []
            assert broken.address not in {answer.headers.get("x-kvpilot-pod") for answer in answers}
            assert "kvpilot_gpu_reads_total" in await running.kvpilot.text("/metrics")
            await broken.set_fault(None)
            await becomes(running)
            await eventually(is_well, "the GPU to be well again")
