"""What takes too long for every commit: `make test-long`."""

import asyncio
import os
import signal
from pathlib import Path

import aiohttp
import pytest

from control_plane.openai_client import Answer
from sim.profile import Profile
from tests.e2e.test_clients import simple
from tests.e2e.test_mixed_load import mixed_policy, send_mixed
from tests.e2e.test_picker_gone import grown, load
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, PolicyText, mesh
from tests.kit.waiting import eventually

pytestmark = pytest.mark.long

QUIET_S = 58.0
"""Envoy's own patience with a gRPC client that nobody asks for is 50 s, looked at every few seconds."""

LEISURELY = Profile(prefill_tokens_per_s=100_000.0, step_base_ms=100.0)
"""Ten tokens a second."""


def rss_kib(pid: int) -> int:
    """Resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("mode", MODES)
async def test_ten_thousand_requests_leave_nothing_behind(tmp_path: Path, mode: str) -> None:
    """All are answered, no reservation stays, and the second half does not need much more memory than the first."""
    async with quick_fleet(4) as fleet, mesh(tmp_path, mixed_policy(fleet.addresses, mode)) as running:
        for half in range(2):
            answers = await send_mixed(running, 5000)
            assert [answer.error for answer in answers if not answer.ok] == []
            used = rss_kib(running.kvpilot.pid)
            if half == 0:
                before = used
        assert used < before * 1.25

        async def all_released() -> bool:
            return not any((await running.in_flight()).values())

        await eventually(all_released, "all reservations to end")
        metrics = await running.kvpilot.text("/metrics")
        assert "kvpilot_internal_errors_total 0.0" in metrics
        assert "kvpilot_reservations_expired_total 0.0" in metrics


async def test_ten_kills_of_the_picker(tmp_path: Path) -> None:
    """Killed and restarted again and again under load: not one request fails."""
    async with quick_fleet(2, "llama") as llama, quick_fleet(2, "qwen") as qwen:
        policy = PolicyText(pools={"a": llama.addresses, "b": qwen.addresses}, models={"llama": "a", "qwen": "b"})
        async with mesh(tmp_path, policy) as running:
            answers: list[tuple[str, Answer]] = []
            async with load(running, answers):
                for _ in range(10):
                    await grown(answers, 50)
                    await running.kvpilot.signal(signal.SIGKILL)
                    await grown(answers, 50)
                    await running.kvpilot.start()
            assert [answer.error for _, answer in answers if not answer.ok] == []


async def test_a_hung_picker_costs_time_not_requests(tmp_path: Path) -> None:
    """SIGSTOP for three seconds under load: nothing fails; once the health check has failed nobody waits any more."""
    async with quick_fleet(2) as fleet, mesh(tmp_path, simple(fleet.addresses)) as running:
        answers: list[tuple[str, Answer]] = []
        stop = asyncio.Event()

        async def work() -> None:
            while not stop.is_set():
                answers.append(("llama", await running.chat("llama", f"question {len(answers)}", max_tokens=4)))

        workers = [asyncio.create_task(work()) for _ in range(4)]
        await grown(answers, 40)
        os.kill(running.kvpilot.pid, signal.SIGSTOP)
        stopped_at = len(answers)
        await asyncio.sleep(3)
        os.kill(running.kvpilot.pid, signal.SIGCONT)
        continued_at = len(answers)

        async def picks() -> bool:
            return bool(answers[-1][1].decision)

        await eventually(picks, "picks to resume")
        stop.set()
        await asyncio.gather(*workers)
        assert [answer.error for _, answer in answers if not answer.ok] == []
        hung = [answer for _, answer in answers[stopped_at:continued_at]]
        waited = sum(answer.total_ms > 200 for answer in hung)
        assert hung
        assert waited <= len(hung) / 2


async def test_fifty_edits_under_load(tmp_path: Path) -> None:
    """Endpoints come and go and strategies change fifty times: not one request fails."""
    async with quick_fleet(4) as fleet:
        policy = PolicyText(pools={"a": fleet.addresses, "b": fleet.addresses}, models={"llama": "a", "qwen": "b"})
        async with mesh(tmp_path, policy) as running:
            answers: list[tuple[str, Answer]] = []
            async with load(running, answers):
                for number in range(50):
                    kept = number % 3 + 1
                    policy.pools["a"] = [*fleet.addresses[number % 4 :], *fleet.addresses[: number % 4]][:kept]
                    policy.strategy = ("kv-aware", "round-robin", "least-request", "queue-depth")[number % 4]
                    policy.weights = {fleet.addresses[0]: number + 1}
                    await running.edit()
                    await grown(answers, 5)
            assert [answer.error for _, answer in answers if not answer.ok] == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_long_answer_on_a_quiet_envoy(tmp_path: Path, mode: str) -> None:
    """An answer that runs for a minute while nobody else asks, and whose client then leaves: Envoy lives on, and the
    pod is told that nobody waits any more."""
    async with quick_fleet(1, "llama", profile=LEISURELY) as fleet:
        policy = PolicyText(pools={"a": fleet.addresses}, models={"llama": "a"}, mode=mode)
        async with mesh(tmp_path, policy) as running:
            body = {"model": "llama", "prompt": "long", "max_tokens": 5_000, "stream": True}
            patience = aiohttp.ClientTimeout(total=2 * QUIET_S)
            async with running.session.post(f"{running.url}/v1/completions", json=body, timeout=patience) as answer:
                await answer.content.readline()
                await asyncio.sleep(QUIET_S)
                assert answer.status == 200
                assert not answer.content.at_eof()

            async def is_over() -> bool:
                return not any((await running.in_flight()).values())

            await eventually(is_over, "the reservation to end")
            assert (await running.chat("llama", "next")).ok
