"""Conditions in Envoy's words."""

import pytest

from control_plane.compile.string_matchers import header_matcher, metadata_matcher, pattern_matcher, string_matcher
from control_plane.compile.typed import Json
from control_plane.policy.string_match import StringMatch


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (StringMatch(exact="a"), {"exact": "a"}),
        (StringMatch(exact=""), {"exact": ""}),
        (StringMatch(prefix="a"), {"prefix": "a"}),
        (StringMatch(regex="a+"), {"safeRegex": {"regex": "a+"}}),
    ],
)
def test_each_condition(match: StringMatch, expected: Json) -> None:
    """Exactly one of the three."""
    assert string_matcher(match) == expected
    assert header_matcher("x", match) == {"name": "x", "stringMatch": expected}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("a", {"exact": "a"}),
        ("a*", {"prefix": "a"}),
        ("*a", {"suffix": "a"}),
        ("*", {"safeRegex": {"regex": ".+"}}),
    ],
)
def test_each_pattern(pattern: str, expected: Json) -> None:
    """A star at one end; alone it is anything but nothing."""
    assert pattern_matcher(pattern) == expected


def test_metadata() -> None:
    """A path has a step for each key."""
    assert metadata_matcher("n", ("a", "b"), {"presentMatch": True}) == {
        "filter": "n",
        "path": [{"key": "a"}, {"key": "b"}],
        "value": {"presentMatch": True},
    }
