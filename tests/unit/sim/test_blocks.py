"""The block cache: sharing, eviction order, and that no block is ever lost."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from sim.blocks import BlockCache, Hold


def filled(cache: BlockCache, hashes: list[int]) -> Hold:
    """A hold that has computed these blocks."""
    hold = Hold()
    cache.take(hold, len(hashes))
    for key in hashes:
        cache.seal(hold, key)
    return hold


def test_released_blocks_stay_and_match() -> None:
    """What a request computed is found by the next one, from block 0 on."""
    cache = BlockCache(10)
    cache.release(filled(cache, [1, 2, 3]))
    assert repr(cache) == "<BlockCache free=7 idle=3 shared=0 private=0>"
    assert cache.match([1, 2, 3, 4], 4) == 3
    assert cache.match([1, 2, 3], 2) == 2


def test_a_match_is_a_run_from_block_zero() -> None:
    """Later blocks without their beginning are of no use."""
    cache = BlockCache(10)
    cache.release(filled(cache, [1, 2, 3]))
    assert cache.match([9, 2, 3], 3) == 0


def test_eviction_takes_the_oldest_and_its_tail_first() -> None:
    """Least recently released goes first, and within one request the tail before the head."""
    cache = BlockCache(6)
    cache.release(filled(cache, [1, 2, 3]))
    cache.release(filled(cache, [4, 5, 6]))
    cache.take(Hold(), 2)
    assert (cache.match([1, 2, 3], 3), cache.match([4, 5, 6], 3)) == (1, 3)


def test_use_makes_blocks_recent() -> None:
    """A prefix that was used again outlives one that was not."""
    cache = BlockCache(4)
    cache.release(filled(cache, [1, 2]))
    cache.release(filled(cache, [3, 4]))
    again = Hold()
    cache.pin(again, [1, 2])
    cache.release(again)
    cache.take(Hold(), 2)
    assert (cache.match([1, 2], 2), cache.match([3, 4], 2)) == (2, 0)


def test_pinned_blocks_are_never_evicted() -> None:
    """Blocks of a running request are not available, however old."""
    cache = BlockCache(4)
    filled(cache, [1, 2])
    cache.release(filled(cache, [3, 4]))
    assert cache.available == 2
    with pytest.raises(ValueError, match="3 blocks wanted, 2 available"):
        cache.take(Hold(), 3)


def test_shared_blocks_leave_with_their_last_user() -> None:
    """Two users of one block count as one block, and it is idle only after both."""
    cache = BlockCache(4)
    first, second = filled(cache, [1]), Hold()
    cache.pin(second, [1])
    assert cache.used == 1
    cache.release(first)
    assert repr(cache) == "<BlockCache free=3 idle=0 shared=1 private=0>"
    cache.release(second)
    assert repr(cache) == "<BlockCache free=3 idle=1 shared=0 private=0>"


def test_the_same_block_computed_twice_is_held_twice() -> None:
    """Two requests that compute one prefix at the same time each pay for it; one copy remains."""
    cache = BlockCache(4)
    first, second = filled(cache, [1]), filled(cache, [1])
    assert repr(cache) == "<BlockCache free=2 idle=0 shared=1 private=1>"
    cache.release(first)
    cache.release(second)
    assert repr(cache) == "<BlockCache free=3 idle=1 shared=0 private=0>"


def test_a_copy_survives_the_eviction_of_the_first() -> None:
    """A copy whose twin was dropped in the meantime becomes the cached one."""
    cache = BlockCache(3)
    first, second = filled(cache, [1]), filled(cache, [1])
    cache.release(first)
    cache.take(second, 2)
    assert cache.match([1], 1) == 0
    cache.release(second)
    assert cache.match([1], 1) == 1


class Blocks(RuleBasedStateMachine):
    """Any order of pinning, computing and releasing keeps the books balanced."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.cache = BlockCache(12)
        self.live: list[Hold] = []

    @rule(target=holds, chain=st.lists(st.integers(0, 3), max_size=6))
    def admit(self, chain: list[int]) -> Hold:
        """Admit one request whose block hashes depend on all before them."""
        hashes = [hash(tuple(chain[: end + 1])) for end in range(len(chain))]
        hits = self.cache.match(hashes, len(hashes))
        hold = Hold()
        if self.cache.available - self.cache.idle_among(hashes[:hits]) >= len(hashes) - hits:
            self.cache.pin(hold, hashes[:hits])
            self.cache.take(hold, len(hashes) - hits)
            for key in hashes[hits:]:
                self.cache.seal(hold, key)
        self.live.append(hold)
        return hold

    @rule(hold=holds, count=st.integers(0, 3))
    def grow(self, hold: Hold, count: int) -> None:
        """Give a request blocks that nobody else will find."""
        if hold in self.live and count <= self.cache.available:
            self.cache.take(hold, count)

    @rule(hold=consumes(holds))
    def release(self, hold: Hold) -> None:
        """End one request."""
        self.cache.release(hold)
        self.live = [other for other in self.live if other is not hold]
        assert hold.blocks == 0

    @precondition(lambda self: not self.live)
    @rule()
    def nothing_is_used(self) -> None:
        """Without requests everything is available."""
        assert self.cache.available == self.cache.capacity

    @invariant()
    def blocks_are_conserved(self) -> None:
        """Free, idle, shared and private blocks add up, and the holds account for all in use."""
        cache = self.cache
        assert cache.free >= 0
        assert cache.free + cache.idle + cache.used == cache.capacity
        shared = {key for hold in self.live for key in hold.shared}
        assert cache.used == len(shared) + sum(hold.private for hold in self.live)


TestBlocks = Blocks.TestCase
