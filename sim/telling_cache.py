"""A block cache that writes down what becomes findable in it and what is lost, as engines publish it.

Pure. It is a class of its own so that a cache of which nobody asks this pays nothing for it.

The set of findable blocks is told exactly: a block that another running request computed too is told once, and lost
once. (vLLM tells of each copy; a router that counts pods and not copies ends up with the same set.)
"""

from collections.abc import Sequence
from itertools import islice

from sim.blocks import BlockCache, Hold
from sim.events import CacheEvent, Removed, Stored


class TellingCache(BlockCache):
    """A `BlockCache` with a journal: changes, and, once `tell` has given them a time, events."""

    # What changes beside the base: the two lists. The single writer is the engine that owns the cache.
    __slots__ = ("_changes", "_told")

    def __init__(self, capacity: int) -> None:
        """Start with `capacity` free blocks and nothing to tell."""
        super().__init__(capacity)
        # Runs of blocks: (stored?, blocks, the block before the first one).
        self._changes: list[tuple[bool, list[int], int | None]] = []
        self._told: list[CacheEvent] = []

    def take(self, hold: Hold, count: int) -> None:
        """As `BlockCache.take`; what is dropped for it is lost."""
        lost = list(islice(self._idle, max(0, count - self.free)))
        super().take(hold, count)
        if lost:
            self._lost(lost)

    def seal(self, hold: Hold, key: int) -> None:
        """As `BlockCache.seal`; the block can be found from now on, if it could not before."""
        parent = hold.last
        is_new = not self._holds(key)
        super().seal(hold, key)
        if is_new:
            self._found(key, parent)

    def release(self, hold: Hold) -> None:
        """As `BlockCache.release`; a copy can be found again where the original has been dropped meanwhile."""
        back = [(key, parent) for key, parent in hold.copies.items() if not self._holds(key)]
        super().release(hold)
        for key, parent in back:
            self._found(key, parent)

    def tell(self, at: float) -> None:
        """Make events of all changes since the last time; they are known at `at` (seconds)."""
        for is_stored, blocks, parent in self._changes:
            self._told.append(Stored(at, tuple(blocks), parent) if is_stored else Removed(at, tuple(blocks)))
        self._changes.clear()

    def take_told(self) -> list[CacheEvent]:
        """The events since the last time, in order."""
        told, self._told = self._told, []
        return told

    def _holds(self, key: int) -> bool:
        return key in self._refs or key in self._idle

    def _found(self, key: int, parent: int | None) -> None:
        if self._changes:
            is_stored, blocks, _ = self._changes[-1]
            if is_stored and blocks[-1] == parent:
                blocks.append(key)
                return
        self._changes.append((True, [key], parent))

    def _lost(self, keys: Sequence[int]) -> None:
        if self._changes and not self._changes[-1][0]:
            self._changes[-1][1].extend(keys)
        else:
            self._changes.append((False, list(keys), None))
