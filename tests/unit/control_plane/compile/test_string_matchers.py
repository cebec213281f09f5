"""Conditions in Envoy's words."""

import pytest

from control_plane.compile.string_matchers import header_matcher, string_matcher
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
