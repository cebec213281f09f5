"""Command operators of access logs."""

import pytest

from control_plane.policy.log_format import OPERATORS_WITH_ARGUMENT, PLAIN_OPERATORS, format_problem


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "100%%",
        "%%REQ%%",
        "%START_TIME%",
        "%REQ(x-team)%",
        "%REQ(X-A?:path):12%",
        "a%PROTOCOL%b%PROTOCOL%",
        "%DYNAMIC_METADATA(envoy.lb:kvpilot-decision)%",
        *(f"%{name}%" for name in sorted(PLAIN_OPERATORS)),
        *(f"%{example}%" for _, example in OPERATORS_WITH_ARGUMENT.values()),
    ],
)
def test_good_formats(text: str) -> None:
    """Known operators, with the arguments that they want; percent signs in pairs."""
    assert format_problem(text) == ("", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("50%", "is no command operator"),
        ("% x", "is no command operator"),
        ("%req(x)%", "is no command operator"),
        ("%REQ(x)", "is no command operator"),
        ("%PROTOCOL%%", "is no command operator"),
        ("%PROTOKOL%", "knows"),
        ("%REQ%", "needs an argument"),
        ("%REQ()%", "needs an argument"),
        ("%REQ(a b)%", "needs an argument"),
        ("%DURATION(x)%", "no argument"),
        ("%DURATION:5%", "no length"),
        ("%DYNAMIC_METADATA(a:b):5%", "no length"),
    ],
)
def test_what_envoy_would_refuse(text: str, words: str) -> None:
    """Each with its reason."""
    assert words in format_problem(text)[0]


def test_hints() -> None:
    """A similar operator, an example, how a percent sign is written."""
    assert format_problem("%PROTOKOL%")[1] == "did you mean `%PROTOCOL%`?"
    assert format_problem("%REQ%")[1] == "such as %REQ(x-team)%"
    assert format_problem("%NOTHING_LIKE_IT_AT_ALL%")[1] == ""
    assert "%%" in format_problem("5%")[1]
