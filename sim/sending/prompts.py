"""Prompts as text, for traces that know only which blocks are equal.

Pure. A block's text follows from its id and its place, so prompts that begin with the same blocks begin with the same
text; what lies behind the last whole block belongs to its request alone. Texts are words of three letters and a space:
one token each for simulated pods and nearly so for most tokenizers. How many tokens an endpoint makes of them is
measured beforehand (`sizing`), since its tokenizer is not known here.

Two runs with the same `salt` send the same texts, and the second one finds the caches of the first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import xxhash

from sim.tokens import CHARS_PER_TOKEN, WORDS
from sim.traces.trace import TraceRequest

_TABLE: Final = tuple(WORDS[n : n + CHARS_PER_TOKEN] for n in range(0, len(WORDS), CHARS_PER_TOKEN))
# A word for each value of a byte: a digest of sixteen bytes is a text of sixteen words.
_BY_BYTE: Final = tuple(_TABLE[value % len(_TABLE)] for value in range(256))
_DIGEST_BYTES: Final = 16

PROBE_WORDS: Final = (64, 512)
"""Lengths of the two texts from which sizes are learned: two, to tell the words from the chat template around them, and
short enough for the smallest context."""

MOST_TOKENS_PER_WORD: Final = 16.0
"""More is no tokenizer: four bytes are four tokens for one that knows nothing but bytes."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What an endpoint makes of our words: tokens for each, and those that its template puts around the prompt."""

    tokens_per_word: float = 1.0
    overhead_tokens: int = 0
    is_measured: bool = False


def sizing(probes: Sequence[tuple[int, int]]) -> Sizing:
    """Learns from (words, prompt tokens) of two probes; numbers that no tokenizer gives count as unknown."""
    (few, less), (many, more) = probes
    per_word = (more - less) / (many - few)
    overhead = round(less - few * per_word)
    if not 0 < per_word <= MOST_TOKENS_PER_WORD or overhead < 0:
        return Sizing()
    return Sizing(per_word, overhead, is_measured=True)


def words(seed: str, count: int) -> str:
    """`count` words that follow from the seed, each with a space behind it."""
    found: list[str] = []
    start = xxhash.xxh3_64_intdigest(seed.encode())
    for number in range(-(-count // _DIGEST_BYTES)):
        digest = xxhash.xxh3_128_digest(number.to_bytes(8, "little"), start)
        found += map(_BY_BYTE.__getitem__, digest)
    return "".join(found[:count])


@dataclass(frozen=True, slots=True)
class Prompts:
    """Writes the prompts of one trace, as long for the endpoint as the trace says."""

    block_tokens: int
    salt: str
    sizing: Sizing = Sizing()

    def text(self, number: int, asked: TraceRequest) -> str:
        """The prompt of the trace's request `number` (its own end is the same nowhere else)."""
        blocks = "".join(self._blocks(asked.blocks))
        room = asked.prompt_tokens - self.sizing.overhead_tokens
        rest = self._words(room) - self._words(len(asked.blocks) * self.block_tokens)
        own = words(f"{self.salt}/own/{number}", max(rest, 0 if blocks else 1))
        return blocks + own

    def probe(self, count: int) -> str:
        """A text of `count` words that begins like no other."""
        return words(f"{self.salt}/probe/{count}", count)

    def _blocks(self, ids: Sequence[int]) -> Iterator[str]:
        begin = 0
        for place, block in enumerate(ids, 1):
            end = self._words(place * self.block_tokens)
            yield words(f"{self.salt}/{block}", end - begin)
            begin = end

    def _words(self, tokens: int) -> int:
        """How many words are so many tokens; rounded from the prompt's start on, so that errors do not add up."""
        return round(tokens / self.sizing.tokens_per_word)
