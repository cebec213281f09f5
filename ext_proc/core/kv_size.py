"""How many of our blocks an endpoint's KV memory holds: told by its metrics, or learned from what it found.

*Told* is a number of tokens; a block of text is as many of them as the model's tokenizer makes of it, which answers
tell (their `prompt_tokens`, over the blocks of the prompt).

*Learned* by stack distance (Mattson and others, 1970): what a cache that drops the least recently used finds again is
what has been used so recently that no more than the cache's size was used since. So for a sample of the blocks of each
prompt it is noted how many blocks were used there since they were; the answer's `cached_tokens` say which of them were
found; and the size is the distance that parts best those that were from those that were not. It is the *working* size:
what the engine keeps besides (answers, others' prompts) is not in it.

What cannot be known is left alone: while nobody tells what was found, everything is (nothing was evicted yet), nothing
is (caching is off), or found and not found are not parted by any distance. An endpoint of which too little is known is
taken to be like the others that do not tell their size either, and so is one whose evidence that explains nearly as
well: fleets are mostly of one kind, and all of them together learn sooner.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ext_proc.core.blocks import BLOCK_BYTES, BLOCK_TOKENS
from ext_proc.core.slots import FloatArray
from ext_proc.core.token_sizes import LEAST_BYTES, MOST_BYTES

# One block of so many is looked after (by its hash, so that it is the same ones each time): of the smallest memories
# that are of any use, 60,000 tokens, that are thirty.
SAMPLED: Final = 32

# Of them so many for each endpoint: two million tokens, more than accelerators hold. Nothing is learned from what is
# older.
MAX_SAMPLES: Final = 1_024

# Endpoints that are looked after, about 100 KB each; further ones are taken to be like them.
MAX_LEARNERS: Final = 64

# Requests that are waited for; Envoy with raised breakers keeps as many open on some thousand endpoints.
MAX_ASKED: Final = 16_384

# Shorter prompts have no sampled block, mostly, and what is found of them is lost in rounding.
LEAST_BLOCKS: Final = 8

# Engines find whole blocks of their own only: up to so many tokens before the end of what they hold are not found.
ROUNDING_TOKENS: Final = 512

# Distances are parted on a scale of four steps to the octave (±9 %), up to that of `MAX_SAMPLES`.
STEPS: Final = 4
_BINS: Final = STEPS * int(math.log2(SAMPLED * MAX_SAMPLES)) + 1

# What one bin weighs at most, however often blocks are found at its distance, and how it forgets: about the last
# twenty count.
MOST_WEIGHT: Final = 16.0
MEMORY: Final = 0.95

# Blocks found and not found until they part anything, and the share of them that may be on the wrong side.
ENOUGH: Final = 8.0
MOST_WRONG: Final = 0.25

# Blocks that must be on the wrong side for the usual size not to be an endpoint's own: it is off by about 30 % then.
# With 8, chance made engines of one kind look different, and first tokens of Mooncake's conversations came 2 % later.
AGAINST: Final = 24.0

# Answers of an endpoint from one look at its bins to the next: it takes about 20 µs.
LOOK_EVERY: Final = 8

# A new size within this share of the old one is no news.
SAME: Final = 0.05

# How much one answer says of tokens per block, and how many blocks its prompt has to have: of fewer, the half block
# that is missing at the end decides.
LEAST_COUNTED: Final = 32
RATE_SHARE: Final = 0.05

# Tokens that a block can have: no tokenizer makes more of its bytes, nor fewer.
LEAST_RATE: Final = BLOCK_BYTES / MOST_BYTES
MOST_RATE: Final = BLOCK_BYTES / LEAST_BYTES


class _Seen(NamedTuple):
    """A sampled block of a prompt: its position, and how many blocks were used since it was."""

    position: int
    distance: int


class _Asked(NamedTuple):
    """A prompt of so many blocks, those that are sampled, and what is known of these."""

    slot: int
    blocks: int
    sampled: tuple[int, ...]
    seen: tuple[_Seen, ...]


class _Evidence:
    """How often blocks were found, by distance. Mutable: both arrays; `KvSizes` is the writer."""

    def __init__(self) -> None:
        self.found: FloatArray = np.zeros(_BINS)
        self.missed: FloatArray = np.zeros(_BINS)

    def add(self, distance: int, *, is_found: bool) -> None:
        """Takes in one block."""
        place = min(_BINS - 1, int(STEPS * math.log2(max(1, distance))))
        self.found[place] = MEMORY * self.found[place] + is_found
        self.missed[place] = MEMORY * self.missed[place] + (not is_found)

    def size(self, usual: int | None = None) -> int | None:
        """Blocks that are held, None where that is not known; the `usual` size unless there is much against it."""
        weight = self.found + self.missed
        scale = np.minimum(1.0, MOST_WEIGHT / np.maximum(weight, 1.0))
        found, missed = self.found * scale, self.missed * scale
        if min(found.sum(), missed.sum()) < ENOUGH:
            return None
        # Wrong if all below the k-th bin are held and all others are not.
        wrong = np.concatenate(([0.0], np.cumsum(missed))) + found.sum() - np.concatenate(([0.0], np.cumsum(found)))
        least = wrong.min()
        if least > MOST_WRONG * (found.sum() + missed.sum()):
            return None
        if usual is not None and wrong[min(_BINS, round(STEPS * math.log2(usual)))] < least + AGAINST:
            return usual
        best = float(np.flatnonzero(wrong <= least + 1e-9).mean())
        return max(1, int(2.0 ** (best / STEPS)))


class _Recent:
    """The sampled blocks of one endpoint by their last use. Mutable; `KvSizes` is the writer."""

    def __init__(self) -> None:
        self._place_of: dict[int, int] = {}
        self._value_at: list[int] = []
        self._used = np.zeros(MAX_SAMPLES, dtype=np.int64)
        self._turn = 0

    def distance(self, value: int) -> int | None:
        """Blocks that were used since this one, about; None where it is not known."""
        place = self._place_of.get(value)
        return None if place is None else SAMPLED * int(np.count_nonzero(self._used > self._used[place]))

    def use(self, value: int) -> None:
        """A block is used now; beyond `MAX_SAMPLES` the one that was used longest ago is forgotten."""
        place = self._place_of.get(value)
        if place is None:
            if len(self._value_at) < MAX_SAMPLES:
                place = len(self._value_at)
                self._value_at.append(value)
            else:
                place = int(np.argmin(self._used))
                del self._place_of[self._value_at[place]]
                self._value_at[place] = value
            self._place_of[value] = place
        self._turn += 1
        self._used[place] = self._turn


@dataclass(slots=True)
class _Endpoint:
    """One that does not tell. Mutable; `KvSizes` is the writer."""

    evidence: _Evidence = field(default_factory=_Evidence)
    recent: _Recent = field(default_factory=_Recent)
    size: int | None = None
    is_telling: bool = False
    """Whether any of its answers has said what was found: before that nothing is to be learned."""


class KvSizes:
    """Sizes by slot. Mutable: all of it; the fleet is the only caller."""

    def __init__(self) -> None:
        self._told: dict[int, int] = {}
        self._rates: dict[int, float] = {}
        self._given: dict[int, int] = {}
        self._endpoints: dict[int, _Endpoint] = {}
        self._all = _Evidence()
        self._asked: OrderedDict[str, _Asked] = OrderedDict()
        self._usual: int | None = None
        self._answers: dict[int, int] = {}

    def told(self, slot: int, kv_tokens: int) -> None:
        """An endpoint told its size."""
        self._told[slot] = kv_tokens
        self._endpoints.pop(slot, None)

    def restarted(self, slot: int) -> None:
        """Its memory is empty."""
        if slot in self._endpoints:
            self._endpoints[slot].recent = _Recent()

    def forget(self, slot: int) -> None:
        """The endpoint is gone for good."""
        self._told.pop(slot, None)
        self._rates.pop(slot, None)
        self._given.pop(slot, None)
        self._answers.pop(slot, None)
        self._endpoints.pop(slot, None)

    def picked(self, slot: int, decision_id: str, blocks: tuple[int, ...], running_tokens: float) -> None:
        """A prompt of these blocks goes there, beside requests that have generated so many tokens."""
        if len(blocks) < LEAST_BLOCKS:
            return
        sampled: list[tuple[int, int]] = []
        seen: tuple[_Seen, ...] = ()
        # Most engines tell their size, or never what they found: for those nothing is looked at.
        if slot not in self._told:
            endpoint = self._endpoints.get(slot)
            if endpoint is None and len(self._endpoints) < MAX_LEARNERS:
                endpoint = self._endpoints[slot] = _Endpoint()
            if endpoint is not None:
                if not endpoint.is_telling:
                    return
                sampled = [(position, value) for position, value in enumerate(blocks) if value % SAMPLED == 0]
                seen = _seen(endpoint.recent, sampled, int(running_tokens) // BLOCK_TOKENS)
        self._asked[decision_id] = _Asked(slot, len(blocks), tuple(value for _, value in sampled), seen)
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)

    def ended(self, slot: int | None, decision_id: str, prompt: int | None, found: int | None) -> int | None:
        """It is over, answered by `slot`; of its `prompt` tokens `found` were in the cache, as far as that was told.

        Gives the blocks that the slot holds, when that is news.
        """
        asked = self._asked.pop(decision_id, None)
        if found is not None and slot in self._endpoints:
            self._endpoints[slot].is_telling = True
        if asked is None or slot != asked.slot or not prompt:
            return None
        told = prompt / (asked.blocks - 0.5)  # the last block is a part of one
        if asked.blocks >= LEAST_COUNTED and LEAST_RATE <= told <= MOST_RATE:
            rate = self._rates.get(slot, float(BLOCK_TOKENS))
            self._rates[slot] = rate + RATE_SHARE * (told - rate)
        endpoint = self._endpoints.get(slot)
        if endpoint is not None:
            _use(endpoint.recent, asked.sampled)  # engines let go of a prompt's blocks when its request ends
            if found is not None and found <= prompt:
                self._learn(endpoint, asked, prompt, found)
        return self._news(slot)

    def blocks(self, slot: int) -> int | None:
        """What an endpoint holds of our blocks; None where nobody knows."""
        told = self._told.get(slot)
        if told is not None:
            return max(1, int(told / self._rates.get(slot, float(BLOCK_TOKENS))))
        endpoint = self._endpoints.get(slot)
        return self._usual if endpoint is None or endpoint.size is None else endpoint.size

    def _learn(self, endpoint: _Endpoint, asked: _Asked, prompt: int, found: int) -> None:
        count = asked.blocks
        for each in asked.seen:
            first, last = each.position * prompt / count, (each.position + 1) * prompt / count
            if last <= prompt - ROUNDING_TOKENS and (found >= last or found + ROUNDING_TOKENS <= first):
                endpoint.evidence.add(each.distance, is_found=found >= last)
                self._all.add(each.distance, is_found=found >= last)

    def _news(self, slot: int) -> int | None:
        """What the slot holds, every `LOOK_EVERY` answers, if it is another number than the last one."""
        answers = self._answers[slot] = self._answers.get(slot, 0) + 1
        if answers % LOOK_EVERY:
            return None
        endpoint = self._endpoints.get(slot)
        if endpoint is not None:
            self._usual = self._all.size()
            endpoint.size = endpoint.evidence.size(self._usual)
        size = self.blocks(slot)
        if size is None or abs(size - self._given.get(slot, 0)) <= SAME * size:
            return None
        self._given[slot] = size
        return size


def _seen(recent: _Recent, sampled: Sequence[tuple[int, int]], running: int) -> tuple[_Seen, ...]:
    """What is known of (position, block) of a prompt that were there before; they are used now."""
    distances = [(position, recent.distance(value)) for position, value in sampled]
    _use(recent, [value for _, value in sampled])
    return tuple(_Seen(position, running + distance) for position, distance in distances if distance is not None)


def _use(recent: _Recent, sampled: Sequence[int]) -> None:
    for value in reversed(sampled):  # the tail goes before the head
        recent.use(value)
