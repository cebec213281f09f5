"""Locality failover with picks: requests stay in the zone while it has pods, and come back when it has them again.

All at once; `test_zones.py` has the way back step by step.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from sim.fleet import SimFleet, pod_specs
from tests.kit.fleet import QUICK
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

FAILOVER = (
    "trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: za, to: zb}], shift: off}}}"
)


@dataclass(slots=True)
class ZonedPolicy(PolicyText):
    """A policy whose endpoints say their zone."""

    zones: dict[str, str] = field(default_factory=dict)
    """Address → zone."""

    def render(self) -> str:
        """The YAML."""
        rendered = PolicyText.render(self)
        for address, zone in self.zones.items():
            rendered = rendered.replace(f"address: {address},", f"address: {address}, zone: {zone},")
        return rendered


async def ask(running: Mesh, number: int) -> Answer:
    """One request with a prompt of its own; every second one is a stream. It must not fail."""
    answer = await running.chat("llama", text(number, 50), stream=number % 2 == 0)
    assert answer.ok, answer.error
    return answer


async def served(running: Mesh, numbers: Iterator[int], count: int) -> set[str]:
    """Who served `count` requests that came one after another."""
    answers = [await ask(running, next(numbers)) for _ in range(count)]
    decisions = [await running.decision(answer.decision) for answer in answers]
    return {decision["outcome"]["served"] for decision in decisions}


@pytest.mark.parametrize("strategy", ["kv-aware", "round-robin"])
async def test_a_zone_that_dies_and_comes_back(tmp_path: Path, strategy: str) -> None:
    """All requests in the near zone; it dies, all in the other zone without an error; it is back, all in it again."""
    async with SimFleet(pod_specs(4, models=("llama",), zones=("za", "zb"), profile=QUICK)) as fleet:
        near = [pod for pod in fleet if pod.spec.zone == "za"]
        near_addresses = {pod.address for pod in near}
        far_addresses = set(fleet.addresses) - near_addresses
        policy = ZonedPolicy(
            pools={"chat": fleet.addresses},
            models={"llama": "chat"},
            strategy=strategy,
            pool=FAILOVER,
            zones={pod.address: pod.spec.zone for pod in fleet},
        )
        async with mesh(tmp_path, policy, zone="za") as running:
            numbers = itertools.count()
            assert await served(running, numbers, 12) == near_addresses

            for pod in near:
                await pod.stop()
            assert await served(running, numbers, 12) == far_addresses

            for pod in near:
                await pod.start()

            async def is_home() -> bool:
                await ask(running, next(numbers))
                endpoints = (await running.kvpilot.get("/status"))["pools"]["chat"]["endpoints"]
                return {each["health"] for each in endpoints if each["address"] in near_addresses} == {"healthy"}

            await eventually(is_home, "requests to find that the zone is back", timeout_s=45.0)
            assert await served(running, numbers, 12) == near_addresses
