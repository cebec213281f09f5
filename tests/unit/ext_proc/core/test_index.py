"""The prefix index against a naive one, its bounds, and fan-out."""

import random
import tracemalloc
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.index import (
    BLOCK_BYTES,
    COMMON_FAN_OUT,
    GUESSED_PART,
    HOLDING_BYTES,
    MAX_RUNS,
    Match,
    PrefixIndex,
    slots_in,
)

SLOTS = 64
HASH_BYTES = 48
"""Of an integer of 64 bits, as it is allocated."""


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
    assert (match.common_blocks, match.fan_out, match.opening_blocks) == (2, COMMON_FAN_OUT, 2)


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
    opening = next((n + 1 for n, fan_out in enumerate(fan_outs) if fan_out >= COMMON_FAN_OUT), 0)
    match = index.match(asked)
    assert (match.common_blocks, match.opening_blocks) == (common, opening)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.integers(0, 12)), max_size=60))
def test_bounds_hold(steps: list[tuple[int, int, int]]) -> None:
    """After every step: no endpoint above its limit, the total above none, and the total is the sum."""
    index = PrefixIndex(max_per_slot=9, max_in_all=20)
    for slot, start, length in steps:
        index.insert(slot, chain(*range(start, start + length)))
        sizes = [index.size(each) for each in range(6)]
        assert max(sizes) <= 9
        assert sum(sizes) == len(index) <= 20


def test_a_running_prompt_stays() -> None:
    """What is needed for others is taken from what no running request holds."""
    index = PrefixIndex(max_per_slot=4)
    index.begin(0, chain(1, 2, 3))
    index.insert(0, chain(9, 8))
    assert depths(index, chain(1, 2, 3)) == {0: 3}
    assert depths(index, chain(9, 8)) == {0: 1}
    index.end(0, chain(1, 2, 3))
    index.insert(0, chain(7, 6, 5))
    assert depths(index, chain(1, 2, 3)) == {0: 1}


def test_an_ended_prompt_is_the_newest_of_what_may_go() -> None:
    """It goes after what was used while it ran."""
    index = PrefixIndex(max_per_slot=4)
    index.begin(0, chain(1, 2))
    index.insert(0, chain(9, 8))
    index.end(0, chain(1, 2))
    index.insert(0, chain(7, 6))
    assert depths(index, chain(1, 2)) == {0: 2}
    assert depths(index, chain(9, 8)) == {}


def test_two_requests_with_one_prompt_hold_it_together() -> None:
    """The first one's end frees nothing; a second end of the same, and one of what never began, change nothing."""
    index = PrefixIndex(max_per_slot=4)
    index.begin(0, chain(1, 2, 3))
    index.begin(0, chain(1, 2, 3))
    index.end(0, chain(1, 2, 3))
    index.insert(0, chain(9, 8, 7, 6))
    assert depths(index, chain(1, 2, 3)) == {0: 3}
    for _ in range(2):
        index.end(0, chain(1, 2, 3))
    index.end(0, chain(5))
    index.end(1, chain(5))
    index.insert(0, chain(9, 8, 7, 6))
    assert depths(index, chain(1, 2, 3)) == {}


def test_what_runs_takes_room_from_the_cache() -> None:
    """Two blocks of generated tokens leave two of four blocks for the cache, beside what the new prompt needs."""
    index = PrefixIndex(max_per_slot=4)
    index.insert(0, chain(1, 2, 3))
    index.begin(0, chain(9), running_tokens=2 * BLOCK_TOKENS + 5)
    assert index.size(0) == 2
    assert depths(index, chain(1, 2, 3)) == {0: 1}
    index.begin(0, chain(8), running_tokens=0)
    assert index.size(0) == 3


def test_the_budget_is_kept_even_if_everything_runs() -> None:
    """A mirror that is wrong must not grow."""
    index = PrefixIndex(max_per_slot=4)
    for n in range(5):
        index.begin(0, chain(10 * n, 10 * n + 1))
    assert index.size(0) == len(index) == 4
    index.begin(0, chain(*range(100, 110)))
    assert index.size(0) == 4


def test_memory_after_long_coming_and_going() -> None:
    """At the budget, of forty endpoints whose blocks are exchanged all the time, tables take no more than is told."""
    rng = random.Random(1)
    index = PrefixIndex(max_in_all=10_000)
    running: list[tuple[int, tuple[int, ...]]] = []
    tracemalloc.start()
    for _ in range(400):
        slot, blocks = rng.randrange(40), tuple(rng.getrandbits(64) for _ in range(rng.choice((5, 50, 300))))
        index.begin(slot, blocks)
        running.append((slot, blocks))
        if len(running) > 10:
            index.end(*running.pop(rng.randrange(len(running))))
    here = tracemalloc.Filter(inclusive=True, filename_pattern="*core/index.py")
    taken = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([here]).traces)
    tracemalloc.stop()
    assert len(index) == 10_000
    assert index.evicted > 20_000
    assert 0.4 * index.size_bytes < taken + len(index) * HASH_BYTES < index.size_bytes == index.budget_bytes


