"""kv-aware on a running fleet: a conversation stays, unrelated prompts spread, a shared system prompt does not herd."""

import asyncio
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from control_plane.demo.conversations import Conversation, text
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import MODES, Mesh, PolicyText, mesh


def one_pool(addresses: list[str], mode: str = "one-message") -> PolicyText:
    """One model on one pool."""
    return PolicyText(pools={"chat": addresses}, models={"llama": "chat"}, mode=mode)


async def served(running: Mesh, decision: str) -> str:
    """The pod that served."""
    return str((await running.decision(decision))["outcome"]["served"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_conversation_stays_and_its_cache_grows(tmp_path: Path, mode: str) -> None:
    """Six turns go to one pod, and each turn finds more cached tokens than the one before."""
    async with quick_fleet(4) as fleet, mesh(tmp_path, one_pool(fleet.addresses, mode)) as running:
        conversation = Conversation(1, 600)
        pods, cached = [], []
        for _ in range(6):
            answer = await running.chat("llama", conversation.ask(), max_tokens=64)
            assert answer.ok, answer.error
            conversation.answered(answer.text)
            pods.append(await served(running, answer.decision))
            cached.append(answer.cached_tokens)
        assert len(set(pods)) == 1
        assert cached[0] == 0
        assert all(later > earlier for earlier, later in pairwise(cached))


async def test_unrelated_prompts_spread(tmp_path: Path) -> None:
    """Sixteen prompts with nothing in common reach every pod of four, at once or one after another."""
    async with quick_fleet(4) as fleet, mesh(tmp_path, one_pool(fleet.addresses)) as running:
        together = await asyncio.gather(*(running.chat("llama", text(seed, 300)) for seed in range(16)))
        one_by_one = [await running.chat("llama", text(100 + seed, 300)) for seed in range(24)]
        for answers in (list(together), one_by_one):
            counts = Counter([await served(running, answer.decision) for answer in answers])
            assert set(counts) == set(fleet.addresses)
            assert max(counts.values()) <= 0.6 * len(answers)


@pytest.mark.parametrize("in_flight", [1, 8])
async def test_a_shared_system_prompt_does_not_herd(tmp_path: Path, in_flight: int) -> None:
    """A system prompt that everybody sends first does not pull all requests to the pod that saw it first."""
    system = {"role": "system", "content": text(999, 400)}
    async with quick_fleet(4) as fleet, mesh(tmp_path, one_pool(fleet.addresses)) as running:
        numbers = iter(range(60))
        pods: list[str] = []

        async def work() -> None:
            for number in numbers:
                messages = [system, {"role": "user", "content": text(number, 60)}]
                answer = await running.chat("llama", messages, max_tokens=4)
                assert answer.ok, answer.error
                pods.append(await served(running, answer.decision))

        await asyncio.gather(*(work() for _ in range(in_flight)))
        counts = Counter(pods)
        assert len(counts) >= 3
        assert max(counts.values()) <= 0.7 * len(pods)
