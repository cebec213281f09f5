"""Regular expressions that RE2 takes."""

import pytest

from control_plane.policy.kinds import ValueRefusedError
from control_plane.policy.regex import MAX_REGEX, Regex, program_size, regex_problem


@pytest.mark.parametrize(
    "text",
    ["a.*", "a|b", r"\d{1,3}", "(?i)a", "(?P<n>x)+?", "[^a-z]", r"a\\Z", "x{95}", r"\w{23}", "^a$", r"\bx", r"\x41"],
)
def test_what_both_languages_have(text: str) -> None:
    """Ordinary expressions are as they are."""
    assert Regex().parse(text) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("[", "unterminated"),
        ("a(", "missing"),
        ("(?=a)", "look-around"),
        ("(?<!a)b", "look-around"),
        (r"(a)\1", "back references"),
        ("(?P<n>a)(?P=n)", "back references"),
        ("(a)?(?(1)b|c)", "back references"),
        ("(?>a)", "atomic groups"),
        ("[ab]*+", "possessive repeats"),
        ("(x{1001})", "bounded to 1000"),
        (r"a\Z", "RE2 does not have"),
        ("(?x)a", "RE2 does not have"),
        ("(?#c)a", "RE2 does not have"),
        (r"a\é", "RE2 does not have"),
        (r"[\b]", "within brackets"),
        (r"[a\b]", "within brackets"),
        ("[[:alpha:]]", "two readings"),
        ("[a&&b]", "two readings"),
        ("(a{500}){3}", "bounded to 1000"),
        ("(a{2,}){501}", "bounded to 1000"),
        (r"\w{40}", "about 165 steps"),
        ("a{97}", "about 102 steps"),
        ("|".join(f"{letter}tenant" for letter in "abcdefghijklmnopqrst"), "steps"),
        ("a" * (MAX_REGEX + 1), "longer"),
    ],
)
def test_what_envoy_would_refuse(text: str, words: str) -> None:
    """Each with its reason."""
    with pytest.raises(ValueRefusedError, match=words):
        Regex().parse(text)


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("", 4), ("abc", 7), (".", 6), ("é", 10), ("[^a]", 7), (r"[\w.-]", 10), (r"[\d\s]", 8), (r"[^\S\W\Dé]", 26),
        ("[à-ü]", 10), ("a*", 7), ("a+", 7), ("a?", 7), ("a{3}", 8), ("a{3,}", 9), ("a{1,3}", 10), ("(a)(?:b)", 8),
        ("ab|cd", 10), ("^a$", 7),
    ],
)  # fmt: skip
def test_steps(text: str, steps: int) -> None:
    """At least what Envoy says (`test_accepted_by_envoy.py` asks it), and not far above."""
    assert program_size(text) == steps


def test_nesting_is_no_recursion_error() -> None:
    """However deep, it is a problem and not an exception."""
    assert isinstance(regex_problem("(" * 5000 + ")" * 5000), str)


def test_schema_and_words() -> None:
    """Only a text to an editor."""
    assert Regex().schema() == {"type": "string", "pattern": ".", "maxLength": MAX_REGEX}
    assert Regex().noun == "a regular expression (RE2)"
    assert "RE2" in Regex().describe()