def test_of_running_prompts_the_oldest_goes() -> None:
    """Where more runs than there is room for, the oldest prompt makes room for the newest, however many run."""
    index = PrefixIndex(max_per_slot=3)
    for n in range(10):
        index.begin(0, chain(n))
        assert [each for each in range(10) if depths(index, chain(each))] == list(range(max(0, n - 2), n + 1))


def test_running_prompts_are_put_aside_once() -> None:
    """With a thousand prompts that run where a hundred have room, one more moves each of the hundred at most once."""
    index = PrefixIndex(max_per_slot=100)
    for n in range(1_000):
        index.begin(0, chain(n))
    moved = Moves(index._held[0].blocks)
    index._held[0].blocks = moved
    index.begin(0, chain(1_000))
    assert moved.count <= 102


class Moves(OrderedDict[int, None]):
    """Counts how often a block is moved. Mutable: the count."""

    count = 0

    def move_to_end(self, key: int, last: bool = True) -> None:
        """As its parent's."""
        self.count += 1
        super().move_to_end(key, last)


def test_a_precise_endpoint_holds_what_it_tells() -> None:
    """What was believed before counts no more; blocks may go in any order, and a run ends where one is missing."""
    index = PrefixIndex()
    index.insert(0, chain(1, 2, 3))
    assert not index.is_precise(0)
    told = chain(5, 6, 7, 8)
    index.stored(0, told[:2], None)
    index.stored(0, told[2:], told[1])
    assert index.is_precise(0)
    assert depths(index, chain(1, 2, 3)) == {}
    assert depths(index, told) == {0: 4}
    index.removed(0, told[1:2])
    assert depths(index, told) == {0: 1}
    index.stored(0, told[1:2], told[0])
    assert depths(index, told) == {0: 4}
    index.cleared(0)
    assert (depths(index, told), len(index)) == ({}, 0)


def test_a_precise_endpoint_keeps_what_is_predicted_while_it_runs() -> None:
    """A prompt on its way is there; what was not told of when its request ends is not."""
    index = PrefixIndex()
    index.stored(0, (), None)
    prompt = chain(1, 2, 3)
    index.begin(0, prompt)
    index.removed(0, prompt)
    index.cleared(0)
    assert depths(index, prompt) == {0: 3}
    index.stored(0, prompt[:2], None)
    index.end(0, prompt)
    assert depths(index, prompt) == {0: 2}
    assert len(index) == 2


def test_a_missing_block_ends_one_run_and_no_other() -> None:
    """One endpoint lacks the second of three blocks, the other has all."""
    index = PrefixIndex()
    told = chain(1, 2, 3)
    for slot in (0, 1):
        index.stored(slot, told, None)
    index.removed(0, told[1:2])
    assert depths(index, told) == {0: 1, 1: 3}


_RUNS = st.lists(
    st.tuples(st.sampled_from(["begin", "end", "insert", "forget"]), st.integers(0, 1), _PROMPTS, st.integers(0, 9)),
    max_size=50,
)


@given(steps=_RUNS, asked=_PROMPTS)
def test_is_a_naive_block_manager(steps: list[tuple[str, int, tuple[int, ...], int]], asked: tuple[int, ...]) -> None:
    """Against lists of blocks, oldest first, of which the first that nobody holds goes: the same blocks in the end."""
    limit = 12
    index = PrefixIndex(max_per_slot=limit)
    order: list[list[int]] = [[], []]
    running: list[list[tuple[int, ...]]] = [[], []]
    for kind, slot, prompt, which in steps:
        if kind == "forget":
            index.forget(slot)
            order[slot], running[slot] = [], []
            continue
        if kind == "end":
            if running[slot]:
                prompt = running[slot].pop(which % len(running[slot]))
                index.end(slot, prompt)
                order[slot] = [b for b in order[slot] if b not in prompt] + list(reversed(prompt))
            continue
        held = {block for each in running[slot] for block in each}
        if not prompt or len(held | set(prompt)) > limit:
            continue
        if kind == "begin":
            index.begin(slot, prompt)
            running[slot].append(prompt)
            held |= set(prompt)
        else:
            index.insert(slot, prompt)
        order[slot] = [block for block in order[slot] if block not in prompt] + list(reversed(prompt))
        while len(order[slot]) > limit:
            order[slot].remove(next(block for block in order[slot] if block not in held))
    for slot in (0, 1):
        assert index.size(slot) == len(order[slot])
        run = next((n for n, block in enumerate(asked) if block not in order[slot]), len(asked))
        assert depths(index, asked).get(slot, 0) == run


