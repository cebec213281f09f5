"""When gathered changes are told."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.debounce import LONGEST_S, QUIET_S, Debounce


def test_told_after_a_moment_of_quiet() -> None:
    """Each further change starts the moment anew; names are gathered and told once."""
    debounce = Debounce()
    assert debounce.due() is None
    debounce.touch(frozenset("a"), 10.0)
    debounce.touch(frozenset("ab"), 10.04)
    assert debounce.due() == 10.04 + QUIET_S
    assert debounce.take() == {"a", "b"}
    assert debounce.due() is None


@given(st.lists(st.floats(min_value=0, max_value=QUIET_S), min_size=1, max_size=100))
def test_never_later_than_the_bound(gaps: list[float]) -> None:
    """However long a burst goes on."""
    debounce = Debounce()
    now = 0.0
    for gap in gaps:
        now += gap
        debounce.touch(frozenset("a"), now)
        due = debounce.due()
        assert due is not None
        assert due <= gaps[0] + LONGEST_S


def test_a_new_burst_has_a_bound_of_its_own() -> None:
    """What was told is told."""
    debounce = Debounce()
    debounce.touch(frozenset("a"), 0.0)
    debounce.take()
    debounce.touch(frozenset("b"), 100.0)
    assert debounce.due() == 100.0 + QUIET_S
    assert debounce.take() == {"b"}
