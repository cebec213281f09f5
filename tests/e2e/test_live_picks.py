"""What picks come to on running pods: which caches are used, how often a prefix is computed, what a slow pod gets.

The pods keep their own time, so counts and shares are compared, with room for a busy machine, and no times.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from control_plane.demo.conversations import Conversation, text
from control_plane.openai_client import Answer
from sim.engine import Profile
from sim.fleet import SimFleet, pod_specs
from tests.kit.mesh import Mesh, PolicyText, mesh
from tests.kit.waiting import eventually

STRATEGIES = ("kv-aware", "queue-depth", "round-robin")
TALKS = 12
TURNS = 4

BURST = 200

LESSONS = 12
"""More first tokens than milliseconds are believed from."""

SLOW = 3.0
"""Times as long as the others take."""

STEADY = Profile(prefill_tokens_per_s=5_000.0, step_base_ms=8.0, step_per_request_ms=0.1)
"""A prompt of 400 tokens takes 80 ms, so that what the machine adds to it counts for little."""


async def answered(running: Mesh, model: str, *prompts: str, at_once: int, max_tokens: int = 4) -> list[Answer]:
    """Answers to all prompts, so many in flight at a time."""
    left = iter(prompts)
    found: list[Answer] = []

    async def work() -> None:
        for prompt in left:
            answer = await running.chat(model, prompt, max_tokens=max_tokens)
            assert answer.ok, answer.error
            found.append(answer)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return found


async def computed(running: Mesh, model: str, seed: int) -> float:
    """Share of their prompt tokens that conversations, all at once and behind one system prompt, had computed."""
    total = cached = 0
    system = {"role": "system", "content": text(seed, 200)}

    async def talk(number: int) -> None:
        nonlocal total, cached
        conversation = Conversation(seed + 1 + number, 200)
        for _ in range(TURNS):
            answer = await running.chat(model, [system, *conversation.ask()], max_tokens=4)
            assert answer.ok, answer.error
            conversation.answered(answer.text)
            total += answer.prompt_tokens
            cached += answer.cached_tokens

    await asyncio.gather(*(talk(number) for number in range(TALKS)))
    return 1 - cached / total


def policy(addresses: Sequence[str], *strategies: str) -> PolicyText:
    """For each strategy a model and a pool of its name; the picker has time for bursts."""
    endpoints = ", ".join(f"{{address: {address}}}" for address in addresses)
    lines = [
        "kvpilot: v1",
        "listeners: [{name: openai, address: LISTEN, picker: {messageTimeout: 10s, explain: always}}]",
        f"models: [{', '.join(f'{{name: {name}, pool: {name}}}' for name in strategies)}]",
        "pools:",
        *(f"  {name}: {{picker: {{strategy: {name}}}, endpoints: [{endpoints}]}}" for name in strategies),
    ]
    return PolicyText(text="\n".join(lines) + "\n")


async def test_caches_are_used(tmp_path: Path) -> None:
    """Of conversations behind one system prompt, kv-aware has much less computed than strategies that are blind."""
    fleet = SimFleet(pod_specs(4, models=STRATEGIES, profile=STEADY))
    async with fleet, mesh(tmp_path, policy(fleet.addresses, *STRATEGIES)) as running:
        shares = {name: await computed(running, name, 1_000 * n) for n, name in enumerate(STRATEGIES)}
    assert shares["kv-aware"] < 0.75 * min(shares["queue-depth"], shares["round-robin"]), shares


async def test_short_answers_teach(tmp_path: Path) -> None:
    """All records of an answer of a few dozen milliseconds come after its end: how fast pods are is learned from it."""
    fleet = SimFleet(pod_specs(2, models=("kv-aware",), profile=STEADY))
    async with fleet, mesh(tmp_path, policy(fleet.addresses, "kv-aware")) as running:
        await answered(running, "kv-aware", *[text(n, 60) for n in range(LESSONS)], at_once=1)

        async def learned() -> bool:
            return bool((await running.kvpilot.get("/status"))["speed"]["rows"] >= LESSONS)

        await eventually(learned, "first tokens to teach")


async def test_a_burst_of_one_new_prompt(tmp_path: Path) -> None:
    """200 times the same new prompt at once: it is computed on few of eight pods, a few times in all."""
    fleet = SimFleet(pod_specs(8, models=("kv-aware",), profile=STEADY))
    async with fleet, mesh(tmp_path, policy(fleet.addresses, "kv-aware")) as running:
        answers = await answered(running, "kv-aware", *[text(1, 2_000)] * BURST, at_once=BURST, max_tokens=2)
        copies = sum(answer.prompt_tokens - answer.cached_tokens for answer in answers) / answers[0].prompt_tokens
    pods = Counter(answer.headers["x-pod"] for answer in answers)
    assert len(answers) == BURST
    assert all(answer.decision for answer in answers)
    assert len(pods) <= 5, pods
    assert copies <= 8


async def test_a_slow_pod_gets_less(tmp_path: Path) -> None:
    """One pod of four takes three times as long: it gets between a tenth and a half of what the others get."""
    async with SimFleet(pod_specs(4, models=("kv-aware",), profile=STEADY)) as fleet:
        await fleet["pod-3"].set_fault({"kind": "slow", "factor": SLOW})
        async with mesh(tmp_path, policy(fleet.addresses, "kv-aware")) as running:
            answers = await answered(running, "kv-aware", *(text(n, 400) for n in range(160)), at_once=10)
    pods = Counter(answer.headers["x-pod"] for answer in answers)
    assert 0.1 <= pods["pod-3"] / ((len(answers) - pods["pod-3"]) / 3) <= 0.5, pods