_TOLD = st.lists(
    st.tuples(st.sampled_from(["stored", "removed", "cleared", "begin", "end"]), st.integers(0, 1), _PROMPTS),
    max_size=50,
)


@given(steps=_TOLD, asked=_PROMPTS)
def test_precise_endpoints_are_sets(steps: list[tuple[str, int, tuple[int, ...]]], asked: tuple[int, ...]) -> None:
    """Told blocks and those of running prompts, and nothing else, whatever came in which order."""
    index = PrefixIndex()
    told: list[set[int]] = [set(), set()]
    running: list[list[tuple[int, ...]]] = [[], []]
    for slot in (0, 1):
        index.stored(slot, (), None)
    for kind, slot, prompt in steps:
        if kind == "stored":
            index.stored(slot, prompt, None)
            told[slot] |= set(prompt)
        elif kind == "removed":
            index.removed(slot, prompt)
            told[slot] -= set(prompt)
        elif kind == "cleared":
            index.cleared(slot)
            told[slot].clear()
        elif kind == "begin" and prompt:
            index.begin(slot, prompt)
            running[slot].append(prompt)
        elif kind == "end" and prompt in running[slot]:
            index.end(slot, prompt)
            running[slot].remove(prompt)
        holds = told[slot] | {block for each in running[slot] for block in each}
        assert index.size(slot) == len(holds)
        run = next((n for n, block in enumerate(asked) if block not in holds), len(asked))
        assert depths(index, asked).get(slot, 0) == run


def test_a_restart_that_was_noticed_leaves_an_endpoint_approximate() -> None:
    """It is empty but for what runs, and goes on holding what it is sent."""
    index = PrefixIndex()
    index.cleared(0)
    index.insert(0, chain(1, 2))
    index.begin(0, chain(5, 6))
    index.cleared(0)
    assert not index.is_precise(0)
    assert (depths(index, chain(1, 2)), depths(index, chain(5, 6))) == ({}, {0: 2})
    index.end(0, chain(5, 6))
    index.insert(0, chain(1, 2))
    assert (depths(index, chain(1, 2)), depths(index, chain(5, 6))) == ({0: 2}, {0: 2})


def test_its_size() -> None:
    """Counted for each endpoint that holds a block, and once for the block; what made room was evicted."""
    index = PrefixIndex(max_in_all=6)
    assert index.as_dict() == {
        "bytes": 0,
        "budget_bytes": 6 * (HOLDING_BYTES + BLOCK_BYTES),
        "held_blocks": 0,
        "distinct_blocks": 0,
        "endpoints": 0,
        "evicted_blocks": 0,
    }
    for slot in (0, 1):
        index.insert(slot, chain(1, 2, 3))
    assert index.size_bytes == 6 * HOLDING_BYTES + 3 * BLOCK_BYTES
    index.insert(2, chain(7, 8))
    told = index.as_dict()
    assert (told["held_blocks"], told["endpoints"], told["evicted_blocks"]) == (6, 3, 2)
    assert told["bytes"] <= told["budget_bytes"]
    for slot in range(3):
        index.forget(slot)
    assert (index.size_bytes, index.as_dict()["endpoints"], index.evicted) == (0, 0, 2)


def test_what_a_telling_endpoint_cannot_tell_of() -> None:
    """Blocks of text stay beside what it told, within a part of its memory, the oldest going first; so a conversation
    with images finds its way back."""
    index = PrefixIndex()
    index.set_capacity(0, GUESSED_PART * 4 * BLOCK_TOKENS)
    index.stored(0, (1, 2), None)
    for first in (100, 200, 300):
        prompt = (first, first + 1)
        index.begin(0, prompt)
        index.end(0, prompt, is_guess=True)
    assert depths(index, (1, 2)) == {0: 2}
    assert depths(index, (300, 301)) == depths(index, (200, 201)) == {0: 2}
    assert depths(index, (100, 101)) == {}
    index.begin(0, (200, 201))
    index.begin(0, (400, 401, 402, 403))
    index.end(0, (400, 401, 402, 403), is_guess=True)
    assert depths(index, (300, 301)) == {}
    assert depths(index, (200, 201)) == {0: 2}
    index.cleared(0)
    assert depths(index, (400, 401)) == {}
    assert depths(index, (200, 201)) == {0: 2}
    index.end(0, (200, 201), is_guess=True)
    index.forget(0)
    assert len(index) == 0
