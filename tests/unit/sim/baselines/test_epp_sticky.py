"""EPP's "sticky until saturated"."""

from tests.unit.sim.baselines.play import A, B, Play


def test_sticks_at_four_fifths() -> None:
    """8 of 10 blocks are enough to stay behind a long queue, 7 are not."""
    play = Play("epp-sticky")
    play.hold(B, *range(8))
    play.hold(A, *range(100, 107))
    play.put(B, uncached=100_000)
    play.put(A, uncached=100_000)
    assert play.ask(*range(10)) == B
    assert play.ask(*range(100, 110)) not in (A, B)


def test_leaves_when_the_others_are_18_seconds_better() -> None:
    """At 15,928 tokens/s, 18 s are 286,704 tokens."""
    play = Play("epp-sticky")
    play.hold(B, *range(10))
    play.put(B, uncached=286_704)
    assert play.best(*range(10)) == {B}
    play.put(B, uncached=1)
    assert B not in play.best(*range(10))


def test_token_load_decides_among_the_rest() -> None:
    """In-flight uncached tokens plus those of this request; a first token releases them."""
    play = Play("epp-sticky")
    play.hold(A, 1, 2)
    waiting = play.put(A, uncached=300)
    assert A not in play.best(1, 2, 3, 4)
    play.first(waiting, A)
    assert play.best(1, 2, 3, 4) == {A}
