"""Endpoints are taken out of service and put back under load: nothing fails, whatever runs there."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.cli import main
from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from sim.engine import Profile
from sim.pod import Pod
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

STREAMING = Profile(prefill_tokens_per_s=100_000.0, step_base_ms=5.0, step_per_request_ms=0.02)
"""A stream of 60 tokens takes 0.3 s: some always run when somebody is drained."""

HELD = {"kind": "slow", "factor": 100}
"""A stream that was begun goes on at two tokens a second, until that is taken back."""


@dataclass(slots=True)
class Load:
    """Requests that never stop. Mutable: the answers so far."""

    running: Mesh
    workers: int
    tokens: int
    answers: list[Answer] = field(default_factory=list)

    async def work(self, worker: int, stop: asyncio.Event) -> None:
        """One client: streams and plain requests in turn."""
        number = worker
        while not stop.is_set():
            stream = number // self.workers % 2 == 0
            tokens = self.tokens if stream else 4
            self.answers.append(
                await self.running.chat("llama", text(number % 11, 40), stream=stream, max_tokens=tokens)
            )
            number += self.workers

    def failed(self) -> list[str]:
        """What went wrong with whom."""
        return [f"{answer.status} {answer.error}" for answer in self.answers if not answer.ok]

    async def grown(self, by: int) -> None:
        """Waits until `by` more requests have been answered."""
        goal = len(self.answers) + by
        await eventually(lambda: len(self.answers) >= goal, f"{by} more answers")


@asynccontextmanager
async def load(running: Mesh, workers: int = 12, tokens: int = 60) -> AsyncIterator[Load]:
    """From the entry of the block to its exit."""
    stop = asyncio.Event()
    made = Load(running, workers, tokens)
    tasks = [asyncio.create_task(made.work(worker, stop)) for worker in range(workers)]
    try:
        yield made
    finally:
        stop.set()
        await asyncio.gather(*tasks)


async def kvpilot(running: Mesh, *words: str) -> int:
    """A verb's exit status."""
    return await asyncio.to_thread(main, [*words, "--admin", running.kvpilot.admin])


async def drains(running: Mesh) -> dict[str, str]:
    """State by address."""
    return {row["address"]: row["state"] for row in (await running.kvpilot.get("/drains"))["drains"]}


async def known_to_envoy(running: Mesh, pool: str = "a") -> set[str]:
    """Addresses that Envoy has in its cluster of the pool."""
    lines = (await running.envoy_admin("/clusters")).splitlines()
    parts = [line.split("::") for line in lines if line.startswith(f"pool/{pool}::")]
    return {part[1] for part in parts if part[1][0].isdigit()}


async def rolled(tmp_path: Path, count: int, workers: int, strategy: str) -> None:
    """Every pod of a pool is drained, restarted and put back, one after the other; not one request fails."""
    async with quick_fleet(count, "llama", profile=STREAMING) as fleet:
        policy = PolicyText(pools={"a": list(fleet.addresses)}, models={"llama": "a"}, strategy=strategy)
        async with mesh(tmp_path, policy) as running, load(running, workers) as traffic:
            await traffic.grown(2 * workers)
            for pod in fleet:
                assert await kvpilot(running, "drain", f"a/{pod.address}") == 0
                assert pod.engine.unfinished == 0, "something still runs there"
                assert pod.address not in await known_to_envoy(running)
                await pod.stop()
                await traffic.grown(workers)
                await pod.start()
                assert await kvpilot(running, "undrain", f"a/{pod.address}") == 0
            await traffic.grown(2 * workers)

            async def all_back() -> bool:
                return await known_to_envoy(running) == set(fleet.addresses)

            await eventually(all_back, "Envoy to know all pods again")
        assert traffic.failed() == []
        served = Counter(answer.headers.get("x-kvpilot-pod", "") for answer in traffic.answers[-20 * workers :])
        assert len(served) > 1, served


