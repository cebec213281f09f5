"""What every generated load is made of: turns in sessions, moments at which sessions start, and draws of lengths.

Pure: the random generator is an argument. A load is a frozen dataclass of named parameters that makes an endless row of
sessions; `sim.traces.generate` lays them out in time.
"""

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import accumulate
from math import log
from typing import Any, ClassVar

from sim.traces.texts import Prompt, Texts

# Lengths are drawn from log-normal distributions, as measured ones look; beyond this multiple of the median the tail is
# cut, so that no request of a load with a sane median exceeds the memory of a small engine.
LONGEST_MEDIANS = 8


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a session."""

    offset_s: float
    """Seconds after the start of its session."""

    prompt: Prompt
    output_tokens: int
    answer_blocks: tuple[int, ...] = ()
    tenant: str = ""
    stream: bool = True


Session = tuple[Turn, ...]
"""The turns of one session; in any order, each with its own offset."""


def number(default: Any, least: float, most: float = 1_000_000) -> Any:  # the default's own type is that of the field
    """Declare a parameter with its bounds, both included."""
    return field(default=default, metadata={"least": least, "most": most})


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A kind of load. Raises ValueError when a parameter is out of its bounds."""

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        """Hold every declared bound."""
        for declared in fields(self):
            if "least" in declared.metadata:
                least, most = declared.metadata["least"], declared.metadata["most"]
                value = getattr(self, declared.name)
                if not least <= value <= most:
                    raise ValueError(f"{declared.name} must be between {least} and {most}, not {value}")

    def sessions(self, rng: random.Random, texts: Texts) -> Iterator[Session]:
        """Make sessions without end; what they share (system prompts, documents) is drawn before the first one."""
        raise NotImplementedError

    def starts(self, rng: random.Random, rate: float) -> Iterator[float]:
        """Give the moments (seconds) at which sessions start: `rate` per second, independent of each other."""
        at = 0.0
        while True:
            at += rng.expovariate(rate)
            yield at


def length(rng: random.Random, median: float, sigma: float) -> int:
    """Draw a number of tokens: log-normal, at least 1, at most `LONGEST_MEDIANS` times the median."""
    return max(1, round(seconds(rng, median, sigma)))


def seconds(rng: random.Random, median: float, sigma: float) -> float:
    """Draw a duration from the same distribution; 0 when the median is."""
    if not median:
        return 0.0
    return min(median * LONGEST_MEDIANS, rng.lognormvariate(log(median), sigma))


def geometric(rng: random.Random, mean: float) -> int:
    """Draw a count from 1 on with this mean: after each one the chance to go on is the same."""
    return 1 if mean <= 1 else 1 + int(log(1 - rng.random()) / log(1 - 1 / mean))


class Popularity:
    """Draws one of `count` things, the k-th most popular with weight 1/k^exponent (Zipf); 0 makes all equal."""

    def __init__(self, count: int, exponent: float) -> None:
        """Sum the weights once."""
        self._sums = list(accumulate((k + 1) ** -exponent for k in range(count)))

    def draw(self, rng: random.Random) -> int:
        """Return an index from 0, the most popular one."""
        return min(bisect(self._sums, rng.random() * self._sums[-1]), len(self._sums) - 1)


def asked(texts: Texts, prompt: Prompt, output_tokens: int, offset_s: float, tenant: str = "") -> tuple[Turn, Prompt]:
    """Return the turn that sends `prompt`, and the prompt with the answer behind it."""
    after = texts.add(prompt, texts.new(), output_tokens)
    return Turn(offset_s, prompt, output_tokens, after.blocks[len(prompt.blocks) :], tenant), after
