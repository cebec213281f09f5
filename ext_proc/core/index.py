"""What each endpoint holds of which prefix: a mirror of the engines' own block managers, kept by what the router sees.

The rules are those of vLLM's V1 block pool, as far as they show from outside. A prompt's blocks are there from the pick
on (predicted), and stay while its request runs; when it ends they become the newest of what may go, the tail before the
head; the least recently used go first when room is needed; and what running requests generate takes room away from the
cache. An endpoint that tells of its blocks itself (KV events) is *precise*: it holds what it says, and what is
predicted for requests that still run there.

Over all endpoints there is one table, block → bitmask of slots, so that one walk over a prompt's hashes finds the run
from block 0 of every endpoint at once. What an approximate endpoint holds is prefix-closed: every use touches a chain
from its tail to its head, so that tails go first. A block that may not go is therefore only met as the last one of a
running prompt: pins are kept for whole prompts, not for blocks.

**Fan-out.** Each block knows how many distinct blocks follow it. Where many different prompts continue the same prefix
(a system prompt that everybody shares), that number is large; inside one conversation it is one.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.slots import BoolArray, IntArray

# Per endpoint: a million tokens, what a large GPU's KV memory holds; told the real capacity, the index uses that.
MAX_BLOCKS_PER_SLOT = 16_384

# Over all endpoints: at most 480 bytes each when nothing is shared, so 500 MB at the very most.
MAX_BLOCKS_IN_ALL = 1 << 20

# What the tables take, measured with tracemalloc: for each endpoint that holds a block, and for each block that anybody
# holds, its hash included. Tables have holes where blocks come and go for long: of endpoints with some hundred blocks
# each they take this much, fresh ones and those of a few large endpoints half. With a thousand endpoints a bitmask is
# 130 bytes more.
HOLDING_BYTES = 360
BLOCK_BYTES = 120

# Where an endpoint tells of its blocks itself, what it cannot tell of (prompts with images, which go by their text) has
# this part of its memory in our account. Such prompts are few there, or the pool is better off without events.
GUESSED_PART = 4

# From this many distinct continuations on, a prefix counts as common property. Three siblings still look like one
# conversation that branched or was sampled again.
COMMON_FAN_OUT = 4

# Endpoints that hold part of a long prompt hold it to a few distinct depths; of more, the shallow ones are ignored, so
# that the work does not grow with the number of endpoints.
MAX_RUNS = 64


@dataclass(frozen=True, slots=True)
class Match:
    """How far each endpoint's run goes.

    `runs` are (bitmask of slots, blocks), growing in depth; a slot's depth is that of the last run that contains it.
    `common_blocks` is the length of the longest prefix that `COMMON_FAN_OUT` or more prompts continue (0: none),
    `fan_out` the number of its continuations (1 without such a prefix), and `opening_blocks` the length of the shortest
    such prefix: a system prompt ends there.
    """

    runs: tuple[tuple[int, int], ...] = ()
    common_blocks: int = 0
    fan_out: int = 1
    opening_blocks: int = 0

    def depths(self, capacity: int) -> IntArray:
        """Blocks held, by slot; `capacity` is the number of slots, a multiple of eight."""
        depths = np.zeros(capacity, dtype=np.int64)
        for mask, depth in self.runs[-MAX_RUNS:]:
            if mask & (mask - 1):
                depths[slots_in(mask, capacity)] = depth
            else:
                depths[mask.bit_length() - 1] = depth
        return depths


def slots_in(mask: int, capacity: int) -> BoolArray:
    """A bitmask of slots as an array of booleans; `capacity` is a multiple of eight."""
    octets = np.frombuffer(mask.to_bytes(capacity // 8, "little"), dtype=np.uint8)
    return np.unpackbits(octets, bitorder="little").view(np.bool_)


class _Block:
    __slots__ = ("children", "mask", "parent")

    def __init__(self, parent: int | None) -> None:
        self.mask = 0
        self.parent = parent
        self.children = 0


@dataclass(slots=True)
class _Holding:
    """What one endpoint holds. Mutable; `PrefixIndex` is the writer.

    `blocks` are in the order in which they go. `pins` has, by the last block of a running prompt, its blocks and how
    many requests run with it. `told` is None until the endpoint tells of its blocks itself; then `blocks` are those
    that it told of, in `told`, and those predicted.
    """

    blocks: OrderedDict[int, None] = field(default_factory=OrderedDict)
    pins: dict[int, tuple[tuple[int, ...], int]] = field(default_factory=dict)
    told: set[int] | None = None
    running_blocks: int = 0
    guesses: OrderedDict[int, None] = field(default_factory=OrderedDict)
    """Where the endpoint tells: those among `blocks` of which it cannot tell, and that were of requests which are over.
    The oldest go first."""


class PrefixIndex:
    """The index.

    Mutable: the table of blocks, what each slot holds, their capacities and the total; the ledger is the only writer
    but for `forget`, `set_capacity` and what endpoints tell.
    """

    def __init__(self, *, max_per_slot: int = MAX_BLOCKS_PER_SLOT, max_in_all: int = MAX_BLOCKS_IN_ALL) -> None:
        self._max_per_slot = max_per_slot
        self._max_in_all = max_in_all
        self._blocks: dict[int, _Block] = {}
        self._held: dict[int, _Holding] = {}
        self._capacity: dict[int, int] = {}
        self._total = 0
        self.evicted = 0
        """Blocks that were dropped to make room, in all."""

    def __len__(self) -> int:
        """Blocks held, counted once for each endpoint that holds them."""
        return self._total

    def size(self, slot: int) -> int:
        """Blocks that one endpoint holds."""
        holding = self._held.get(slot)
        return len(holding.blocks) if holding is not None else 0

    @property
    def size_bytes(self) -> int:
        """What all of it takes in memory, about."""
        return self._total * HOLDING_BYTES + len(self._blocks) * BLOCK_BYTES

    @property
    def budget_bytes(self) -> int:
        """What it takes at most: blocks that nobody shares, as many as may be held in all."""
        return self._max_in_all * (HOLDING_BYTES + BLOCK_BYTES)

    def as_dict(self) -> dict[str, int]:
        """JSON values."""
        return {
            "bytes": self.size_bytes,
            "budget_bytes": self.budget_bytes,
            "held_blocks": self._total,
            "distinct_blocks": len(self._blocks),
            "endpoints": sum(1 for holding in self._held.values() if holding.blocks),
            "evicted_blocks": self.evicted,
        }

    def is_precise(self, slot: int) -> bool:
        """Whether the endpoint tells of its blocks itself."""
        holding = self._held.get(slot)
        return holding is not None and holding.told is not None

    def set_capacity(self, slot: int, kv_tokens: int) -> None:
        """Tells the KV memory of an endpoint, in tokens; it takes effect with the next prompt."""
        self._capacity[slot] = max(1, kv_tokens // BLOCK_TOKENS)

    def match(self, hashes: Sequence[int]) -> Match:
        """The runs of all endpoints over a prompt's block hashes."""
        runs: list[tuple[int, int]] = []
        mask = common = opening = 0
        fan_out = 1
        depth = 0
        blocks = self._blocks
        for value in hashes:
            block = blocks.get(value)
            if block is None:
                break
            if block.mask != mask:
                # Who lacks a block ends there, even if it has told of later ones.
                both = block.mask & mask if depth else block.mask
                if both != mask:
                    if depth:
                        runs.append((mask, depth))
                    mask = both
                    if not mask:
                        return Match(tuple(runs), common, fan_out, opening)
            depth += 1
            if block.children >= COMMON_FAN_OUT:
                common, fan_out = depth, block.children
                opening = opening or depth
        if depth:
            runs.append((mask, depth))
        return Match(tuple(runs), common, fan_out, opening)

    def insert(self, slot: int, hashes: Sequence[int]) -> None:
        """Notes that `slot` holds the blocks of a prompt, and makes room for them."""
        holding = self._held.setdefault(slot, _Holding())
        limit = self._limit(slot)
        hashes = hashes[:limit]
        self._add_new(slot, holding.blocks, hashes)
        touch = holding.blocks.move_to_end
        for value in reversed(hashes):
            touch(value)
        if holding.told is None:
            self._evict(slot, len(holding.blocks) - max(len(hashes), limit - holding.running_blocks))
        self._make_room(slot)

    def begin(self, slot: int, blocks: tuple[int, ...], running_tokens: float = 0.0) -> None:
        """A request was sent there: its prompt's blocks will be there, and stay until `end`.

        `running_tokens` are those that requests which run there have generated.
        """
        if not blocks:
            return
        holding = self._held.setdefault(slot, _Holding())
        holding.running_blocks = int(running_tokens) // BLOCK_TOKENS
        if len(blocks) <= self._limit(slot):
            # A longer one cannot run there at all.
            _, count = holding.pins.get(blocks[-1], (blocks, 0))
            holding.pins[blocks[-1]] = (blocks, count + 1)
        self.insert(slot, blocks)

    def end(self, slot: int, blocks: tuple[int, ...], *, is_guess: bool = False) -> None:
        """A request that was begun there is over, or runs elsewhere: its blocks may go, after all that may go now.

        With `is_guess` they are such that no endpoint could tell of.
        """
        holding = self._held.get(slot)
        pinned = holding.pins.get(blocks[-1]) if holding is not None and blocks else None
        if holding is None or pinned is None:
            return
        if pinned[1] > 1:
            holding.pins[blocks[-1]] = (pinned[0], pinned[1] - 1)
        else:
            del holding.pins[blocks[-1]]
        if holding.told is None:
            held, touch = holding.blocks, holding.blocks.move_to_end
            for value in reversed(blocks):
                if value in held:
                    touch(value)
        elif pinned[1] == 1 and is_guess:
            self._keep_guesses(slot, holding, blocks)
        elif pinned[1] == 1:
            self._drop_unconfirmed(slot, holding, blocks)

    def stored(self, slot: int, blocks: Sequence[int], parent: int | None) -> None:
        """The endpoint told that it holds these blocks, which follow each other and `parent`."""
        holding = self._precise(slot)
        assert holding.told is not None
        self._add_new(slot, holding.blocks, blocks, parent)
        holding.told.update(blocks)
        for value in reversed(blocks):
            holding.blocks.move_to_end(value)
        self._make_room(slot)

    def removed(self, slot: int, blocks: Sequence[int]) -> None:
        """The endpoint told that it no longer holds these blocks."""
        holding = self._precise(slot)
        assert holding.told is not None
        holding.told.difference_update(blocks)
        predicted = _predicted(holding)
        self._drop(slot, holding, [value for value in blocks if value not in predicted])

    def cleared(self, slot: int) -> None:
        """It holds nothing any more, whoever noticed; what runs there will be there again. No endpoint gets precise by
        this: a restart is told of those too whose blocks cannot be followed.
        """
        holding = self._held.get(slot)
        if holding is None:
            return
        if holding.told is not None:
            holding.told.clear()
        predicted = _predicted(holding)
        self._drop(slot, holding, [value for value in holding.blocks if value not in predicted])

    def forget(self, slot: int) -> None:
        """Drops all that is known about an endpoint: it left, or its process ended and its memory with it."""
        holding = self._held.pop(slot, None)
        if holding is not None:
            self._drop(slot, holding, list(holding.blocks))
        self._capacity.pop(slot, None)

    def _limit(self, slot: int) -> int:
        return min(self._capacity.get(slot, self._max_per_slot), self._max_per_slot, self._max_in_all)

    def _precise(self, slot: int) -> _Holding:
        """The endpoint's holding, precise from now on: of what was believed before, only what runs is kept."""
        holding = self._held.setdefault(slot, _Holding())
        if holding.told is None:
            holding.told = set()
            predicted = _predicted(holding)
            self._drop(slot, holding, [value for value in holding.blocks if value not in predicted])
        return holding

    def _keep_guesses(self, slot: int, holding: _Holding, blocks: Sequence[int]) -> None:
        """Goes on believing in blocks that cannot be confirmed, within bounds of their own."""
        guesses = holding.guesses
        for value in reversed(blocks):
            if value in holding.blocks:
                guesses[value] = None
                guesses.move_to_end(value)
        over = len(guesses) - self._limit(slot) // GUESSED_PART
        if over > 0:
            predicted = _predicted(holding)
            oldest = [value for value in islice(guesses, over) if value not in predicted]
            self._drop(slot, holding, oldest)

    def _drop_unconfirmed(self, slot: int, holding: _Holding, blocks: Sequence[int]) -> None:
        """Drops what was predicted for a request that is over, and never told of."""
        told = holding.told or set()
        doubtful = [value for value in blocks if value in holding.blocks and value not in told]
        if doubtful:
            predicted = _predicted(holding)
            self._drop(slot, holding, [value for value in doubtful if value not in predicted])

    def _add_new(
        self, slot: int, held: "OrderedDict[int, None]", hashes: Sequence[int], parent: int | None = None
    ) -> None:
        bit = 1 << slot
        blocks = self._blocks
        for value in hashes:
            if value not in held:
                block = blocks.get(value)
                if block is None:
                    block = blocks[value] = _Block(parent)
                    if parent is not None and parent in blocks:
                        blocks[parent].children += 1
                block.mask |= bit
                held[value] = None
                self._total += 1
            parent = value

    def _evict(self, slot: int, count: int) -> None:
        """Drops the `count` blocks that go first; those of running prompts only when there are no others.

        A running prompt is put behind all others when its last block is met, once: met again, it is the oldest of
        those that are left.
        """
        holding = self._held.get(slot)
        if holding is None or count <= 0:
            return
        held, pins = holding.blocks, holding.pins
        self.evicted += count
        spared: set[int] = set()
        for _ in range(count):
            while (value := next(iter(held))) in pins and value not in spared:
                spared.add(value)
                for each in reversed(pins[value][0]):
                    if each in held:
                        held.move_to_end(each)
            del held[value]
            self._unmark(slot, value)

    def _drop(self, slot: int, holding: _Holding, blocks: Sequence[int]) -> None:
        for value in blocks:
            if value in holding.blocks:
                del holding.blocks[value]
                self._unmark(slot, value)

    def _unmark(self, slot: int, value: int) -> None:
        """Takes a block that `slot` held out of the table."""
        self._total -= 1
        holding = self._held.get(slot)
        if holding is not None and holding.guesses:
            holding.guesses.pop(value, None)
        block = self._blocks[value]
        block.mask ^= 1 << slot
        if not block.mask:
            del self._blocks[value]
            # The parent can be gone where hashes collide, or where an endpoint told so.
            parent = None if block.parent is None else self._blocks.get(block.parent)
            if parent is not None:
                parent.children = max(0, parent.children - 1)

    def _make_room(self, slot: int) -> None:
        """Keeps the total: at the expense of the newcomer if it has its fair share, else of the largest."""
        while self._total > self._max_in_all:
            if self.size(slot) * len(self._held) < self._total:
                slot = max(self._held, key=self.size)
            self._evict(slot, min(self._total - self._max_in_all, self.size(slot)))


def _predicted(holding: _Holding) -> set[int]:
    """The blocks of all prompts that run there."""
    return set().union(*(blocks for blocks, _ in holding.pins.values()))
