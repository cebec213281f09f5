"""Which endpoint was sent which prefix: per endpoint an LRU of block hashes, over all of them hash → bitmask of slots.

What an endpoint is believed to hold is *prefix-closed*: with a block it holds all blocks before it, because every use
touches a chain from its tail to its head, so that the tail is always evicted first. A match is therefore a run from
block 0, and one walk over the hashes finds the run of every endpoint at once.

**Fan-out.** Each block knows how many distinct blocks follow it. Where many different prompts continue the same prefix
(a system prompt that everybody shares), that number is large; inside one conversation it is one. `kv-aware` charges a
missing common prefix only in part. This is our own rule, not one of the published ones.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.slots import BoolArray, IntArray

# Per endpoint: a million tokens, what a large GPU's KV memory holds; told the real capacity, the index uses that.
MAX_BLOCKS_PER_SLOT = 16_384

# Over all endpoints: about 300 bytes each when nothing is shared, so about 300 MB at the very most.
MAX_BLOCKS_IN_ALL = 1 << 20

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
    `common_blocks` is the length of the prefix that at least `COMMON_FAN_OUT` distinct prompts continue (0: none), and
    `fan_out` the number of continuations after it (1 without such a prefix).
    """

    runs: tuple[tuple[int, int], ...] = ()
    common_blocks: int = 0
    fan_out: int = 1

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


class PrefixIndex:
    """The index.

    Mutable: the table of blocks, the LRU of each slot, their capacities and the total; the picker is the only writer.
    """

    def __init__(self, *, max_per_slot: int = MAX_BLOCKS_PER_SLOT, max_in_all: int = MAX_BLOCKS_IN_ALL) -> None:
        self._max_per_slot = max_per_slot
        self._max_in_all = max_in_all
        self._blocks: dict[int, _Block] = {}
        self._held: dict[int, OrderedDict[int, None]] = {}
        self._capacity: dict[int, int] = {}
        self._total = 0

    def __len__(self) -> int:
        """Blocks held, counted once for each endpoint that holds them."""
        return self._total

    def size(self, slot: int) -> int:
        """Blocks that one endpoint holds."""
        return len(self._held.get(slot, ()))

    def set_capacity(self, slot: int, kv_tokens: int) -> None:
        """Tells the KV memory of an endpoint, in tokens; it takes effect with the next prompt."""
        self._capacity[slot] = max(1, kv_tokens // BLOCK_TOKENS)

    def match(self, hashes: Sequence[int]) -> Match:
        """The runs of all endpoints over a prompt's block hashes."""
        runs: list[tuple[int, int]] = []
        mask = common = 0
        fan_out = 1
        depth = 0
        blocks = self._blocks
        for value in hashes:
            block = blocks.get(value)
            if block is None:
                break
            if block.mask != mask:
                if depth:
                    runs.append((mask, depth))
                mask = block.mask
            depth += 1
            if block.children >= COMMON_FAN_OUT:
                common, fan_out = depth, block.children
        if depth:
            runs.append((mask, depth))
        return Match(tuple(runs), common, fan_out)

    def insert(self, slot: int, hashes: Sequence[int]) -> None:
        """Notes that `slot` will hold the blocks of a prompt, and makes room for them."""
        limit = min(self._capacity.get(slot, self._max_per_slot), self._max_per_slot, self._max_in_all)
        hashes = hashes[:limit]
        held = self._held.setdefault(slot, OrderedDict())
        self._add_new(slot, held, hashes)
        touch = held.move_to_end
        for value in reversed(hashes):
            touch(value)
        self._evict(slot, len(held) - limit)
        self._make_room(slot)

    def forget(self, slot: int) -> None:
        """Drops all that is known about an endpoint: it left, or its process ended and its memory with it."""
        self._evict(slot, self.size(slot))
        self._held.pop(slot, None)
        self._capacity.pop(slot, None)

    def _add_new(self, slot: int, held: "OrderedDict[int, None]", hashes: Sequence[int]) -> None:
        bit = 1 << slot
        blocks = self._blocks
        parent: int | None = None
        for value in hashes:
            if value not in held:
                block = blocks.get(value)
                if block is None:
                    block = blocks[value] = _Block(parent)
                    if parent is not None:
                        blocks[parent].children += 1
                block.mask |= bit
                held[value] = None
                self._total += 1
            parent = value

    def _evict(self, slot: int, count: int) -> None:
        held = self._held.get(slot)
        if held is None:
            return
        bit = 1 << slot
        for _ in range(count):
            value, _none = held.popitem(last=False)
            block = self._blocks[value]
            block.mask ^= bit
            if not block.mask:
                del self._blocks[value]
                # Only where two prompts' hashes collide can the parent have gone first.
                parent = None if block.parent is None else self._blocks.get(block.parent)
                if parent is not None:
                    parent.children -= 1
        self._total -= max(0, count)

    def _make_room(self, slot: int) -> None:
        """Keeps the total: at the expense of the newcomer if it has its fair share, else of the largest."""
        while self._total > self._max_in_all:
            if self.size(slot) * len(self._held) < self._total:
                slot = max(self._held, key=self.size)
            self._evict(slot, min(self._total - self._max_in_all, self.size(slot)))
