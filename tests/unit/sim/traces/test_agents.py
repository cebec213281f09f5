"""Agents: steps that share all before them, and workers that start together from one prompt."""

import random
from collections import Counter
from itertools import islice, pairwise

import pytest

from sim.traces.agents import Agents
from sim.traces.load import Session
from sim.traces.texts import Texts


def runs(load: Agents, count: int) -> list[Session]:
    """So many runs."""
    return list(islice(load.sessions(random.Random(1), Texts(64)), count))


def test_steps_without_splits_are_a_chain() -> None:
    """Each step begins with the prompt and the answer of the one before, after the tool's time."""
    for run in runs(Agents(split=0.0), 40):
        for earlier, later in pairwise(run):
            known = earlier.prompt.blocks + earlier.answer_blocks
            assert later.prompt.blocks[: len(known)] == known
            assert later.offset_s > earlier.offset_s


def test_workers_start_together_from_one_prompt() -> None:
    """When every step splits, three workers start at one instant and share all but their part of the task."""
    load = Agents(split=1.0, steps=2, workers=3, worker_steps=1, task_sigma=0.0)
    for run in runs(load, 40):
        instants = Counter(turn.offset_s for turn in run)
        assert sorted(instants.values()) == [1] * (len(run) // 4) + [3] * (len(run) // 4)
        for instant, count in instants.items():
            if count == 3:
                prompts = [turn.prompt for turn in run if turn.offset_s == instant]
                parent = max((turn for turn in run if turn.offset_s < instant), key=lambda turn: turn.offset_s)
                shared = len(parent.prompt.blocks)
                assert {prompt.blocks[:shared] for prompt in prompts} == {parent.prompt.blocks}
                assert len({prompt.blocks for prompt in prompts}) == 3


def test_the_context_bounds_a_run() -> None:
    """Prompt and answer stay within the context, whatever tools return."""
    load = Agents(steps=200, context_tokens=8_000, system_tokens=1_000, task_sigma=0.1)
    long = [turn for run in runs(load, 20) for turn in run]
    assert max(turn.prompt.tokens + turn.output_tokens for turn in long) <= 8_000


def test_tenants_are_kinds_of_agents() -> None:
    """Each kind has its own system prompt, equally often."""
    counted = Counter(run[0].tenant for run in runs(Agents(agents=2), 400))
    assert set(counted) == {"agent-0", "agent-1"}
    assert counted["agent-0"] == pytest.approx(200, abs=50)
