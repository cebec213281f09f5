"""What names may look like."""

import pytest

from control_plane.policy.kinds import ValueRefusedError
from control_plane.policy.names import (
    HEADER_NAME,
    LABEL_KEY,
    LABEL_VALUE,
    LISTENER_NAME,
    MAX_NAME,
    MODEL_NAME,
    PLACE,
    POOL_NAME,
    plain_name,
)
from control_plane.policy.scalars import Text

NASTY = [
    "a\x00",
    "a\n",
    "a b",
    "é",
    "a\u202eb",
    "a\u200b",
    "${x}",
    "a;b",
    "a'b",
    'a"b',
    "a%b",
    "a\\b",
    "a,b",
    "a[0]",
    "😀",
]


@pytest.mark.parametrize("kind", [POOL_NAME, LISTENER_NAME, MODEL_NAME, PLACE, LABEL_KEY, HEADER_NAME])
def test_nothing_nasty(kind: Text) -> None:
    """No name can end a quote, a line or a path, or look like another one."""
    for name in [*NASTY, "", "x" * 1000]:
        with pytest.raises(ValueRefusedError):
            kind.parse(name)


@pytest.mark.parametrize("kind", [POOL_NAME, LISTENER_NAME, PLACE, LABEL_KEY])
def test_usual_names(kind: Text) -> None:
    """What people call things is a name, up to the longest one."""
    for name in ["a", "llama-3.1_70b", "0", "us-east-1a", "x" * MAX_NAME]:
        assert kind.parse(name) == name


def test_label_values() -> None:
    """Labels may say anything in one line of ASCII, also nothing."""
    assert LABEL_VALUE.parse("") == ""
    assert LABEL_VALUE.parse("NVIDIA H100 80GB, 'fast'") == "NVIDIA H100 80GB, 'fast'"
    for value in ("é", "a\n", "\x1b"):
        with pytest.raises(ValueRefusedError):
            LABEL_VALUE.parse(value)


@pytest.mark.parametrize("name", ["x-kvpilot-decision", "X-KVPilot-x", "x-gateway-destination-endpoint", "X-Envoy-x"])
def test_headers_of_our_own(name: str) -> None:
    """A header that Envoy strips from requests names no session, in any case of its letters."""
    with pytest.raises(ValueRefusedError):
        HEADER_NAME.parse(name)


def test_headers_are_lower_case() -> None:
    """HTTP does not tell cases apart; Envoy's attributes are lower case."""
    assert HEADER_NAME.parse("X-Session-ID") == "x-session-id"


def test_plain_names() -> None:
    """Letters, digits and a few signs, none of which means anything to Envoy."""
    kind = plain_name("the name of a thing")
    assert kind.parse("a-1_b.c") == "a-1_b.c"
    for text in ("", "-a", "a b", "a/b", "a" * (MAX_NAME + 1)):
        with pytest.raises(ValueRefusedError):
            kind.parse(text)
    assert kind.noun == "the name of a thing (letters, digits, `.`, `_`, `-`)"
