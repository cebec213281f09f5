"""From engine blocks to blocks of ours: what is held is what lies entirely on blocks that the engine has."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.events import BlocksRemoved, BlocksStored, CacheCleared, CacheEvent
from ext_proc.core.token_blocks import token_block_hashes
from ext_proc.signals import kv_blocks
from ext_proc.signals.kv_blocks import KvBlocks, Room
from ext_proc.signals.kv_chain import CLEAN_FROM
from ext_proc.signals.kv_wire import Batch, Cleared, KvEvent, Removed, Stored, decode_batch
from tests.unit.ext_proc.signals.kv_samples import CAPTURES, capture, stored

POD = "10.0.0.1:8000"


class Follower:
    """Blocks, and a reader who believes their events."""

    def __init__(self, room: Room | None = None, **more: Any) -> None:
        self.blocks = KvBlocks(POD, room or Room(), **more)
        self.believed: set[int] = set()
        self.events: list[CacheEvent] = []

    def tell(self, *events: KvEvent, rank: int = 0) -> list[CacheEvent]:
        """Applies events and checks what the reader makes of them."""
        return self.hear(self.blocks.apply(rank, events, at=5.0))

    def clear(self, rank: int = 0) -> list[CacheEvent]:
        """Forgets a rank."""
        return self.hear(self.blocks.clear(rank, at=5.0))

    def hear(self, news: list[CacheEvent]) -> list[CacheEvent]:
        """The reader's part: each block is stored once and removed once."""
        for event in news:
            assert (event.address, event.at) == (POD, 5.0)
            match event:
                case BlocksStored():
                    assert event.blocks
                    assert self.believed.isdisjoint(event.blocks)
                    assert len(set(event.blocks)) == len(event.blocks)
                    self.believed.update(event.blocks)
                case BlocksRemoved():
                    assert event.blocks
                    assert self.believed.issuperset(event.blocks)
                    self.believed.difference_update(event.blocks)
                case CacheCleared():
                    self.believed.clear()
        assert len(self.blocks) == len(self.believed)
        assert all(block in self.blocks for block in self.believed)
        self.events += news
        return news


IDS = list(range(1_000, 1_512))
OURS = token_block_hashes(IDS, "")


def stored_ids(first: int, count: int, size: int, ids: Sequence[int] = IDS, **more: Any) -> Stored:
    """`count` engine blocks of a prompt from its block `first` on; their names are 100, 101, …"""
    names = range(100 + first, 100 + first + count)
    cut = ids[first * size : (first + count) * size]
    return stored(list(names), cut, size, parent=99 + first if first else None, **more)


def removed(*names: int, **more: Any) -> Removed:
    """Blocks that are gone."""
    return Removed(hashes=names, **more)


def test_several_engine_blocks_make_one_of_ours() -> None:
    """Blocks of 16: four make one; what is not full yet waits, and follows its parent when it is."""
    follower = Follower()
    assert follower.tell(stored_ids(0, 6, 16)) == [BlocksStored(address=POD, at=5.0, blocks=OURS[:1])]
    assert follower.tell(stored_ids(6, 1, 16)) == []
    assert follower.tell(stored_ids(7, 5, 16)) == [BlocksStored(address=POD, at=5.0, blocks=OURS[1:3], parent=OURS[0])]


def test_one_engine_block_makes_several_of_ours() -> None:
    """Blocks of 128: each is two of ours, and takes both with it."""
    follower = Follower()
    follower.tell(stored_ids(0, 2, 128))
    assert follower.believed == set(OURS[:4])
    assert follower.tell(removed(101)) == [BlocksRemoved(address=POD, at=5.0, blocks=OURS[2:4])]


