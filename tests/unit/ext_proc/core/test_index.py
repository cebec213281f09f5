"""The prefix index against a naive one, its bounds, and fan-out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.index import COMMON_FAN_OUT, MAX_RUNS, Match, PrefixIndex, slots_in

SLOTS = 64


def chain(*names: int) -> tuple[int, ...]:
    """Hashes as `blocks` makes them: each one stands for all up to it."""
    return tuple(hash(names[: n + 1]) & (2**64 - 1) for n in range(len(names)))


def depths(index: PrefixIndex, hashes: tuple[int, ...]) -> dict[int, int]:
    """Blocks held, for the slots that hold any."""
    found = index.match(hashes).depths(SLOTS)
    return {slot: int(depth) for slot, depth in enumerate(found) if depth}


def test_each_slot_has_its_own_run() -> None:
    """A match is a run from block 0, for each endpoint as far as it goes."""
    index = PrefixIndex()
    index.insert(1, chain(1, 2, 3, 4))
    index.insert(2, chain(1, 2, 9))
    index.insert(40, chain(1, 2))
    index.insert(5, chain(8, 2, 3))
    assert depths(index, chain(1, 2, 3, 4, 5)) == {1: 4, 2: 2, 40: 2}
    assert depths(index, chain(7)) == {}
    assert index.match(()).runs == ()


def test_the_tail_goes_first() -> None:
    """With room for four blocks, a new prompt pushes out the end of the older one."""
    index = PrefixIndex(max_per_slot=4)
    index.insert(0, chain(1, 2, 3))
    index.insert(0, chain(9, 8))
    assert depths(index, chain(1, 2, 3)) == {0: 2}
    assert depths(index, chain(9, 8)) == {0: 2}


def test_use_keeps_a_prompt() -> None:
    """What was asked for again outlives what was not."""
    index = PrefixIndex(max_per_slot=4)
    index.insert(0, chain(1, 2))
    index.insert(0, chain(5, 6))
    index.insert(0, chain(1, 2))
    index.insert(0, chain(7, 8))
    assert depths(index, chain(1, 2)) == {0: 2}
    assert depths(index, chain(5, 6)) == {}


def test_a_prompt_longer_than_the_room_keeps_its_start() -> None:
    """Of a prompt that does not fit, the first blocks are held."""
    index = PrefixIndex(max_per_slot=2)
    index.insert(0, chain(1, 2, 3, 4))
    assert depths(index, chain(1, 2, 3, 4)) == {0: 2}


def test_told_capacity_is_in_tokens() -> None:
    """An engine with memory for three blocks is believed to hold three."""
    index = PrefixIndex()
    index.set_capacity(0, 3 * BLOCK_TOKENS)
    index.insert(0, chain(1, 2, 3, 4, 5))
    assert index.size(0) == 3
    index.set_capacity(0, 1)
    index.insert(0, chain(1, 2))
    assert index.size(0) == 1


def test_forget_leaves_the_others() -> None:
    """After `forget` one slot holds nothing, and the others what they held."""
    index = PrefixIndex()
    index.insert(0, chain(1, 2))
    index.insert(1, chain(1))
    index.set_capacity(0, BLOCK_TOKENS)
    index.forget(0)
    index.forget(7)
    assert depths(index, chain(1, 2)) == {1: 1}
    assert (len(index), index.size(0)) == (1, 0)
    index.insert(0, chain(1, 2))
    assert index.size(0) == 2


def test_the_total_is_taken_from_the_largest() -> None:
    """A small endpoint grows at the expense of the largest; one with its fair share pays for itself."""
    index = PrefixIndex(max_per_slot=8, max_in_all=8)
    index.insert(0, chain(1, 2, 3, 4, 5, 6, 7))
    index.insert(1, chain(11, 12, 13))
    assert (index.size(0), index.size(1), len(index)) == (5, 3, 8)
    index.insert(0, chain(21, 22, 23))
    assert (index.size(0), index.size(1), len(index)) == (5, 3, 8)


def test_fan_out_counts_distinct_continuations() -> None:
    """A prefix is common from COMMON_FAN_OUT distinct next blocks on; repetition does not count, endpoints do not."""
    index = PrefixIndex()
    for n in range(COMMON_FAN_OUT - 1):
        index.insert(n, chain(1, 2, 100 + n))
        index.insert(9, chain(1, 2, 100 + n))
    assert index.match(chain(1, 2, 100)).common_blocks == 0
    index.insert(0, chain(1, 2, 999))
    match = index.match(chain(1, 2, 100))
    assert (match.common_blocks, match.fan_out) == (2, COMMON_FAN_OUT)


def test_fan_out_forgets_what_is_gone() -> None:
    """Continuations that nobody holds any more do not count."""
    index = PrefixIndex()
    index.insert(1, chain(1))
    for n in range(10):
        index.insert(0, chain(1, 100 + n))
    assert index.match(chain(1)).fan_out == 10
    index.forget(0)
    assert index.match(chain(1)) == Match(runs=((2, 1),))


def test_fan_out_shrinks_one_by_one() -> None:
    """Two of six continuations are gone: four are left."""
    index = PrefixIndex()
    for n in range(6):
        index.insert(n % 3, chain(1, 100 + n))
    index.forget(0)
    assert index.match(chain(1)).fan_out == 4


def test_a_forgotten_endpoint_has_no_share() -> None:
    """Of two endpoints, the one with four of ten blocks has less than its fair share."""
    index = PrefixIndex(max_in_all=8)
    index.insert(0, chain(1, 2, 3, 4, 5, 6))
    index.insert(2, chain(1))
    index.forget(2)
    index.insert(1, chain(11, 12, 13, 14))
    assert (index.size(0), index.size(1)) == (4, 4)


def test_more_runs_than_the_limit_lose_the_shallow_ones() -> None:
    """The deepest runs stay."""
    runs = tuple((1 << slot, slot + 1) for slot in range(2 * MAX_RUNS))
    found = Match(runs).depths(2 * MAX_RUNS)
    assert found.tolist() == [0] * MAX_RUNS + list(range(MAX_RUNS + 1, 2 * MAX_RUNS + 1))


def test_colliding_hashes_do_no_harm() -> None:
    """Two chains that meet in one hash, and a chain that repeats one, can be dropped in any order."""
    index = PrefixIndex()
    index.insert(0, (1, 5, 6))
    index.insert(1, (2, 5, 7))
    index.insert(2, (3, 3, 3))
    index.insert(3, (4, 8, 4))
    for slot in (0, 2, 1, 3):
        index.forget(slot)
    assert len(index) == 0
    assert index.match((1, 2, 3, 4, 5)) == Match()


@given(st.sets(st.integers(0, SLOTS - 1)))
def test_a_mask_is_a_set_of_slots(slots: set[int]) -> None:
    """Bit n stands for slot n."""
    mask = sum(1 << slot for slot in slots)
    assert {n for n, held in enumerate(slots_in(mask, SLOTS)) if held} == slots


_PROMPTS = st.lists(st.integers(0, 2), max_size=5).map(lambda names: chain(*names))
_STEPS = st.lists(st.tuples(st.integers(0, 3), _PROMPTS, st.booleans()), max_size=30)


@pytest.mark.parametrize("limit", [3, 1_000])
@given(steps=_STEPS, asked=_PROMPTS)
def test_is_the_naive_index(limit: int, steps: list[tuple[int, tuple[int, ...], bool]], asked: tuple[int, ...]) -> None:
    """Against a list of blocks for each endpoint, newest last: the same depths, sizes and fan-outs."""
    index = PrefixIndex(max_per_slot=limit)
    naive: dict[int, list[int]] = {slot: [] for slot in range(4)}
    parents: dict[int, int] = {}
    for slot, hashes, forget in steps:
        if forget:
            index.forget(slot)
            naive[slot] = []
            continue
        index.insert(slot, hashes)
        kept = hashes[:limit]
        parents.update(zip(kept[1:], kept, strict=False))
        naive[slot] = ([each for each in naive[slot] if each not in kept] + list(reversed(kept)))[-limit:]
    held = {slot: set(blocks) for slot, blocks in naive.items()}
    expected = {
        slot: next((n for n, each in enumerate(asked) if each not in blocks), len(asked))
        for slot, blocks in held.items()
    }
    assert depths(index, asked) == {slot: depth for slot, depth in expected.items() if depth}
    assert [index.size(slot) for slot in naive] == [len(blocks) for blocks in naive.values()]
    everything = set().union(*held.values())
    known = asked[: max(expected.values())]
    fan_outs = [sum(parents.get(each) == block for each in everything) for block in known]
    common = max((n + 1 for n, fan_out in enumerate(fan_outs) if fan_out >= COMMON_FAN_OUT), default=0)
    assert index.match(asked).common_blocks == common


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.integers(0, 12)), max_size=60))
def test_bounds_hold(steps: list[tuple[int, int, int]]) -> None:
    """After every step: no endpoint above its limit, the total above none, and the total is the sum."""
    index = PrefixIndex(max_per_slot=9, max_in_all=20)
    for slot, start, length in steps:
        index.insert(slot, chain(*range(start, start + length)))
        sizes = [index.size(each) for each in range(6)]
        assert max(sizes) <= 9
        assert sum(sizes) == len(index) <= 20
