"""The "unified" rule."""

from tests.unit.sim.baselines.play import A, B, C, Play


def at_home(cost: int) -> Play:
    """Session s is at home on A, where a prompt of 100 tokens costs `cost`; elsewhere it costs 1,000."""
    play = Play("unified")
    play.put(A, uncached=cost - 100, session="s")
    play.put(B, uncached=900)
    play.put(C, uncached=900)
    return play


def test_stays_within_twice_the_best() -> None:
    """2,000 against 1,000 stays, 2,001 goes; another session never stayed."""
    play = at_home(2_000)
    assert play.best(1, session="s") == {A}
    assert at_home(2_001).best(1, session="s") == {B, C}
    assert play.best(1, session="t") == {B, C}


def test_a_prompt_that_continues_another_belongs_to_it() -> None:
    """Without sessions, the endpoint of the longest earlier prompt that is wholly its start."""
    play = Play("unified")
    play.put(A, 1, 2)
    play.put(B, 1, 2, 3)
    play.put(C, 1, 2, 3, 9)
    assert play.best(1, 2, 3, 4) == {B}
    assert play.keys(1, 7)[A][0] == 1.0, "sharing a start is not continuing"
