"""What a block cache tells of itself, for every order of calls."""

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from sim.blocks import Hold
from sim.events import CacheEvent, Removed, Stored
from sim.telling_cache import TellingCache


def filled(cache: TellingCache, hashes: list[int]) -> Hold:
    """A request that has computed these blocks."""
    hold = Hold()
    cache.take(hold, len(hashes))
    for key in hashes:
        cache.seal(hold, key)
    return hold


def told(cache: TellingCache, at: float = 1.0) -> list[CacheEvent]:
    """Everything so far."""
    cache.tell(at)
    return cache.take_told()


def test_blocks_of_one_prompt_are_one_event() -> None:
    """A run of new blocks names the block before it; each change is told once, at its time."""
    cache = TellingCache(8)
    hold = filled(cache, [1, 2])
    assert told(cache, 1.5) == [Stored(1.5, (1, 2), None)]
    cache.take(hold, 1)
    cache.seal(hold, 3)
    filled(cache, [7])
    assert told(cache, 2.0) == [Stored(2.0, (3,), 2), Stored(2.0, (7,), None)]
    assert told(cache) == []


def test_a_found_prefix_is_the_parent() -> None:
    """What is pinned is not new; the next block follows it."""
    cache = TellingCache(8)
    cache.release(filled(cache, [1, 2]))
    told(cache)
    hold = Hold()
    cache.pin(hold, [1, 2])
    cache.take(hold, 1)
    cache.seal(hold, 3)
    assert told(cache) == [Stored(1.0, (3,), 2)]


def test_evictions_are_told_when_the_memory_is_used() -> None:
    """Not at the end of a request; then the least recently released first."""
    cache = TellingCache(3)
    cache.release(filled(cache, [1, 2, 3]))
    told(cache)
    cache.take(Hold(), 2)
    assert told(cache) == [Removed(1.0, (3, 2))]


def test_a_copy_is_told_when_it_is_all_there_is() -> None:
    """Not while its twin is there; when that was dropped, the copy's release brings the block back."""
    cache = TellingCache(5)
    first, second = filled(cache, [1, 2]), filled(cache, [1, 2])
    assert told(cache) == [Stored(1.0, (1, 2), None)]
    cache.release(first)
    cache.take(second, 3)
    assert told(cache) == [Removed(1.0, (2, 1))]
    cache.release(second)
    assert told(cache) == [Stored(1.0, (1, 2), None)]
    assert cache.match([1, 2], 2) == 2


class Tells(RuleBasedStateMachine):
    """In any order of pinning, computing and releasing, the events so far say what can be found."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.cache = TellingCache(9)
        self.known: dict[int, int | None] = {}
        self.held: set[int] = set()

    @rule(target=holds, chain=st.lists(st.integers(0, 2), max_size=5), is_blind=st.booleans())
    def admit(self, chain: list[int], is_blind: bool) -> Hold:
        """A request whose block hashes depend on all before them; a blind one computes what is there."""
        hashes = [hash(tuple(chain[: end + 1])) for end in range(len(chain))]
        self.known |= dict(zip(hashes, [None, *hashes], strict=False))
        hits = 0 if is_blind else self.cache.match(hashes, len(hashes))
        hold = Hold()
        if self.cache.available - self.cache.idle_among(hashes[:hits]) >= len(hashes) - hits:
            self.cache.pin(hold, hashes[:hits])
            self.cache.take(hold, len(hashes) - hits)
            for key in hashes[hits:]:
                self.cache.seal(hold, key)
        return hold

    @rule(hold=consumes(holds))
    def release(self, hold: Hold) -> None:
        """One request ends."""
        self.cache.release(hold)

    @invariant()
    def events_replay_to_the_cache(self) -> None:
        """Stored blocks were not there, removed ones were, parents are right, and the result is exact."""
        for event in told(self.cache):
            blocks = set(event.blocks)
            if isinstance(event, Stored):
                assert not blocks & self.held
                assert [self.known[key] for key in event.blocks] == [event.parent, *event.blocks[:-1]]
                self.held |= blocks
            else:
                assert blocks <= self.held
                self.held -= blocks
        assert self.held == {key for key in self.known if self.cache.match([key], 1)}


TestTells = Tells.TestCase
