"""The KV memory of one engine: blocks with reference counts, shared prefixes, and what is left behind as a cache.

Pure. The rules are those of vLLM's V1 block pool: a full block is known by a hash chained over all tokens before it; a
block of a running request is pinned; a block nobody uses stays as cache until memory is needed, least recently released
first, the tail of an ended request before its head; running requests take memory away from the cache.

Two simplifications, neither of which changes how much memory is available: a released block without a hash is free at
once (vLLM queues it behind older cached ones), and of two equal blocks only one stays as cache.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Hold:
    """The blocks that one running request holds. Mutable; written by `BlockCache` alone."""

    shared: list[int] = field(default_factory=list)
    """Hashes referenced in the cache, in the order of the prompt."""

    copies: dict[int, int | None] = field(default_factory=dict)
    """Hashes of full blocks that another running request holds too, computed twice and so held twice; each with the
    hash of the block before it (None: it begins the prompt)."""

    last: int | None = None
    """The last of all these hashes, in the order of the prompt."""

    private: int = 0
    """Blocks of its own that no hash leads to: copies, and blocks that are not full or whose hash nobody gave."""

    @property
    def blocks(self) -> int:
        """Blocks held in all."""
        return len(self.shared) + self.private

    @property
    def sealed(self) -> int:
        """Full blocks known by hash."""
        return len(self.shared) + len(self.copies)


class BlockCache:
    """All blocks of one engine: `capacity` = free + idle (cached, unused) + shared (in use) + private (in use)."""

    # What changes: the three counts below. The single writer is the engine that owns the cache.
    __slots__ = ("_idle", "_private", "_refs", "capacity")

    def __init__(self, capacity: int) -> None:
        """Start with `capacity` free blocks."""
        self.capacity = capacity
        self._refs: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._private = 0

    def __repr__(self) -> str:
        """Say how the blocks are divided; tests compare it."""
        return f"<BlockCache free={self.free} idle={self.idle} shared={self.shared} private={self._private}>"

    @property
    def shared(self) -> int:
        """Blocks that running requests reference by hash."""
        return len(self._refs)

    @property
    def idle(self) -> int:
        """Blocks that only the cache keeps."""
        return len(self._idle)

    @property
    def used(self) -> int:
        """Blocks that running requests hold; what vLLM's `kv_cache_usage_perc` counts."""
        return len(self._refs) + self._private

    @property
    def available(self) -> int:
        """Blocks that a request can get: free ones and idle ones."""
        return self.capacity - self.used

    @property
    def free(self) -> int:
        """Blocks that hold nothing."""
        return self.available - len(self._idle)

    def match(self, hashes: Sequence[int], limit: int) -> int:
        """Length of the run from block 0 that is here, at most `limit`."""
        refs, idle = self._refs, self._idle
        count = 0
        for key in hashes[:limit]:
            if key not in refs and key not in idle:
                break
            count += 1
        return count

    def idle_among(self, hashes: Sequence[int]) -> int:
        """How many of these blocks only the cache keeps; pinning them takes that many from `available`."""
        idle = self._idle
        return sum(key in idle for key in hashes)

    def pin(self, hold: Hold, hashes: Sequence[int]) -> None:
        """Give `hold` these blocks, all of which are here."""
        for key in hashes:
            self._reference(key)
        hold.shared.extend(hashes)
        hold.last = hold.shared[-1] if hold.shared else None

    def take(self, hold: Hold, count: int) -> None:
        """Give `hold` `count` new blocks, dropping the least recently released idle ones as needed.

        Raises ValueError when fewer are available.
        """
        if count > self.available:
            raise ValueError(f"{count} blocks wanted, {self.available} available")
        for _ in range(count - self.free):
            self._idle.popitem(last=False)
        self._private += count
        hold.private += count

    def seal(self, hold: Hold, key: int) -> None:
        """Make one full private block of `hold`, the one behind its last one, known by its hash."""
        parent, hold.last = hold.last, key
        if key in self._refs:
            hold.copies[key] = parent
            return
        # An idle block with this hash is redundant now: it becomes this one, and one block gets free.
        self._reference(key)
        self._private -= 1
        hold.private -= 1
        hold.shared.append(key)

    def release(self, hold: Hold) -> None:
        """Take everything back from `hold`; its full blocks stay as cache, the tail to be dropped first."""
        self._private -= hold.private
        for key in reversed(hold.copies):
            if key not in self._refs:
                self._idle[key] = None
                self._idle.move_to_end(key)
        for key in reversed(hold.shared):
            left = self._refs[key] - 1
            if left:
                self._refs[key] = left
            else:
                del self._refs[key]
                self._idle[key] = None
        hold.shared, hold.copies, hold.private, hold.last = [], {}, 0, None

    def _reference(self, key: int) -> None:
        count = self._refs.get(key, 0)
        if not count:
            self._idle.pop(key, None)
        self._refs[key] = count + 1
