"""From an engine's events to the picker's own blocks: what the engine holds, in hashes that every engine shares. Pure.

    blocks = KvBlocks("10.0.0.1:8000", Room())
    events = blocks.apply(0, batch.events, now)

An engine names its blocks as it likes (random seeds, several algorithms) and cuts prompts by its own block size; the
picker compares prompts by chained hashes of `BLOCK_TOKENS` tokens (`ext_proc.core.token_blocks`). So each engine block
is kept with where it ends in that chain, and a block of ours is *held* while every engine block under it is:

    engine blocks of 16   |a |b |c |d |e |f |          several make one of ours; what is not full yet waits
    ours, of 64           |     1     |     2 …
    engine blocks of 128  |           a           |    one makes several of ours

Only blocks whose whole prefix is known get a name: after messages were missed, chains without a beginning are counted
as orphans and left out. Whatever is doubtful is left out likewise, so that a pick is never sent after blocks that are
not there. Two copies of a block that an engine tells as one, and takes back as one, count as one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from ext_proc.core.events import CacheCleared, CacheEvent
from ext_proc.core.token_blocks import BLOCK_BYTES, TOKEN_BYTES, chained
from ext_proc.signals.kv_chain import DEAD, Block, Run, Told
from ext_proc.signals.kv_content import content_of, start_of
from ext_proc.signals.kv_wire import Cleared, Hash, KvEvent, Removed, Stored

MAX_BLOCKS_PER_ENDPOINT: Final = 1 << 18
"""Engine blocks: four million tokens in blocks of 16, or the whole memory of a large GPU in blocks of four."""

MAX_BLOCKS_IN_ALL: Final = 1 << 20
"""Over all endpoints: about 400 bytes each, so 400 MB at the very most. Blocks beyond are not known."""

COUNTED_MEDIA: Final = ("GPU", "CPU", "CPU_PINNED")
"""Memory of the engine and of its host: what is there is loaded, not computed again. Disks and remote stores are not
counted; what is there, other endpoints may have as well, and it comes late."""

MAX_RANKS: Final = 64
"""Data-parallel ranks behind one address; blocks of further ones are not counted."""

MAX_PLACES: Final = 32
"""Pairs of medium and group of layers that are told apart; an engine has a handful."""


@dataclass(slots=True)
class Room:
    """How many engine blocks may still be kept, over all endpoints. Mutable; written by their `KvBlocks`."""

    limit: int = MAX_BLOCKS_IN_ALL
    used: int = 0


@dataclass(slots=True)
class Unused:
    """What was told and is not kept. Mutable; all only grow."""

    orphans: int = 0
    """Blocks whose prefix is not known."""
    no_room: int = 0
    """Blocks beyond a limit."""
    elsewhere: int = 0
    """Blocks in media, of layers, or of ranks that do not count."""


@dataclass(slots=True)
class _Rank:
    """The cache of one data-parallel rank. Mutable; written by its `KvBlocks`."""

    blocks: dict[Hash, Block] = field(default_factory=dict)
    places: dict[tuple[str, int], int] = field(default_factory=dict)


class KvBlocks:
    """What one endpoint holds. Mutable: its ranks, what they hold, the counts. Single writer: the subscriber."""

    def __init__(self, address: str, room: Room, *, model: str = "", limit: int = MAX_BLOCKS_PER_ENDPOINT) -> None:
        """`model` starts the chains of prompts that use no adapter."""
        self.unused = Unused()
        self._address = address
        self._room = room
        self._model = model
        self._limit = limit
        self._used = 0
        self._ranks: dict[int, _Rank] = {}
        self._held: dict[int, int] = {}

    def __len__(self) -> int:
        """Blocks of ours that are held."""
        return len(self._held)

    def __contains__(self, block: int) -> bool:
        """Whether a block of ours is held."""
        return block in self._held

    @property
    def engine_blocks(self) -> int:
        """Engine blocks that are kept in mind."""
        return self._used

    def apply(self, rank: int, events: Iterable[KvEvent], at: float) -> list[CacheEvent]:
        """Takes what one rank tells; gives what it means in blocks of ours."""
        told = Told(self._address, at)
        for event in events:
            match event:
                case Stored():
                    self._store(rank, event, told)
                case Removed():
                    self._remove(rank, event, told)
                case Cleared():
                    told.flush()
                    told.events += self.clear(rank, at)
        told.flush()
        return told.events

    def clear(self, rank: int, at: float) -> list[CacheEvent]:
        """Forgets one rank; what others hold stays."""
        gone = self._ranks.pop(rank, None)
        told = Told(self._address, at)
        if gone is not None:
            self._give_back(len(gone.blocks))
            for block in gone.blocks.values():
                for run in block.runs:
                    if run.members[-1] is block and not run.missing:
                        self._release(run, told)
        if not self._held:
            return [CacheCleared(address=self._address, at=at)]
        told.flush()
        return told.events

    def forget(self) -> None:
        """Drops everything, to be called when the endpoint is not listened to any more."""
        self._give_back(self._used)
        self._ranks.clear()
        self._held.clear()

    # --- stored -----------------------------------------------------------------------------------------------------

    def _store(self, number: int, event: Stored, told: Told) -> None:
        place = self._place(number, event)
        if not place:
            self.unused.elsewhere += len(event.hashes)
            return
        rank = self._ranks[number]
        if not event.block_size:
            self._copy(rank, event, place, told)
            return
        before = None if event.parent is None else rank.blocks.get(event.parent)
        if before is None and event.parent is not None:
            self.unused.orphans += len(event.hashes)
            return
        for index, key in enumerate(event.hashes):
            block = rank.blocks.get(key)
            if block is not None:
                self._return(block, place, told)
            elif self._used < self._limit and self._room.used < self._room.limit:
                block = self._add(rank, Block(key, before, place), event, index, told)
            else:
                self.unused.no_room += len(event.hashes) - index
                return
            before = block

    def _copy(self, rank: _Rank, event: Stored, place: int, told: Told) -> None:
        """Blocks whose tokens are not told again."""
        for key in event.hashes:
            block = rank.blocks.get(key)
            if block is None:
                self.unused.orphans += 1
            else:
                self._return(block, place, told)

    def _place(self, number: int, event: Stored) -> int:
        """The bit of where it is; 0 where that does not count."""
        if event.medium not in COUNTED_MEDIA or not event.is_whole:
            return 0
        rank = self._ranks.get(number)
        if rank is None:
            if len(self._ranks) >= MAX_RANKS:
                return 0
            rank = self._ranks[number] = _Rank()
        where = event.medium, event.group
        if where not in rank.places and len(rank.places) < MAX_PLACES:
            rank.places[where] = 1 << len(rank.places)
        return rank.places.get(where, 0)

    def _return(self, block: Block, place: int, told: Told) -> None:
        """A known block is stored: again, in another place, or after it had gone."""
        was_gone = not block.places
        block.places |= place
        if was_gone:
            for run in block.runs:
                if run.missing != DEAD:
                    run.missing -= 1
                    if not run.missing:
                        self._hold(run, told)

    def _add(self, rank: _Rank, block: Block, event: Stored, index: int, told: Told) -> Block:
        width = event.block_size * TOKEN_BYTES
        tokens = event.tokens[index * width : (index + 1) * width]
        if event.extras and event.extras[index] is not None:
            tokens = content_of(event, index, tokens)
        before = block.before
        if before is None:
            block.chain = start_of(event, self._model)
        else:
            block.chain, block.is_start = before.chain, before.is_start
            if before.filled:
                block.filled = before.filled
                before.children += 1
            else:
                block.before = None
        rank.blocks[block.key] = block
        self._used += 1
        self._room.used += 1
        if block.filled + len(tokens) < BLOCK_BYTES:
            block.tail = tokens
            block.filled += len(tokens)
        else:
            self._name(block, tokens, told)
        return block

    def _name(self, block: Block, tokens: bytes, told: Told) -> None:
        """Names the blocks of ours that end in this engine block, and keeps what of it is left behind the last one."""
        members, begun = block.before.begun() if block.before is not None else ((), b"")
        start = -len(begun)
        while start + BLOCK_BYTES <= len(tokens):
            content = begun + tokens[max(0, start) : start + BLOCK_BYTES]
            parent = None if block.is_start else block.chain
            run = Run(chained(block.chain, content), parent, (*members, block))
            for member in run.members:
                member.lies_under(run)
            block.chain, block.is_start = run.name, False
            if not run.missing:
                self._hold(run, told)
            start += BLOCK_BYTES
            members, begun = (), b""
        block.tail = tokens[max(0, start) :]
        block.filled = len(tokens) - start

    def _hold(self, run: Run, told: Told) -> None:
        count = self._held.get(run.name, 0)
        self._held[run.name] = count + 1
        if not count:
            told.held(run)

    # --- removed ----------------------------------------------------------------------------------------------------

    def _remove(self, number: int, event: Removed, told: Told) -> None:
        rank = self._ranks.get(number)
        place = rank.places.get((event.medium, event.group), 0) if rank is not None else 0
        if rank is None or not place:
            return
        for key in event.hashes:
            block = rank.blocks.get(key)
            if block is None or not block.places & place:
                continue
            block.places &= ~place
            if not block.places:
                self._leave(rank, block, told)

    def _leave(self, rank: _Rank, block: Block, told: Told) -> None:
        for run in block.runs:
            if run.missing != DEAD:
                run.missing += 1
                if run.missing == 1:
                    self._release(run, told)
        forgotten: Block | None = block
        while forgotten is not None and not forgotten.places and not forgotten.children:
            forgotten = self._drop(rank, forgotten)

    def _drop(self, rank: _Rank, block: Block) -> Block | None:
        """Forgets a block on which no other one depends; gives the one that it depended on itself."""
        del rank.blocks[block.key]
        self._give_back(1)
        for run in block.runs:
            run.missing = DEAD
        if block.before is not None:
            block.before.children -= 1
        return block.before

    def _release(self, run: Run, told: Told) -> None:
        count = self._held[run.name] - 1
        if count:
            self._held[run.name] = count
        else:
            del self._held[run.name]
            told.gone(run)

    def _give_back(self, count: int) -> None:
        self._used -= count
        self._room.used -= count
