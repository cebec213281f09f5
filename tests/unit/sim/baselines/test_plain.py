"""The rules that know nothing of prompts."""

from collections import Counter

from tests.unit.sim.baselines.play import ADDRESSES, A, B, C, Play


def test_round_robin_takes_turns() -> None:
    """In the order of the addresses, again and again."""
    play = Play("plain-round-robin")
    assert [play.ask(1) for _ in range(6)] == [*ADDRESSES, *ADDRESSES]


def test_random_is_even() -> None:
    """About a third each."""
    play = Play("plain-random")
    counts = Counter(play.ask(1) for _ in range(3_000))
    assert all(900 < counts[address] < 1_100 for address in ADDRESSES)


def test_least_request_fills_up() -> None:
    """The fewest in flight, and any of them when they are equal."""
    play = Play("plain-least-request")
    play.put(A)
    play.put(A)
    play.put(B)
    assert play.ask(1) == C
    assert play.best(1) == {B, C}


def test_two_choices_never_take_the_worst() -> None:
    """Of three, the busiest loses to whoever it is drawn with; the emptiest is taken in two of three draws."""
    play = Play("power-of-two")
    for address, count in ((A, 5), (B, 3)):
        for _ in range(count):
            play.put(address)
    counts: Counter[str] = Counter()
    for _ in range(3_000):
        keys = play.keys(1)
        counts[min(keys, key=keys.__getitem__)] += 1
    assert counts[A] == 0
    assert 1_900 < counts[C] < 2_100
    assert Play("power-of-two", addresses=(A,)).ask(1) == A