async def test_rolling_restart(tmp_path: Path) -> None:
    """Eight pods; streams and plain requests all the time."""
    await rolled(tmp_path, 8, 12, "kv-aware")


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["kv-aware", "round-robin", "session", "least-request"])
async def test_rolling_restart_of_many(tmp_path: Path, strategy: str) -> None:
    """Sixteen pods, more clients, and strategies that do not look at load."""
    await rolled(tmp_path, 16, 32, strategy)


@asynccontextmanager
async def held_stream(running: Mesh, pods: Sequence[Pod]) -> AsyncIterator[tuple[Pod, "asyncio.Task[Answer]"]]:
    """A stream that runs, and where, from the entry of the block to its exit; then it may end."""
    stream = asyncio.create_task(running.chat("llama", "once upon a time", max_tokens=100))
    (pod,) = await eventually(lambda: [pod for pod in pods if pod.engine.unfinished], "the stream to run")
    await pod.set_fault(HELD)
    try:
        yield pod, stream
    finally:
        await pod.set_fault(None)
        await stream


async def restart(running: Mesh) -> None:
    """The sidecar ends and comes back, under the Envoy that serves on."""
    await running.kvpilot.signal(signal.SIGTERM)
    await running.kvpilot.start()
    await eventually(running.is_synced, "Envoy to be back")


async def test_a_stream_past_the_bound_and_a_restart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A drain outlives the sidecar, and what runs past its bound goes on, though its pod is out; then it comes back."""
    async with quick_fleet(2, "llama", profile=STREAMING) as fleet:
        policy = PolicyText(
            pools={"a": list(fleet.addresses)},
            models={"llama": "a"},
            strategy="round-robin",
            pool="trafficPolicy: {loadBalancer: {warmup: {duration: 1h, minimumPercent: 10}}}",
        )
        async with mesh(tmp_path, policy) as running:
            async with held_stream(running, fleet.pods) as (pod, stream):
                target, other = f"a/{pod.address}", next(each for each in fleet if each is not pod)
                assert await kvpilot(running, "drain", target, "--no-wait") == 0
                await restart(running)

                async def running_there() -> bool:
                    rows = (await running.kvpilot.get("/drains"))["drains"]
                    return [(row["state"], row["running"]) for row in rows] == [("draining", 1)]

                await eventually(running_there, "the stream of before the restart to be seen")
                assert await kvpilot(running, "drain", target, "--timeout", "0s") == 2
                assert "1 request runs there, and the time is over" in capsys.readouterr().out
                assert await known_to_envoy(running) == {other.address}
                assert not stream.done()
            assert (await stream).ok
            await eventually(is_drained_now(running, pod), "the end of what ran")
            answers = [await running.chat("llama", text(number, 20), max_tokens=1) for number in range(6)]
            assert {answer.headers.get("x-kvpilot-pod") for answer in answers} == {other.address}
            assert await kvpilot(running, "drain", f"a/{other.address}") == 1
            assert "nobody would be left to serve a" in capsys.readouterr().err

            assert await kvpilot(running, "undrain", target) == 0

            async def is_named() -> bool:
                return {each["health"] for each in await endpoints(running)} == {"healthy", "warming"}

            await eventually(is_named, "the pod to be back")
            answers = [await running.chat("llama", text(number, 20), max_tokens=1) for number in range(44)]
            served = Counter(answer.headers.get("x-kvpilot-pod") for answer in answers)
            # 10 % of its weight against 100 %: an eleventh of the requests, and one at once; half without slow start.
            assert 3 <= served[pod.address] <= 5
            assert served.total() == 44


def is_drained_now(running: Mesh, pod: Pod) -> Callable[[], Awaitable[bool]]:
    """Asks whether that pod alone is drained."""

    async def asked() -> bool:
        return await drains(running) == {pod.address: "drained"}

    return asked


async def endpoints(running: Mesh) -> list[dict[str, object]]:
    """The rows of the pool's endpoints."""
    rows: list[dict[str, object]] = (await running.kvpilot.get("/status"))["pools"]["a"]["endpoints"]
    return rows
