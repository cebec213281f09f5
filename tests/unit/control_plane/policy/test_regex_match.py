"""Matching without ways that explode."""

import random
import re

import pytest

from control_plane.policy.regex import regex_problem
from control_plane.policy.regex_match import full_match

PIECES = (
    "a", "b", "ab", ".", "|", "(", "(?:", ")", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?", "^", "$", r"\b",
    r"\B", r"\d", r"\s", r"\w", r"\W", "[a-c]", "[^b]", r"[^\d]", "(?i)", "(?i:", "-", "/", "A", "1",
)  # fmt: skip


def test_the_same_as_pythons_matcher() -> None:
    """For expressions and texts at random, but for the empty text, in which Python sees no `\\B` and RE2 does."""
    rng = random.Random(7)
    compared = matched = 0
    while compared < 4_000:
        expression = "".join(rng.choices(PIECES, k=rng.randint(1, 7)))
        if regex_problem(expression):
            continue
        text = "".join(rng.choices("aabBA1-/ ", k=rng.randint(1, 6)))
        wanted = re.fullmatch(expression, text, re.ASCII) is not None
        assert full_match(expression, text) == wanted, (expression, text)
        compared += 1
        matched += wanted
    assert matched > 100


@pytest.mark.parametrize("expression", ["(([a-z]+)+)+!", "(a*)*b", "(.*.*.*.*.*.*.*.*)*!", "(a|a|a)*b", "((a?)*)*b"])
def test_nothing_explodes(expression: str) -> None:
    """Python's matcher would take longer than anybody lives."""
    assert not full_match(expression, "a" * 1_000)


@pytest.mark.parametrize(
    ("expression", "text", "expected"),
    [
        (r"\w+", "é", False),
        (r"\d", "٣", False),
        ("é", "é", True),
        ("(?i)é", "É", True),
        ("(?i)[à-ü]", "É", True),
        ("a|", "", True),
        ("a.b", "a\nb", False),
        ("(?s)a.b", "a\nb", True),
        (r"\B", "", True),
        ("^a$", "a", True),
        ("a", "ab", False),
        ("b", "ab", False),
    ],
)
def test_texts(expression: str, text: str, expected: bool) -> None:
    """The whole text or nothing; classes are those of ASCII, letters in any case are not."""
    assert full_match(expression, text) == expected


@pytest.mark.parametrize("expression", ["(", r"(a)\1", "(?=a)a"])
def test_other_languages(expression: str) -> None:
    """What RE2 has not is no condition that could be met or not."""
    with pytest.raises(re.error):
        full_match(expression, "a")
