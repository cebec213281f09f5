"""Conditions on texts."""

from control_plane.policy.matching import ValueMatch
from control_plane.policy.string_match import holds


def test_conditions_hold() -> None:
    """The same as Envoy's: a regular expression is about the whole text."""
    assert holds(ValueMatch(exact="a"), "a")
    assert not holds(ValueMatch(exact="a"), "ab")
    assert holds(ValueMatch(prefix="a"), "ab")
    assert holds(ValueMatch(regex="a.?"), "ab")
    assert not holds(ValueMatch(regex="a"), "ab")
    assert not holds(ValueMatch(present=True), "a")
