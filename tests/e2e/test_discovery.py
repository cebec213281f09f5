"""Pools that are discovered: by host name, by SRV records and from a file; scaled up and down under load."""

import asyncio
import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from sim.fleet import SimFleet
from sim.pod import PodSpec
from tests.kit.fleet import QUICK, quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.name_server import Zone, name_server
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

WORKERS = 2
MODELS = {"by-name": "named", "by-service": "served", "by-file": "listed"}
"""Model → its pool."""

POLICY = """\
kvpilot: v1
listeners: [{name: openai, address: LISTEN, picker: {explain: always}}]
models:
  - {name: by-name, pool: named}
  - {name: by-service, pool: served}
  - {name: by-file, pool: listed}
pools:
  named: {picker: {strategy: round-robin}, endpoints: [{dns: "pods.test:PORT"}]}
  served: {picker: {strategy: round-robin}, endpoints: [{dnsSrv: _http._tcp.pods.test}]}
  listed: {picker: {strategy: round-robin}, endpoints: [{file: targets.json}]}
"""


def write_targets(path: Path, addresses: list[str]) -> None:
    """Replaces the file of targets at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps([{"targets": addresses, "labels": {"zone": "a"}}]))
    os.replace(new, path)


def records(port: int, hosts: list[str], served: list[str]) -> dict[tuple[str, str], list[str]]:
    """A zone: `pods.test` has `hosts`, and the service is at `served`."""
    ports = [address.rpartition(":")[2] for address in served]
    return {
        ("pods.test", "A"): hosts,
        ("_http._tcp.pods.test", "SRV"): [f"0 100 {each} local.test." for each in ports],
        ("local.test", "A"): ["127.0.0.1"],
    }


@asynccontextmanager
async def load(running: Mesh, answers: list[tuple[str, Answer]]) -> AsyncIterator[None]:
    """Requests to all models, from the entry of the block to its exit."""
    stop = asyncio.Event()

    async def work(worker: int, model: str) -> None:
        number = worker
        while not stop.is_set():
            answers.append((model, await running.chat(model, text(number, 20), stream=number % 2 == 0, max_tokens=3)))
            number += WORKERS

    tasks = [asyncio.create_task(work(worker, model)) for worker in range(WORKERS) for model in MODELS]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def served_by(running: Mesh, answers: list[tuple[str, Answer]], expected: dict[str, set[str]]) -> None:
    """Waits until the pods that serve each model are exactly the expected ones."""

    async def is_so() -> bool:
        mark = len(answers)
        while len(answers) < mark + 8 * len(MODELS):
            await asyncio.sleep(0.005)
        seen: dict[str, Counter[str]] = {model: Counter() for model in MODELS}
        for model, answer in answers[mark:]:
            seen[model][answer.headers.get("x-kvpilot-pod", "")] += 1
        return {model: set(counter) for model, counter in seen.items()} == expected

    await eventually(is_so, f"picks of {expected}")


async def test_scaling_by_zone_and_file_under_load(tmp_path: Path) -> None:
    """Pods come and go in the zone and in the file: picks follow, a broken source changes nothing, nothing fails."""
    (port,) = free_ports(1)
    specs = [
        PodSpec(name=f"named-{number}", models=("by-name",), profile=QUICK, host=f"127.0.0.{number}", port=port)
        for number in (1, 2)
    ]
    zone = Zone(ttl_s=1)
    targets = tmp_path / "targets.json"
    async with (
        SimFleet(specs) as named,
        quick_fleet(2, "by-service") as served,
        quick_fleet(2, "by-file") as listed,
        name_server(zone) as server,
    ):
        zone.records = records(port, ["127.0.0.1"], served.addresses[:1])
        write_targets(targets, listed.addresses[:1])
        policy = PolicyText(text=POLICY.replace("PORT", str(port)))
        async with mesh(tmp_path, policy, arguments=("--dns", str(server))) as running:
            answers: list[tuple[str, Answer]] = []
            pods = {"by-name": named.addresses, "by-service": served.addresses, "by-file": listed.addresses}
            one = {model: {addresses[0]} for model, addresses in pods.items()}
            other = {model: {addresses[1]} for model, addresses in pods.items()}
            async with load(running, answers):
                await served_by(running, answers, one)

                zone.records = records(port, ["127.0.0.1", "127.0.0.2"], served.addresses)
                write_targets(targets, listed.addresses)
                await served_by(running, answers, {model: one[model] | other[model] for model in MODELS})

                zone.records = records(port, ["127.0.0.2"], served.addresses[1:])
                write_targets(targets, listed.addresses[1:])
                await served_by(running, answers, other)

                zone.records = {}
                targets.write_text("- targets: [nowhere]\n")

                async def is_stale() -> bool:
                    sources = (await running.kvpilot.get("/status"))["sources"]
                    return all(source["state"] == "stale" for source in sources)

                await eventually(is_stale, "failures to be seen")
                await served_by(running, answers, other)
                told = {source["pool"]: source["error"] for source in (await running.kvpilot.get("/status"))["sources"]}
                assert "no such name" in told["named"]
                assert "targets.json:1:13: `nowhere`" in told["listed"]
            assert [(model, answer.error) for model, answer in answers if not answer.ok] == []
