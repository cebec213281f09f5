"""AIBrix's `prefix-cache`."""

from tests.unit.sim.baselines.play import A, B, C, Play


def loaded(a: int, b: int, c: int) -> Play:
    """A holds most of the prompt 1, 2, 3 and C some of it; each endpoint has so many requests in flight."""
    play = Play("aibrix-prefix-cache")
    play.hold(A, 1, 2, 3)
    play.hold(C, 1)
    for address, count in ((A, a), (B, b), (C, c)):
        for _ in range(count):
            play.put(address, uncached=1)
    return play


def test_more_than_eight_apart_is_least_requests() -> None:
    """9 apart: the emptiest; 8 apart: matches count."""
    assert loaded(9, 0, 9).best(1, 2, 3) == {B}
    assert loaded(8, 0, 8).best(1, 2, 3) == {A}


def test_a_match_above_mean_and_sigma_is_passed_over() -> None:
    """8, 1, 1: mean 3.3 + σ 3.3 = 6.6, so the best match is too busy and the next best is taken."""
    assert loaded(8, 1, 1).best(1, 2, 3) == {C}
    assert loaded(6, 0, 1).best(9) == {B}, "nobody holds it: least requests"
