"""The picker or the whole sidecar is gone: Envoy carries on with what was pushed."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.compile import AdsVariant
from control_plane.demo.conversations import text
from control_plane.openai_client import Answer
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh
from tests.kit.waiting import eventually


@asynccontextmanager
async def load(running: Mesh, answers: list[tuple[str, Answer]]) -> AsyncIterator[None]:
    """Requests to both models, six in flight, from the entry of the block to its exit."""
    stop = asyncio.Event()

    async def work(worker: int) -> None:
        number = worker
        while not stop.is_set():
            model = ("llama", "qwen")[number % 2]
            answers.append((model, await running.chat(model, text(number, 40), stream=number % 4 < 2, max_tokens=4)))
            number += 6

    workers = [asyncio.create_task(work(worker)) for worker in range(6)]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*workers)


async def grown(answers: list[tuple[str, Answer]], by: int) -> None:
    """Waits until `by` more requests have been answered."""
    goal = len(answers) + by

    async def enough() -> bool:
        return len(answers) >= goal

    await eventually(enough, f"{by} more answers")


@pytest.mark.parametrize("mode", MODES)
async def test_a_killed_picker_costs_no_request(tmp_path: Path, mode: str) -> None:
    """SIGKILL under load: every request succeeds in its own pool; after a restart there are picks again."""
    async with quick_fleet(2, "llama") as llama, quick_fleet(2, "qwen") as qwen:
        policy = PolicyText(
            pools={"a": llama.addresses, "b": qwen.addresses}, models={"llama": "a", "qwen": "b"}, mode=mode
        )
        async with mesh(tmp_path, policy) as running:
            answers: list[tuple[str, Answer]] = []
            async with load(running, answers):
                await grown(answers, 20)
                assert await running.kvpilot.signal(signal.SIGKILL) == -signal.SIGKILL
                killed_at = len(answers)
                await grown(answers, 60)
                unpicked = [answer for _, answer in answers[killed_at + 6 :]]
                await running.kvpilot.start()
                await eventually(running.is_synced, "Envoy to be back at its control plane")

                async def picks() -> bool:
                    return bool(answers[-1][1].decision)

                await eventually(picks, "a pick after the restart")
                await grown(answers, 20)
            # A pool serves only its own model (a wrong one would be a 404), so "all OK" says: each to its own pool.
            assert [answer.error for _, answer in answers if not answer.ok] == []
            assert any(not answer.decision for answer in unpicked), "Envoy served on its own while the picker was gone"


async def test_a_hung_pod_is_left_without_the_picker(tmp_path: Path) -> None:
    """The policy's first-byte limit of streams holds for requests that nobody picked for, too."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(
            pools={"chat": fleet.addresses},
            models={"llama": "chat"},
            pool="timeouts: {firstByte: 1s, request: 20s}",  # the other pod has to answer within it
        )
        async with mesh(tmp_path, policy) as running:
            assert await running.kvpilot.signal(signal.SIGKILL) == -signal.SIGKILL
            await fleet["pod-0"].set_fault({"kind": "hang"})
            # Envoy's own policy takes either pod by chance: that all of them were lucky has one chance in 60,000.
            answers = await asyncio.gather(*(running.chat("llama", text(number, 50)) for number in range(16)))
            assert [answer.error for answer in answers if not answer.ok] == []
            assert not any(answer.decision for answer in answers)
            stats = await running.stats(r"cluster\.pool/chat\.upstream_rq_per_try_timeout$")
            assert stats["cluster.pool/chat.upstream_rq_per_try_timeout"] > 0


async def acked(running: Mesh) -> dict[str, str]:
    """Type → version that Envoy has ACKed, as the control plane knows it."""
    envoys = (await running.kvpilot.get("/status"))["envoys"]
    return {name: kind["version_acked"] for envoy in envoys for name, kind in envoy["types"].items()}


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_a_restarted_control_plane_pushes_nothing_again(tmp_path: Path, ads: AdsVariant) -> None:
    """Envoy keeps serving without it, and afterwards holds the same versions without having updated anything."""
    async with quick_fleet(2) as fleet:
        policy = PolicyText(pools={"chat": fleet.addresses}, models={"llama": "chat"})
        async with mesh(tmp_path, policy, ads=ads) as running:
            await eventually(running.is_synced, "the first synchronisation")
            counted = r"(cds|lds|rds.*|cluster\.pool/chat)\.(update_success|config_reload|membership_change)$"
            before = await running.stats(counted)
            held = await acked(running)
            assert await running.kvpilot.signal(signal.SIGTERM) == 0
            answer = await running.chat("llama", "hello")
            assert answer.ok
            assert not answer.decision
            await running.kvpilot.start()

            async def holds_the_same() -> bool:
                return await acked(running) == held

            await eventually(holds_the_same, f"Envoy to be back with {held}")
            (envoy,) = (await running.kvpilot.get("/status"))["envoys"]
            assert {name: kind["pushes"] for name, kind in envoy["types"].items()} == dict.fromkeys(held, 0)
            assert await running.stats(counted) == before

            async def picks() -> str:
                return (await running.chat("llama", "hello")).decision

            await eventually(picks, "Envoy's health check to find the picker again")
