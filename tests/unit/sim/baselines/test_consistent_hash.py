"""Consistent hash of the first blocks, plain and bounded."""

from collections import Counter

from sim.baselines.consistent_hash import Ring
from tests.unit.sim.baselines.play import A, B, C, Play


def test_a_prompt_has_one_owner() -> None:
    """The first 1,024 tokens (ten blocks of 100) decide, whatever follows and however busy the owner is."""
    play = Play("consistent-hash")
    start = tuple(range(10))
    owners = {play.ask(*start, tail) for tail in range(20, 40)}
    assert len(owners) == 1
    assert {Play("consistent-hash", seed=seed).ask(*start) for seed in range(5)} == owners
    assert len({play.ask(*range(n, n + 10)) for n in range(0, 1_000, 10)}) == 3


def test_the_ring_is_fair_and_steady() -> None:
    """Shares are near a third; without C only C's keys move."""
    keys = [f"k{n}" for n in range(3_000)]
    three, two = Ring((A, B, C)), Ring((A, B))
    assert all(800 < count < 1_200 for count in Counter(three.order(key)[0] for key in keys).values())
    for key in keys[:300]:
        order = three.order(key)
        assert sorted(order) == [A, B, C]
        assert two.order(key) == [address for address in order if address != C]


def test_the_bound_passes_on_to_the_next() -> None:
    """The owner is passed over above 1.25 × the average: with 5 of 12 requests (average 4) it is at the bound."""
    play = Play("bounded-hash")
    first, second, third = (address for address, _ in sorted(play.keys(1).items(), key=lambda item: item[1]))
    for address, count in ((first, 5), (second, 4), (third, 3)):
        for _ in range(count):
            play.put(address, uncached=1)
    assert play.best(1) == {first}
    play.put(first, uncached=1)
    assert play.best(1) == {second}


def test_without_a_block_the_session_decides() -> None:
    """Short prompts of one session stay together."""
    play = Play("consistent-hash")
    assert len({play.ask(tokens=5, session="s") for _ in range(10)}) == 1
    assert len({play.ask(tokens=5) for _ in range(30)}) == 3
