"""Conversations of people with a model: every turn sends all turns before it again.

Pure. `Chat` is steady traffic, `Diurnal` the same conversations with a rate that rises and falls.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from math import pi, sin
from typing import ClassVar

from sim.traces.load import Load, Session, Turn, asked, geometric, length, number, seconds
from sim.traces.texts import Prompt, Texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat(Load):
    """Multi-turn chat behind one system prompt. The prefix grows turn by turn, and each conversation has its own."""

    kind: ClassVar[str] = "chat"

    turns: int = number(5, 1, 1_000)
    """Mean number of turns (geometric): most chats are short, a few are long."""

    system_tokens: int = number(400, 0)
    """Length of the system prompt that all conversations share; 0: none."""

    question_tokens: int = number(80, 1)
    """Median length of what a person writes."""

    question_sigma: float = number(1.0, 0, 3)
    """Its spread: 16 % are longer than e times the median (pasted text), as many shorter than 1/e of it."""

    answer_tokens: int = number(250, 1)
    """Median length of an answer."""

    answer_sigma: float = number(0.6, 0, 3)

    think_s: float = number(15.0, 0, 86_400)
    """Median time between the end of an answer and the next question: reading and typing."""

    think_sigma: float = number(0.8, 0, 3)

    token_s: float = number(0.03, 0, 10)
    """Time per answered token after which the person is taken to have read it. A trace is open loop: its times are
    fixed, so the speed of the answers is assumed, here as that of a moderately loaded engine."""

    context_tokens: int = number(32_000, 64)
    """A conversation ends before prompt and answer exceed this; only its first turn is always sent."""

    def sessions(self, rng: random.Random, texts: Texts) -> Iterator[Session]:
        """One conversation after the other."""
        system = texts.add(Prompt(), texts.new(), self.system_tokens)
        while True:
            yield self._conversation(rng, texts, system)

    def _conversation(self, rng: random.Random, texts: Texts, prompt: Prompt) -> Session:
        turns: list[Turn] = []
        at = 0.0
        for _ in range(geometric(rng, self.turns)):
            prompt = texts.add(prompt, texts.new(), length(rng, self.question_tokens, self.question_sigma))
            answer = length(rng, self.answer_tokens, self.answer_sigma)
            if turns and prompt.tokens + answer > self.context_tokens:
                break
            turn, prompt = asked(texts, prompt, answer, at)
            turns.append(turn)
            at += answer * self.token_s + seconds(rng, self.think_s, self.think_sigma)
        return tuple(turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal(Chat):
    """Chat whose conversations start at a rate that follows a sine: the day of a service, squeezed."""

    kind: ClassVar[str] = "diurnal"

    period_s: float = number(300.0, 1)
    """Length of a day: five minutes, so that a short trace has a peak and a trough."""

    depth: float = number(0.7, 0, 1)
    """How far the rate rises above and falls below its mean: 0.7 is a peak of 5.7 times the trough."""

    def starts(self, rng: random.Random, rate: float) -> Iterator[float]:
        """Thin the starts of a steady rate at the peak: each one stays with the chance of its time of day."""
        at, peak = 0.0, 1 + self.depth
        while True:
            at += rng.expovariate(rate * peak)
            if rng.random() * peak < 1 + self.depth * sin(2 * pi * at / self.period_s):
                yield at
