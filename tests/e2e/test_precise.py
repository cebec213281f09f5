"""Prompts by their tokens and engines' events, through a real Envoy: what is predicted is what the engines find."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim.fleet import SimFleet
from sim.kv_publisher import KvPorts
from sim.pod import PodSpec
from tests.kit.fleet import QUICK
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.ports import free_ports
from tests.kit.tiny_tokenizer import write_pod_tokenizer
from tests.kit.waiting import eventually

PODS = 3
CONVERSATIONS = 3
TURNS = 3
SYSTEM = "You answer questions about rivers, and you do so in few words. " * 6
BLOCK = 64
"""Tokens; as many as in the picker's blocks, so that predictions can be exact."""


def question(number: int, turn: int) -> str:
    """About 150 tokens that nobody else asks."""
    return f"conversation {number} turn {turn}: " + f"how long is river {number}.{turn}? " * 20


async def talk(running: Mesh) -> list[tuple[str, int, int]]:
    """(by what it was counted, predicted, found) of every request of some conversations."""
    seen = []
    for number in range(CONVERSATIONS):
        messages: list[dict[str, str]] = [{"role": "system", "content": SYSTEM}]
        for turn in range(TURNS):
            messages.append({"role": "user", "content": question(number, turn)})
            answer = await running.chat("llama", messages, max_tokens=100, stream=False)
            assert answer.ok, answer.error
            messages.append({"role": "assistant", "content": answer.text})
            decision = await running.decision(answer.decision)
            assert decision["outcome"]["served"] == decision["endpoints"][0]
            seen.append(
                (decision["request"]["counted_by"], decision["predicted"]["cached_tokens"], answer.cached_tokens)
            )
    return seen


def specs(port: int, replay_port: int) -> list[PodSpec]:
    """Pods that tell, each at an address of its own, as in a cluster."""
    profile = replace(QUICK, block_size=BLOCK)
    hosts = [f"127.0.0.{2 + number}" for number in range(PODS)]
    return [
        PodSpec(
            name=host,
            models=("llama",),
            profile=profile,
            host=host,
            kv=KvPorts(host=host, port=port, replay_port=replay_port),
        )
        for host in hosts
    ]


def policy(fleet: SimFleet, port: int, replay_port: int, tokenizer: str) -> PolicyText:
    """Precise, or else an error."""
    endpoints = "\n".join(f"      - {{address: {address}}}" for address in fleet.addresses)
    return PolicyText(
        text=f"""kvpilot: v1
listeners: [{{name: openai, address: LISTEN, picker: {{explain: always}}}}]
models: [{{name: llama, pool: chat, tokenizer: {tokenizer}}}]
pools:
  chat:
    endpoints:
{endpoints}
    kvEvents: {{port: {port}, replayPort: {replay_port}}}
    prefixIndex: {{mode: precise}}
"""
    )


@pytest.mark.parametrize("by", ["file", "engine"])
async def test_predictions_are_what_engines_find(tmp_path: Path, by: str) -> None:
    """Over all turns the engines find exactly the tokens that were predicted, answers of the turns before included."""
    port, replay_port = free_ports(2)
    texts = [SYSTEM, *(question(number, turn) for number in range(CONVERSATIONS) for turn in range(TURNS))]
    tokenizer = write_pod_tokenizer(tmp_path, texts) if by == "file" else "{from: engine}"
    async with (
        SimFleet(specs(port, replay_port)) as fleet,
        mesh(tmp_path, policy(fleet, port, replay_port, tokenizer)) as running,
    ):
        seen = await talk(running)
        status = await eventually(lambda: told(running), "the word of an engine")
    assert {counted for counted, _, _ in seen} == {"tokens"}
    assert [predicted for _, predicted, _ in seen] == [found for _, _, found in seen]
    assert sum(found for _, _, found in seen) > 2_000
    assert (status["by"], status["blocks_of"]) == ("precise", "tokens")


async def told(running: Mesh) -> Any:
    """How the pool's index is kept, once somebody has told of blocks."""
    index = (await running.kvpilot.get("/status"))["pools"]["chat"]["prefix_index"]
    return index if index["telling"] else None
