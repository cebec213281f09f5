"""SGLang's `cache_aware`."""

from tests.unit.sim.baselines.play import A, B, C, Play


def loaded(**counts: int) -> Play:
    """A holds the prompt 1, 2, 3, and each endpoint has so many requests in flight."""
    play = Play("sglang-cache-aware")
    play.hold(A, 1, 2, 3)
    for letter, count in counts.items():
        for _ in range(count):
            play.put({"a": A, "b": B, "c": C}[letter], uncached=1)
    return play


def test_the_match_wins_while_loads_are_even() -> None:
    """A difference of 32 is even, and so is one of 33 where it is within a tenth."""
    assert loaded(a=32, c=9).best(1, 2, 3) == {A}
    assert loaded(a=433, b=400, c=400).best(1, 2, 3) == {A}


def test_uneven_loads_switch_affinity_off_for_all() -> None:
    """More than 32 apart, and by more than a tenth: the least loaded, whoever holds what."""
    assert loaded(a=33, c=9).best(1, 2, 3) == {B}
    assert loaded(b=33, c=1).best(1, 2, 3) == {A}, "A because it has the least load here"
    assert loaded(a=1, b=40).best(1, 2, 3) == {C}


def test_half_a_match_is_none() -> None:
    """Half of the prompt is not more than half of it."""
    play = loaded(a=1, b=1)
    assert play.best(1, 2, 3, 4, 5) == {A}
    assert play.best(1, 2, 3, 4, 5, 6) == {C}