@pytest.mark.parametrize("size", [1, 16, 32, 48, 64, 80, 128, 256])
def test_any_block_size(size: int) -> None:
    """Whatever the engine's blocks are, all that is full is known; without the first one nothing before its end is."""
    follower = Follower()
    count = len(IDS) // size
    follower.tell(stored_ids(0, count, size))
    assert follower.believed == set(OURS[: count * size // BLOCK_TOKENS])
    follower.tell(removed(100))
    assert follower.believed == set(OURS[-(-size // BLOCK_TOKENS) : count * size // BLOCK_TOKENS])
    follower.tell(stored_ids(0, 1, size))
    assert follower.believed == set(OURS[: count * size // BLOCK_TOKENS])
    follower.tell(removed(*range(100, 100 + count)))
    assert follower.believed == set()
    assert follower.blocks.engine_blocks == 0


def test_branches_share_an_engine_block() -> None:
    """Two prompts that part within one of our blocks: taking the common part takes both, a tail only its own."""
    follower = Follower()
    other = IDS[:48] + [7] * 16
    follower.tell(stored_ids(0, 4, 16), stored([900], other[48:], 16, parent=102))
    ours = {OURS[0], token_block_hashes(other, "")[0]}
    assert follower.believed == ours
    follower.tell(removed(900))
    assert follower.believed == {OURS[0]}
    follower.tell(stored([900], other[48:], 16, parent=102), removed(100))
    assert follower.believed == set()
    follower.tell(stored_ids(0, 1, 16))
    assert follower.believed == ours


def test_removal_of_one_copy_of_ours() -> None:
    """Two large engine blocks begin with the same block of ours: it stays until both are gone."""
    follower = Follower()
    follower.tell(stored([1], IDS[:128], 128), stored([2], [*IDS[:64], *[7] * 64], 128))
    follower.tell(removed(1))
    assert OURS[0] in follower.believed
    follower.tell(removed(2))
    assert follower.believed == set()


def test_media_are_kept_apart() -> None:
    """A block in two memories is held until it has left both; disks and remote stores do not count."""
    follower = Follower()
    follower.tell(stored_ids(0, 4, 16), stored_ids(0, 4, 16, medium="CPU_PINNED"))
    follower.tell(removed(100, 101, 102, 103), removed(100, medium="DISK"))
    assert follower.believed == {OURS[0]}
    follower.tell(removed(102, medium="CPU_PINNED"))
    assert follower.believed == set()
    follower.tell(stored_ids(0, 4, 16, medium="STORAGE"), stored_ids(0, 4, 16, medium="REMOTE CPU"))
    assert follower.believed == set()
    assert follower.blocks.unused.elsewhere == 8


def test_copies_without_tokens() -> None:
    """Offloading tells of blocks by their names alone: known ones are held there, too, others are left out."""
    follower = Follower()
    copy = stored([100, 101, 102, 103, 999], [], 0, medium="CPU")
    follower.tell(stored_ids(0, 4, 16), copy, removed(100, 101, 102, 103))
    assert follower.believed == {OURS[0]}
    assert follower.blocks.unused.orphans == 1
    follower.tell(removed(103, medium="CPU"), replace(copy, hashes=(103,)))
    assert follower.believed == set()


def test_layers_that_forget_do_not_count() -> None:
    """A model's sliding-window layers drop blocks early; those of full attention say what a prefix is worth."""
    follower = Follower()
    follower.tell(stored_ids(0, 4, 16), stored_ids(0, 4, 16, group=1, is_whole=False), removed(100, group=1))
    assert follower.believed == {OURS[0]}


def test_chains_start_apart() -> None:
    """Adapter and salt, told in either engine's way, lead to the chains that the picker makes of a request."""
    ids = IDS[:BLOCK_TOKENS]
    for told, ours in (
        ({}, token_block_hashes(ids, "base")),
        ({"adapter": "sql"}, token_block_hashes(ids, "sql")),
        ({"salt": "s"}, token_block_hashes(ids, "base", "s")),
        ({"extras": (["s"],)}, token_block_hashes(ids, "base", "s")),
        ({"extras": (["sql", "s"],), "adapter": "sql"}, token_block_hashes(ids, "sql", "s")),
        ({"extras": (["sql"],), "adapter": "sql"}, token_block_hashes(ids, "sql")),
        ({"extras": (None,)}, token_block_hashes(ids, "base")),
    ):
        follower = Follower(model="base")
        follower.tell(stored([1], ids, BLOCK_TOKENS, **told))
        assert follower.believed == set(ours)


def test_images_are_no_tokens() -> None:
    """A block that holds more than its tokens, and all behind it, is what no text is."""
    follower = Follower()
    follower.tell(stored([1, 2], IDS[:128], 64, extras=(None, [["image", 3]])), stored([3], IDS[128:192], 64, parent=2))
    assert OURS[0] in follower.believed
    assert len(follower.believed) == 3
    assert follower.believed.isdisjoint(OURS[1:])


def test_orphans() -> None:
    """Blocks behind an unknown one are left out; they count."""
    follower = Follower()
    assert follower.tell(stored_ids(4, 4, 16), removed(104)) == []
    assert follower.blocks.unused.orphans == 4


def test_ranks() -> None:
    """What one data-parallel rank holds, the endpoint holds; a rank that is cleared takes only its own."""
    follower = Follower()
    follower.tell(stored_ids(0, 8, 16), rank=0)
    follower.tell(stored_ids(0, 4, 16), rank=1)
    assert follower.clear(0) == [BlocksRemoved(address=POD, at=5.0, blocks=OURS[1:2])]
    assert follower.tell(removed(100), rank=0) == []
    assert follower.clear(1) == [CacheCleared(address=POD, at=5.0)]
    assert follower.blocks.engine_blocks == 0
    assert follower.clear(7) == [CacheCleared(address=POD, at=5.0)]


def test_cleared() -> None:
    """The engine has dropped its cache; what it tells in the same breath counts."""
    follower = Follower()
    news = follower.tell(stored_ids(0, 4, 16), Cleared(), stored_ids(0, 4, 16))
    assert [type(event) for event in news] == [BlocksStored, CacheCleared, BlocksStored]
    assert follower.believed == {OURS[0]}


def test_room() -> None:
    """Beyond the limit of an endpoint, or of all together, blocks are not known; what is removed makes room."""
    room = Room(limit=6)
    one, other = Follower(room), Follower(room, limit=3)
    other.tell(stored_ids(0, 8, 16))
    assert (other.blocks.engine_blocks, other.blocks.unused.no_room, room.used) == (3, 5, 3)
    one.tell(stored_ids(0, 8, 16))
    assert (one.blocks.engine_blocks, one.blocks.unused.no_room, room.used) == (3, 5, 6)
    other.blocks.forget()
    one.tell(stored_ids(3, 1, 16))
    assert one.believed == {OURS[0]}
    one.clear()
    assert room.used == 0


def test_limits_of_ranks_and_places() -> None:
    """An engine that invents ranks and groups without end is not followed there."""
    follower = Follower()
    for number in range(kv_blocks.MAX_RANKS + 1):
        follower.tell(stored_ids(0, 1, 16), rank=number)
    assert follower.blocks.engine_blocks == kv_blocks.MAX_RANKS
    for group in range(kv_blocks.MAX_PLACES + 1):
        follower.tell(stored_ids(0, 1, 16, group=group))
    follower.tell(*(removed(100, group=group) for group in range(kv_blocks.MAX_PLACES)))
    assert follower.blocks.engine_blocks == kv_blocks.MAX_RANKS - 1


def test_many_branches_behind_a_common_beginning() -> None:
    """A prefix that ends within one of our blocks, with continuations that come and go, stays as small as it is."""
    follower = Follower()
    follower.tell(stored_ids(0, 3, 16))
    for number in range(2_000):
        follower.tell(stored([1_000 + number], [number] * 16, 16, parent=102), removed(1_000 + number - 1))
    assert follower.blocks.engine_blocks == 4
    common = follower.blocks._ranks[0].blocks[102]
    assert len(common.runs) < 2 * CLEAN_FROM


class Naive:
    """The same by brute force: every engine block with its whole prefix."""

    def __init__(self) -> None:
        self.prefix: dict[int, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        """Engine block → the names of its prefix and itself, and all their tokens."""
        self.live: set[int] = set()

    def tell(self, event: Stored | Removed) -> None:
        """Applies one event."""
        if isinstance(event, Removed):
            self.live.difference_update(int(name) for name in event.hashes)
            return
        names, tokens = self.prefix[event.parent] if isinstance(event.parent, int) else ((), ())
        width = event.block_size * 4
        for index, name in enumerate(event.hashes):
            cut = event.tokens[index * width : (index + 1) * width]
            names, tokens = (*names, int(name)), (*tokens, *memoryview(cut).cast("I"))
            self.prefix[int(name)] = names, tokens
            self.live.add(int(name))

    def held(self, size: int) -> set[int]:
        """All blocks of ours that lie on live engine blocks only."""
        held = set()
        for name in self.live:
            names, tokens = self.prefix[name]
            ours = token_block_hashes(tokens, "")
            for index in range(len(tokens) // BLOCK_TOKENS):
                first, last = index * BLOCK_TOKENS // size, (index * BLOCK_TOKENS + BLOCK_TOKENS - 1) // size
                if self.live.issuperset(names[first : last + 1]):
                    held.add(ours[index])
        return held


STEP = st.tuples(st.booleans(), st.lists(st.integers(0, 1), min_size=1, max_size=6), st.integers(1, 3))


@settings(max_examples=150)
@given(st.sampled_from([8, 16, 32, 48, 64, 96, 128, 160]), st.lists(STEP, max_size=40))
def test_as_by_brute_force(size: int, steps: list[tuple[bool, list[int], int]]) -> None:
    """Any order of stores behind known blocks and removals of any block: what is held is what it should be."""
    follower, naive = Follower(), Naive()
    for is_stored, path, count in steps:
        names = [name_of(path[: end + 1]) for end in range(len(path))]
        if not is_stored:
            events: list[Stored | Removed] = [removed(names[-1])]
        else:
            first = max(0, len(path) - count)
            parent = names[first - 1] if first else None
            if parent is not None and parent not in naive.live:
                first, parent = 0, None
            ids = [token for turn in path[first:] for token in [turn] * size]
            events = [stored(names[first:], ids, size, parent=parent)]
        for event in events:
            naive.tell(event)
            follower.tell(event)
        assert follower.believed == naive.held(size)
    follower.tell(removed(*naive.live))
    assert follower.blocks.engine_blocks == 0


def name_of(path: Iterable[int]) -> int:
    """An engine's name for the block at the end of a path of choices."""
    return int("1" + "".join(map(str, path)))


@pytest.mark.parametrize("name", CAPTURES)
def test_recordings(name: str) -> None:
    """After each message the engine blocks are those that the decoded column implies, and ours what lies on them."""
    follower = Follower()
    live: dict[int, tuple[tuple[int, ...], tuple[int, ...], str]] = {}
    for row in capture(name):
        batch = decode_batch(bytes.fromhex(row["payload_hex"]))
        assert isinstance(batch, Batch)
        follower.tell(*batch.events)
        for told in row["decoded"][1]:
            follow(live, told)
        kept = {key for key, block in follower.blocks._ranks[0].blocks.items() if block.places}
        assert kept == live.keys()
        assert follower.believed == held_of(live)
    assert live
    assert follower.believed


Live = dict[int, tuple[tuple[int, ...], tuple[int, ...], str]]


def follow(live: Live, told: dict[str, Any]) -> None:
    """A decoded event, applied without our code: block → the names up to it, their tokens, their salt."""
    if told["type"] == "BlockRemoved":
        for name in told["block_hashes"]:
            live.pop(name)
        return
    names, tokens, salt = live.get(told["parent_block_hash"], ((), (), ""))
    size = told["block_size"]
    extras = told.get("extra_keys") or [None] * len(told["block_hashes"])
    for index, name in enumerate(told["block_hashes"]):
        salt = extras[index][0] if extras[index] else salt
        names, tokens = (*names, name), (*tokens, *told["token_ids"][index * size : (index + 1) * size])
        live[name] = names, tokens, salt


def held_of(live: Live) -> set[int]:
    """Blocks of ours that lie on live blocks only."""
    held = set()
    for names, tokens, salt in live.values():
        size = len(tokens) // len(names)
        ours = token_block_hashes(tokens, "", salt)
        for index in range(len(tokens) // BLOCK_TOKENS):
            under = names[index * BLOCK_TOKENS // size : -(-(index + 1) * BLOCK_TOKENS // size)]
            if all(name in live for name in under):
                held.add(ours[index])
    return held


def test_stored_again_elsewhere_is_one() -> None:
    """An engine that computes a block twice tells it twice, and takes it back once or twice."""
    follower = Follower()
    event = stored_ids(0, 4, 16)
    follower.tell(event, replace(event), removed(100))
    assert follower.believed == set()
    assert follower.tell(removed(100)) == []
