"""Agents that work in steps and split up: trees of prompts that share all up to where they part.

Pure. A step sends everything so far, the model answers with a call of a tool, the result is added. Now and then a step
hands out parts of the task to several workers, who start at the same instant from the same prompt: the burst of
siblings that scatters when a router learns only from first tokens.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from sim.traces.load import Load, Session, Turn, asked, geometric, length, number, seconds
from sim.traces.texts import Prompt, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Agents(Load):
    """Runs of agents; a session is one run with all its workers, the tenant is the kind of agent."""

    kind: ClassVar[str] = "agents"

    agents: int = number(3, 1)
    """Kinds of agents, equally frequent, each with its own instructions and tools."""

    system_tokens: int = number(3_000, 1)
    """Median length of those: descriptions of tools are long."""

    system_sigma: float = number(0.3, 0, 3)
    task_tokens: int = number(200, 1)
    """Median length of a task, also of the part that a worker is given."""

    task_sigma: float = number(0.8, 0, 3)
    steps: int = number(8, 1, 1_000)
    """Mean number of steps of a run without its workers (geometric)."""

    result_tokens: int = number(400, 1)
    """Median length of what a tool returns: a file, a page, a table."""

    result_sigma: float = number(1.0, 0, 3)
    answer_tokens: int = number(100, 1)
    """Median length of one step's answer: a thought and a call."""

    answer_sigma: float = number(0.7, 0, 3)
    tool_s: float = number(1.5, 0, 86_400)
    """Median time that a tool takes."""

    tool_sigma: float = number(1.0, 0, 3)
    token_s: float = number(0.03, 0, 10)
    """Assumed time per answered token, as in `sim.traces.chats.Chat`."""

    split: float = number(0.1, 0, 1)
    """Chance that a step hands out work instead of calling a tool."""

    workers: int = number(3, 1, 100)
    """How many workers it hands out to."""

    worker_steps: int = number(3, 1, 1_000)
    """Mean number of steps of a worker; workers do not split up further."""

    context_tokens: int = number(48_000, 64)
    """A run or a worker ends before prompt and answer exceed this; only the first step of a run is always sent."""

    def sessions(self, rng: random.Random, texts: Texts) -> Iterator[Session]:
        """One run after the other."""
        lengths = [length(rng, self.system_tokens, self.system_sigma) for _ in range(self.agents)]
        systems = [texts.add(Prompt(), texts.new(), tokens) for tokens in lengths]
        while True:
            which = rng.randrange(self.agents)
            prompt = self._told(rng, texts, systems[which])
            turns: list[Turn] = []
            self._work(_Run(rng, texts, f"agent-{which}", turns), prompt, 0.0, self.steps, self.split)
            yield tuple(turns)

    def _work(self, run: "_Run", prompt: Prompt, at: float, steps: int, split: float) -> tuple[int, float]:
        """Go step by step from `at` on; return the length of the last answer and when it was there."""
        rng, texts = run.rng, run.texts
        said = 0
        for _ in range(geometric(rng, steps)):
            answer = length(rng, self.answer_tokens, self.answer_sigma)
            if run.turns and prompt.tokens + answer > self.context_tokens:
                break
            said = answer
            turn, prompt = asked(texts, prompt, answer, at, run.tenant)
            run.turns.append(turn)
            at += answer * self.token_s
            if rng.random() < split:
                prompt, at = self._hand_out(run, prompt, at)
            else:
                at += seconds(rng, self.tool_s, self.tool_sigma)
                prompt = texts.add(prompt, texts.new(), length(rng, self.result_tokens, self.result_sigma))
        return said, at

    def _hand_out(self, run: "_Run", prompt: Prompt, at: float) -> tuple[Prompt, float]:
        """Let workers start from `prompt` at once; go on with all their answers when the last one is there."""
        parts = [self._told(run.rng, run.texts, prompt) for _ in range(self.workers)]
        done = [self._work(run, part, at, self.worker_steps, 0.0) for part in parts]
        for said, _ in done:
            prompt = run.texts.add(prompt, run.texts.new(), said)
        return prompt, max(ended for _, ended in done)

    def _told(self, rng: random.Random, texts: Texts, prompt: Prompt) -> Prompt:
        return texts.add(prompt, texts.new(), length(rng, self.task_tokens, self.task_sigma))


@dataclass(frozen=True, slots=True)
class _Run:
    """What one run carries along; `turns` grows."""

    rng: random.Random
    texts: Texts
    tenant: str
    turns: list[Turn]
