"""Three pods of different speed behind a real Envoy: their shares come to what they can serve, whoever measures it."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from control_plane.demo.conversations import text
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

POOL = """trafficPolicy: {outlierDetection: off, loadBalancer: {adaptiveWeights:
    {interval: 1s, maxStep: 50, halfLife: 5s}}}"""
SLOWER = (12, 6, 3)
"""How many times as long as `QUICK` the pods take: so that it is they who need the time, and not the test."""

AT_ONCE = 12
"""Requests in flight: a few for each pod, so that none is ever idle."""

ENOUGH = 150
"""Requests from which on shares are more than chance, however busy the machine is."""

PATIENCE_S = 30.0
"""It takes about six seconds."""


def weights(rows: list[dict[str, object]]) -> list[float]:
    """The weights in the order of the pods."""
    return [float(str(row["weight"])) for row in sorted(rows, key=lambda row: str(row["address"]))]


async def load(running: Mesh, served: Counter[str], numbers: "asyncio.Queue[int]") -> None:
    """One client after the other, until it is cancelled."""
    while True:
        number = await numbers.get()
        numbers.put_nowait(number + AT_ONCE)
        answer = await running.chat("llama", text(number, 20), stream=False, max_tokens=30)
        assert answer.ok, answer.error
        served[answer.headers.get("x-kvpilot-pod", "")] += 1


@pytest.mark.parametrize(
    ("source", "arguments"),
    [
        pytest.param("picker", (), id="picks"),
        pytest.param("envoy", ("--roles", "xds"), id="without-a-picker", marks=pytest.mark.long),
    ],
)
async def test_shares_follow_speeds(tmp_path: Path, source: str, arguments: tuple[str, ...]) -> None:
    """The slowest of three pods comes to less than half of the quickest one's requests: by the picker's own
    measurements for its strategy `weighted`, and by Envoy's reports alone for Envoy's own choices. A restart of kvpilot
    begins with them, in what Envoy is told, too."""
    async with quick_fleet(3, "llama") as fleet:
        addresses = sorted(fleet.addresses)
        for pod, factor in zip(sorted(fleet, key=lambda pod: pod.address), SLOWER, strict=True):
            await pod.set_fault({"kind": "slow", "factor": factor})
        policy = PolicyText(pools={"a": addresses}, models={"llama": "a"}, strategy="weighted", pool=POOL)
        async with mesh(tmp_path, policy, arguments=arguments) as running:
            served: Counter[str] = Counter()
            numbers: asyncio.Queue[int] = asyncio.Queue()
            for number in range(AT_ONCE):
                numbers.put_nowait(number)
            clients = [asyncio.create_task(load(running, served, numbers)) for _ in range(AT_ONCE)]
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while True:
                        await asyncio.sleep(0.1)
                        rows = (await running.kvpilot.get("/status"))["weights"]
                        found = weights(rows)
                        if len(found) == 3 and found[0] < 0.45 * found[2] and found[0] < found[1]:
                            break
                assert {row["source"] for row in rows} == {source}
                served.clear()
                await eventually(lambda: served.total() >= ENOUGH, "requests to be served", PATIENCE_S)
                assert served[addresses[0]] < 0.6 * served[addresses[2]], served
            finally:
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
            assert f'kvpilot_endpoint_weight{{endpoint="{addresses[0]}",pool="a"}}' in await running.kvpilot.text(
                "/metrics"
            )
            await running.kvpilot.stop()
            await running.kvpilot.start()
            restarted = weights((await running.kvpilot.get("/status"))["weights"])
            assert restarted[0] < 0.7 * restarted[2], restarted
            await eventually(running.is_synced, "Envoy to be back")
            told = await running.envoy_admin("/clusters")
            first, last = (int(told.split(f"{each}::weight::")[1].split()[0]) for each in (addresses[0], addresses[2]))
            assert first < 0.7 * last, (first, last)
