"""Values of any shape."""

import json
from typing import Any

import pytest

from control_plane.policy.json_value import MAX_LENGTH, MAX_VALUES, JsonValue
from control_plane.policy.reader import RefusedError
from tests.unit.control_plane.policy.samples import parsed, place


def read(text: str) -> Any:
    """The value of a YAML text."""
    reader, node = parsed(text)
    value = json.loads(JsonValue().read(reader, node, ""))
    assert reader.diagnostics() == ()
    return value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("0.5", 0.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("[null, Null, ~, ]", [None, None, None]),
        ("'3'", "3"),
        ('"true"', "true"),
        ("3s", "3s"),
        ("on", "on"),
        ("0x1F", "0x1F"),
        ("012", "012"),
        ("12:30:00", "12:30:00"),
        ("2026-11-21", "2026-11-21"),
        ("99999999999999999999", 1e20),
        ("''", ""),
        ("[1, [a], {b: c}, null]", [1, ["a"], {"b": "c"}, None]),
        ("{a: {b: [true]}, '@type': x, c: }", {"a": {"b": [True]}, "@type": "x", "c": None}),
        ("ü", "ü"),
    ],
)
def test_types_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    """Quotes make a text; nothing else that YAML 1.1 knows counts."""
    found = read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{a: 1, a: 2}", ["1:8 KP202"]),
        ("[{[x]: 1}]", ["1:3 KP113"]),
        ("{a: {<<: {}}}", ["1:6 KP112"]),
        ("[1e999]", ["1:2 KP207"]),
        (f"[{'x' * (MAX_LENGTH + 1)}]", ["1:2 KP207"]),
        (f"[{','.join('1' * (MAX_VALUES + 1))}]", ["1:1 KP213"]),
    ],
)
def test_what_is_refused(text: str, expected: list[str]) -> None:
    """What JSON cannot say, and what is larger than any patch; each at its own place."""
    reader, node = parsed(text)
    with pytest.raises(RefusedError):
        JsonValue().read(reader, node, "")
    assert [place(found) for found in reader.diagnostics()] == expected


def test_schema_and_words() -> None:
    """Editors take anything; a default is shown as JSON."""
    assert JsonValue().schema() == {}
    assert JsonValue().describe() == "any JSON value"
    assert JsonValue().plain('{"a":1}') == {"a": 1}
    assert JsonValue().plain("") is None
