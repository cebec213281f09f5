"""Engine blocks, the blocks of ours on them, and the events that come of both; `kv_blocks` puts them together. Pure."""

from dataclasses import dataclass, field
from typing import Final

from ext_proc.core.events import BlocksRemoved, BlocksStored, CacheEvent
from ext_proc.signals.kv_wire import Hash

DEAD: Final = -1
"""`missing` of a run that lives no longer; members forget it when their list is cleaned."""

CLEAN_FROM: Final = 16
"""Lists of runs are cleaned when they reach this length and each double of it, so cleaning costs nothing on average."""


class Run:
    """A block of ours on the engine blocks that lie under it: `members`, of which `missing` are gone. Mutable.

    It lives as long as the last of them is known. `parent` is the block of ours before it.
    """

    __slots__ = ("members", "missing", "name", "parent")

    def __init__(self, name: int, parent: int | None, members: "tuple[Block, ...]") -> None:
        self.name = name
        self.parent = parent
        self.members = members
        self.missing = sum(not member.places for member in members)


class Block:
    """An engine block. Mutable; written by its `KvBlocks`.

    `places` is a bitmask of where it is; 0: it is gone, and is kept for the `children` that share a block of ours with
    it. `chain` is the hash of the last block of ours that ends within it or before; while none has ended, what the
    prompt's chain starts with (`is_start`). `tail` are its tokens behind that end, and `filled` the bytes of tokens
    behind that end, those of the blocks before it included. `runs` are the blocks of ours that lie on it.
    """

    __slots__ = ("before", "chain", "children", "filled", "is_start", "key", "places", "runs", "tail")

    def __init__(self, key: Hash, before: "Block | None", places: int) -> None:
        self.key = key
        self.before = before
        self.places = places
        self.children = 0
        self.chain = 0
        self.is_start = True
        self.tail = b""
        self.filled = 0
        self.runs: list[Run] = []

    def begun(self) -> "tuple[tuple[Block, ...], bytes]":
        """The engine blocks under the block of ours that has begun and not ended here, and its tokens so far."""
        members, parts, length = [self], [self.tail], len(self.tail)
        while length < self.filled:
            before = members[-1].before
            assert before is not None, "what has begun in an earlier block depends on it"
            members.append(before)
            parts.append(before.tail)
            length += len(before.tail)
        return tuple(reversed(members)), b"".join(reversed(parts))

    def lies_under(self, run: Run) -> None:
        """Notes a block of ours that lies on this one."""
        self.runs.append(run)
        count = len(self.runs)
        if count >= CLEAN_FROM and not count & (count - 1):
            self.runs = [kept for kept in self.runs if kept.missing != DEAD]


@dataclass(slots=True)
class Told:
    """Events in the making: blocks that follow each other become one. Mutable."""

    address: str
    at: float
    events: list[CacheEvent] = field(default_factory=list)
    stored: list[int] = field(default_factory=list)
    parent: int | None = None
    removed: list[int] = field(default_factory=list)

    def held(self, run: Run) -> None:
        """A block of ours is there now."""
        if self.removed or (self.stored and self.stored[-1] != run.parent):
            self.flush()
        if not self.stored:
            self.parent = run.parent
        self.stored.append(run.name)

    def gone(self, run: Run) -> None:
        """It is there no longer."""
        if self.stored:
            self.flush()
        self.removed.append(run.name)

    def flush(self) -> None:
        """Makes events of what has been told so far."""
        if self.stored:
            stored = tuple(self.stored)
            self.events.append(BlocksStored(address=self.address, at=self.at, blocks=stored, parent=self.parent))
        if self.removed:
            self.events.append(BlocksRemoved(address=self.address, at=self.at, blocks=tuple(self.removed)))
        self.stored, self.removed = [], []
