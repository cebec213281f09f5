"""Many different requests at once: all are answered, by the pod that was named, with one message each way."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from control_plane.openai_client import Answer
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

REQUESTS = 200
IN_FLIGHT = 16


def mixed_policy(addresses: list[str], mode: str) -> PolicyText:
    """What `send_mixed` asks for: two models, one of them with an alias, each on half of the pods."""
    half = len(addresses) // 2
    return PolicyText(
        pools={"a": addresses[:half], "b": addresses[half:]},
        models={"llama": "a", "qwen": "b"},
        aliases={"llama": ["gpt-4"]},
        mode=mode,
    )


async def send_mixed(running: Mesh, requests: int = REQUESTS) -> list[Answer]:
    """Streamed and plain requests to both models, long and short, `IN_FLIGHT` at a time."""
    rng = random.Random(7)
    jobs = iter([(number, rng.randrange(20, 2000)) for number in range(requests)])
    answers: list[Answer] = []

    async def work() -> None:
        for number, length in jobs:
            prompt = f"question {number % 40} " + "word " * length
            model = ("llama", "qwen", "gpt-4")[number % 3]
            answers.append(await running.chat(model, prompt, stream=number % 2 == 0, max_tokens=8))

    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return answers


async def served_by(running: Mesh, answers: list[Answer]) -> list[tuple[str, str]]:
    """(first named, served) of each answer."""
    found: list[Any] = [await running.decision(answer.decision) for answer in answers]
    return [(one["endpoints"][0], one["outcome"]["served"]) for one in found]


@pytest.mark.alone
@pytest.mark.parametrize("mode", MODES)
async def test_200_mixed_requests(tmp_path: Path, mode: str) -> None:
    """All 200 are answered, at least 99 % by the pod named first, each with one exchange of messages per body."""
    async with quick_fleet(4) as fleet, mesh(tmp_path, mixed_policy(fleet.addresses, mode)) as running:
        answers = await send_mixed(running)
        assert [answer.error for answer in answers if not answer.ok] == []
        pairs = await served_by(running, answers)
        assert sum(named == served for named, served in pairs) >= 0.99 * REQUESTS
        assert {served for _, served in pairs} == set(fleet.addresses)
        stats = await running.stats(r"ext_proc\.")
        sent = sum(value for name, value in stats.items() if name.endswith("ext_proc.stream_msgs_sent"))
        received = sum(value for name, value in stats.items() if name.endswith("ext_proc.stream_msgs_received"))
        per_request = {"one-message": 1, "two-message": 2}[mode]
        assert (sent, received) == (per_request * REQUESTS, per_request * REQUESTS)
        assert not sum(value for name, value in stats.items() if name.endswith("failure_mode_allowed"))

        async def all_released() -> bool:
            return not any((await running.in_flight()).values())

        await eventually(all_released, "all reservations to end")
