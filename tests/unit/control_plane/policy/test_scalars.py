"""Single values: numbers, words, names."""

import re
from typing import Any

import pytest

from control_plane.policy.codes import Code
from control_plane.policy.kinds import Kind, ScalarKind, ValueRefusedError
from control_plane.policy.nodes import Scalar
from control_plane.policy.reader import Reader, RefusedError
from control_plane.policy.scalars import AliasFor, Boolean, Choice, Integer, NameOf, Percent, Text, Words, singular
from tests.unit.control_plane.policy.samples import FILE

NAME = Text("a name", "[a-z]+", 5)


def _refusal(kind: ScalarKind[Any], text: str) -> Code:
    with pytest.raises(ValueRefusedError) as refused:
        kind.parse(text)
    return refused.value.code


def _read(kind: Kind[Any], text: str) -> tuple[Reader, Any]:
    """The reader and the value, None where it was refused."""
    reader = Reader(FILE, [text])
    try:
        return reader, kind.read(reader, Scalar(1, 1, text=text), "path")
    except RefusedError:
        return reader, None


def _findings(reader: Reader) -> list[tuple[str, str]]:
    return [(found.code, found.hint) for found in reader.diagnostics()]


def test_text() -> None:
    """A text matches as a whole and is not too long."""
    assert NAME.parse("abc") == "abc"
    assert _refusal(NAME, "abc\n") == Code.BAD_NAME
    assert _refusal(NAME, "ab c") == Code.BAD_NAME
    assert _refusal(NAME, "abcdef") == Code.BAD_NAME
    assert Text("a header", "[A-Z]+", 5, is_lower_cased=True).parse("ABC") == "abc"


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-5", -5), ("10", 10), ("-0", 0)])
def test_integers(text: str, value: int) -> None:
    """Decimal digits are a number, bounds included."""
    assert Integer(-5, 10).parse(text) == value


@pytest.mark.parametrize("text", ["", "x", "1.0", "1e3", "0x1F", "0o17", "017", "1_000", "+1", " 1", "1 ", "1:30", "٣"])
def test_no_integers(text: str) -> None:
    """None of the other ways in which YAML writes numbers is taken for one."""
    assert _refusal(Integer(-5, 10**6), text) == Code.NOT_A_VALUE


@pytest.mark.parametrize("text", ["11", "-6", "9" * 10_000])
def test_integers_out_of_bounds(text: str) -> None:
    """Bounds hold, and a number of any length is refused at once."""
    assert _refusal(Integer(-5, 10), text) == Code.OUT_OF_BOUNDS


def test_percent() -> None:
    """The sign may be there or not."""
    assert [Percent().parse(text) for text in ("0", "50", "100%")] == [0, 50, 100]
    assert _refusal(Percent(), "101") == Code.OUT_OF_BOUNDS
    assert _refusal(Percent(), "%") == Code.NOT_A_VALUE
    assert _refusal(Percent(), "50%%") == Code.NOT_A_VALUE


def test_boolean() -> None:
    """Only two words are truth values."""
    assert [Boolean().parse(text) for text in ("true", "false")] == [True, False]
    for text in ("on", "off", "yes", "no", "y", "1", "True", ""):
        assert _refusal(Boolean(), text) == Code.NOT_A_VALUE


def test_choice() -> None:
    """A word is one of the known ones; one of a later version is told from a mistake."""
    kind = Choice(("kv-aware", "queue-depth"), planned={"session": "sticky"})
    assert _read(kind, "kv-aware")[1] == "kv-aware"
    assert _findings(_read(kind, "kv_aware")[0]) == [("KP208", "did you mean `kv-aware`?")]
    assert _findings(_read(kind, "session")[0]) == [("KP215", "possible now: kv-aware, queue-depth")]
    assert kind.parse("queue-depth") == "queue-depth"
    assert _refusal(kind, "session") == Code.UNKNOWN_WORD


def test_words() -> None:
    """Words come without blanks and once each; every unknown one is named."""
    kind = Words(("reset", "5xx", "refused-stream"))
    assert _read(kind, " reset , 5xx,reset")[1] == "reset,5xx"
    reader, value = _read(kind, "rest,5xx,4xx")
    assert value is None
    assert [found.message for found in reader.diagnostics()] == [
        "`4xx` is not a known word here",
        "`rest` is not a known word here",
    ]
    assert _findings(_read(kind, "reset,")[0])[0][0] == "KP208"


def test_words_schema() -> None:
    """The pattern for editors takes what the loader takes."""
    kind = Words(("reset", "5xx", "refused-stream"))
    pattern = re.compile(kind.schema()["pattern"])
    for text in ("reset", " reset , 5xx", "refused-stream,reset"):
        assert pattern.search(text)
        assert _read(kind, text)[1] is not None
    for text in ("", "rest", "reset,", "reset 5xx", "reset,,5xx", "xreset"):
        assert not pattern.search(text)
        assert _read(kind, text)[1] is None


def test_references_and_aliases_are_noted() -> None:
    """Names that lead elsewhere are collected for the checks."""
    reader, value = _read(NameOf("pools"), "chat")
    assert value == "chat"
    assert [(name.what, name.name) for name in reader.references] == [("pools", "chat")]
    reader, value = _read(AliasFor("models", NAME), "abc")
    assert value == "abc"
    assert [(name.what, name.name) for name in reader.aliases] == [("models", "abc")]
    reader, value = _read(AliasFor("models", NAME), "ABC")
    assert (value, reader.aliases) == (None, [])


def test_singular() -> None:
    """Keys of lists are plurals; messages speak of one."""
    assert singular("pools") == "pool"
