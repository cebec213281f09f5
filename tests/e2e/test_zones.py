"""Requests move between zones: at once from a dark one, step by step back, for picks and for Envoy's own choices."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

from control_plane.demo.conversations import text
from sim.fleet import SimFleet, pod_specs
from tests.e2e.test_locality import ZonedPolicy, served
from tests.kit.fleet import QUICK
from tests.kit.mesh import Mesh, mesh
from tests.kit.waiting import eventually


def pool(every: str) -> str:
    """Half of the requests each time, after they were ready for a second; probes find out soon who is there."""
    shift = f"{{step: 50, every: {every}, stableFor: 1s, offlineAfter: 0s}}"
    setting = f"{{enabled: true, failover: [{{from: za, to: zb}}], shift: {shift}}}"
    return f"health: {{probe: {{interval: 200ms}}}}, trafficPolicy: {{loadBalancer: {{localityLbSetting: {setting}}}}}"


async def zone(running: Mesh, name: str) -> Any:
    """Its row in the status."""
    rows = (await running.kvpilot.get("/status"))["zones"]
    assert {(row["pool"], row["from"]) for row in rows} == {("chat", "za")}
    return next(row for row in rows if row["place"] == name)


async def has_share(running: Mesh, name: str, share: int) -> None:
    """Waits until it has so many percent of the requests."""

    async def so() -> bool:
        return bool((await zone(running, name))["share"] == share)

    await eventually(so, f"{name} to have {share} %", timeout_s=30.0)


async def in_envoy(running: Mesh, addresses: set[str]) -> tuple[set[str], int]:
    """Priorities of these endpoints in Envoy, and the sum of their weights."""
    lines = [line.split("::") for line in (await running.envoy_admin("/clusters")).splitlines()]
    values = [(parts[2], parts[3]) for parts in lines if len(parts) == 4 and parts[1] in addresses]
    return {value for key, value in values if key == "priority"}, sum(int(v) for key, v in values if key == "weight")


async def test_a_zone_goes_dark_and_gets_its_requests_back_step_by_step(tmp_path: Path) -> None:
    """No request fails; Envoy follows; a session stays where it is while shares do, also over an edit in between."""
    async with SimFleet(pod_specs(4, models=("llama",), zones=("za", "zb"), profile=QUICK)) as fleet:
        near_pods = [pod for pod in fleet if pod.spec.zone == "za"]
        near = {pod.address for pod in near_pods}
        far = set(fleet.addresses) - near
        policy = ZonedPolicy(
            pools={"chat": fleet.addresses},
            models={"llama": "chat"},
            pool=pool("4s"),  # the edit below must come between two steps
            zones={pod.address: pod.spec.zone for pod in fleet},
        )
        async with mesh(tmp_path, policy, zone="za") as running:
            numbers = itertools.count()
            assert await served(running, numbers, 8) == near
            assert (await zone(running, "za"))["state"] == "active"

            for pod in near_pods:
                await pod.stop()
            assert await served(running, numbers, 8) == far
            await has_share(running, "zb", 100)
            assert (await zone(running, "za"))["state"] == "offline"

            async def is_behind() -> bool:
                return await in_envoy(running, near) == ({"1"}, 200) and (await in_envoy(running, far))[0] == {"0"}

            await eventually(is_behind, "Envoy to prefer the other zone")

            for pod in near_pods:
                await pod.start()
            await has_share(running, "za", 50)
            policy.pool = pool("10m")
            await running.edit()
            row = await zone(running, "za")
            assert (row["state"], row["share"]) == ("failover", 50)

            async def is_shared() -> bool:
                return await in_envoy(running, near) == await in_envoy(running, far) == ({"0"}, 500_000)

            await eventually(is_shared, "Envoy to share alike")
            homes: dict[int, set[str]] = {}
            for session, turn in itertools.product(range(12), range(2)):
                headers = {"x-session-id": f"s{session}"}
                answer = await running.chat("llama", text(next(numbers), 20), headers=headers)
                assert answer.ok, answer.error
                decision = await running.decision(answer.decision)
                is_near = decision["outcome"]["served"] in near
                homes.setdefault(session, set()).add("za" if is_near else "zb")
                assert ("failover from za" in decision["reason"]) != is_near, (turn, decision["reason"])
            assert all(len(zones) == 1 for zones in homes.values())
            assert 2 <= Counter(zones.pop() for zones in homes.values())["za"] <= 10

            policy.pool = pool("500ms")
            await running.edit()
            await has_share(running, "za", 100)
            assert (await zone(running, "za"))["state"] == "active"
            assert await served(running, numbers, 8) == near
