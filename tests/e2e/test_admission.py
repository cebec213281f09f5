"""Requests that wait for a place: Envoy is patient with the picker, which lets them in by priority, or refuses them."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from control_plane.openai_client import Answer
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

POLICY = """\
kvpilot: v1
listeners: [{{name: openai, address: LISTEN, picker: {{mode: {mode}, explain: always}}}}]
models: [{{name: llama, pool: a}}]
pools:
  a:
    endpoints: [{{address: {address}}}]
    picker:
      admission: {{maxInFlight: 1, maxWaiting: 4, priorities: [{{name: high}}, {{name: low}}], defaultPriority: low}}
"""

LONG = 50_000
"""Tokens that no test waits for."""


@asynccontextmanager
async def busy(directory: Path, mode: str = "one-message") -> AsyncIterator[tuple[Mesh, "asyncio.Task[Answer]"]]:
    """One pod with one place, and who has it until its task is cancelled."""
    async with quick_fleet(1, "llama") as fleet:
        policy = PolicyText(text=POLICY.format(mode=mode, address=fleet.addresses[0]))
        async with mesh(directory, policy) as running:
            first = Answer()
            holder = asyncio.create_task(running.chat("llama", "hold", max_tokens=LONG, into=first))
            try:
                await eventually(lambda: first.ttft_ms, "the place to be taken")
                yield running, holder
            finally:
                holder.cancel()
                await asyncio.gather(holder, return_exceptions=True)


async def door(running: Mesh) -> Any:
    """What the status says of the pool's admission."""
    return (await running.kvpilot.get("/status"))["pools"]["a"]["admission"]


async def waiting(running: Mesh, number: int) -> None:
    """Waits until so many wait."""

    async def reached() -> bool:
        return bool(sum((await door(running))["waiting"].values()) == number)

    await eventually(reached, f"{number} to wait")


@pytest.mark.parametrize("mode", MODES)
async def test_the_queue_drains_by_priority(tmp_path: Path, mode: str) -> None:
    """A full queue refuses with 429 and pushes out its lowest; who gives up is gone; the others go in in order."""
    order: list[str] = []

    async with busy(tmp_path, mode) as (running, holder):

        async def send(name: str, priority: str) -> Answer:
            answer = await running.chat("llama", name, max_tokens=4, headers={"x-priority": priority})
            order.append(name)
            return answer

        tasks = {}
        for number, (name, priority) in enumerate([("a", ""), ("b", "low"), ("c", "low"), ("d", "high")], 1):
            tasks[name] = asyncio.create_task(send(name, priority))
            await waiting(running, number)
        body = {"model": "llama", "prompt": "one too many"}
        async with running.session.post(f"{running.url}/v1/completions", json=body) as refused:
            assert (refused.status, refused.content_type) == (429, "application/json")
            assert 1 <= int(refused.headers["retry-after"]) <= 60
            assert (await refused.json())["error"]["code"] == "pool_saturated"
        tasks["e"] = asyncio.create_task(send("e", "high"))
        pushed_out = await tasks.pop("c")
        assert pushed_out.status == 429
        tasks["b"].cancel()
        await waiting(running, 3)
        holder.cancel()
        answers = await asyncio.gather(*(task for name, task in tasks.items() if name != "b"))
        assert order == ["c", "d", "e", "a"]
        assert all(answer.ok and answer.decision for answer in answers), answers
        found = await door(running)
        assert (found["left"], found["rejected"]) == (1, {"full": 2, "expired": 0, "no-wait": 0})
        stats = await running.stats("ext_proc.*(override_message_timeout|message_timeouts|failure_mode_allowed)")
        assert {name.rpartition(".")[2]: value for name, value in stats.items()} == {
            "override_message_timeout_received": 5
        }
        record = await running.decision(answers[0].decision)
        assert "for a place" in record["reason"]
        metrics = await running.kvpilot.text("/metrics")
        assert 'kvpilot_admission_rejected_total{pool="a",reason="full"} 2.0' in metrics
        assert "kvpilot_admission_wait_seconds_count 3.0" in metrics


async def test_a_wait_has_an_end(tmp_path: Path) -> None:
    """It may be longer than Envoy waits for a pick, and ends when the client said; the pod keeps working."""
    async with busy(tmp_path) as (running, holder):
        answer = await running.chat("llama", "soon", headers={"x-max-wait-ms": "700"})
        assert answer.status == 429
        assert 700 <= answer.total_ms < 5_000
        refused = await running.chat("llama", "now", headers={"x-max-wait-ms": "0"})
        assert refused.status == 429
        assert (await door(running))["rejected"] == {"full": 0, "expired": 1, "no-wait": 1}
        assert not holder.done()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
async def test_the_picker_goes_while_requests_wait(tmp_path: Path, how: signal.Signals) -> None:
    """They are all served, by Envoy's own choice, without waiting for their deadlines."""
    async with busy(tmp_path) as (running, _):
        tasks = [asyncio.create_task(running.chat("llama", f"{n}", max_tokens=4)) for n in range(4)]
        await waiting(running, 4)
        await running.kvpilot.signal(how)
        answers = await asyncio.wait_for(asyncio.gather(*tasks), 10.0)
        assert [answer.error for answer in answers if not answer.ok] == []
        assert {answer.decision for answer in answers} == {""}
