"""Lists, mappings, and values that may be a word."""

from typing import Any

import pytest

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, MapOf, NamedList, NamedMap, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.kinds import Kind
from control_plane.policy.reader import Reader, RefusedError
from control_plane.policy.scalars import Integer, Text
from tests.unit.control_plane.policy.samples import parsed, place

DIGIT = Integer(0, 9)
NAME = Text("a name", "[a-z.]+", 5)


@block()
class Thing(Block):
    """A thing with a name."""

    name: str = setting(NAME, doc="Its name.")
    size: int = setting(DIGIT, default=1, doc="Its size.")


@block()
class Keyed(Block):
    """A thing under its name."""

    name: str = setting(NAME, is_key=True, doc="Its name.")
    size: int = setting(DIGIT, default=1, doc="Its size.")


def _read(kind: Kind[Any], text: str) -> tuple[Reader, Any]:
    reader, root = parsed(text)
    try:
        return reader, kind.read(reader, root, "at")
    except RefusedError:
        return reader, None


def _places(reader: Reader) -> list[str]:
    return [place(found) for found in reader.diagnostics()]


def test_list() -> None:
    """A list is a tuple; each bad item is reported, and what was good is kept for the checks."""
    kind = ListOf(DIGIT)
    assert _read(kind, "[1, 2]")[1] == (1, 2)
    reader, value = _read(kind, "[1, x, 3, y]")
    assert value is None
    assert _places(reader) == ["1:5 KP206", "1:11 KP206"]
    assert [(items.path, items.items, items.is_complete) for items in reader.lists] == [
        ("at", (("at[0]", 1), ("at[2]", 3)), False)
    ]


@pytest.mark.parametrize(("text", "found"), [("[]", ["1:1 KP213"]), ("[1,2,3,4]", ["1:1 KP213"]), ("[1]", [])])
def test_list_bounds(text: str, found: list[str]) -> None:
    """Too few and too many items are reported at the list."""
    assert _places(_read(ListOf(DIGIT, minimum=1, maximum=3), text)[0]) == found


@pytest.mark.parametrize("kind", [ListOf(DIGIT), NamedList("things", BlockOf(Thing))])
@pytest.mark.parametrize(
    ("text", "hint"), [("5", "write one item as [item]"), ("{name: a}", "begin each item with `- `")]
)
def test_no_list(kind: Kind[Any], text: str, hint: str) -> None:
    """What is not in a list gets a hint how to write one."""
    reader, value = _read(kind, text)
    assert value is None
    assert [found.hint for found in reader.diagnostics()] == [hint]
    assert _places(reader) == ["1:1 KP204"]


def test_map() -> None:
    """Keys and values are read, each bad one is reported."""
    kind = MapOf(NAME, DIGIT, maximum=2)
    assert _read(kind, "{a: 1, b: 2}")[1] == {"a": 1, "b": 2}
    reader, value = _read(kind, "{a: x, B: 2, a: 3}")
    assert value is None
    assert _places(reader) == ["1:1 KP213", "1:5 KP206", "1:8 KP209", "1:14 KP202"]
    assert _places(_read(kind, "[a]")[0]) == ["1:1 KP204"]


def test_named_map() -> None:
    """Blocks carry their key as their name, and paths have it."""
    kind = NamedMap("things", NAME, BlockOf(Keyed))
    reader, value = _read(kind, "{a: {size: 2}, b.c: {}}")
    assert value == (Keyed(name="a", size=2), Keyed(name="b.c"))
    assert [path for path, _ in reader.built] == ["at.a", "at.b.c"]
    assert (reader.marks["at.b.c"].line, reader.marks["at.b.c"].column) == (1, 16)


def test_named_map_defines_what_is_wrong_inside() -> None:
    """A reference to a thing with an error is no second error."""
    reader, value = _read(NamedMap("things", NAME, BlockOf(Keyed)), "{a: {size: x}, B: {size: y}, c: {}}")
    assert value is None
    assert _places(reader) == ["1:12 KP206", "1:16 KP209", "1:26 KP206"]
    assert list(reader.defined["things"]) == ["a", "B", "c"]


def test_a_name_of_a_map_is_no_key() -> None:
    """The name stands in one place only."""
    assert _places(_read(NamedMap("things", NAME, BlockOf(Keyed)), "{a: {name: b}}")[0]) == ["1:6 KP201"]


def test_named_list() -> None:
    """Paths have the name in place of the position, where there is one."""
    kind = NamedList("things", BlockOf(Thing))
    reader, value = _read(kind, "[{name: a}, {name: b, size: 3}]")
    assert value == (Thing(name="a"), Thing(name="b", size=3))
    assert {"at.a", "at.b.size"} <= set(reader.marks)
    reader, value = _read(kind, "[{name: a}, {name: a, size: x}, {size: 3}, 5]")
    assert value is None
    assert _places(reader) == ["1:20 KP302", "1:29 KP206", "1:33 KP203", "1:44 KP204"]
    assert {"at.a", "at[1].size", "at[2]"} <= set(reader.marks)


@pytest.mark.parametrize("kind", [NamedList("t", BlockOf(Thing), 1), NamedMap("t", NAME, BlockOf(Keyed), 1)])
def test_named_need_the_right_shape(kind: Kind[Any]) -> None:
    """A list is no mapping, a mapping no list, and nothing is neither."""
    assert len(_read(kind, "x")[0].diagnostics()) == 1
    empty = "[]" if isinstance(kind, NamedList) else "{}"
    assert _places(_read(kind, empty)[0]) == ["1:1 KP213"]


def test_or_word() -> None:
    """The word is None; what is neither says what is possible."""
    kind = OrWord(DIGIT, "auto", "learned")
    assert _read(kind, "auto")[1] is None
    assert _read(kind, "auto")[0].diagnostics() == ()
    assert _read(kind, "5")[1] == 5
    reader, _ = _read(kind, "10")
    assert [(found.code, found.hint) for found in reader.diagnostics()] == [("KP207", "`auto` is possible, too")]
    assert kind.plain(None) == "auto"
    assert kind.plain(5) == 5


def test_or_word_of_a_block() -> None:
    """The same for a mapping, whose own errors stay its own."""
    kind = OrWord(BlockOf(Thing), "off", "none")
    assert _read(kind, "'off'")[0].diagnostics() == ()
    assert _read(kind, "{name: a}")[1] == Thing(name="a")
    assert _places(_read(kind, "{name: a, sise: 1}")[0]) == ["1:11 KP201"]
    reader, _ = _read(kind, "on")
    assert [found.message for found in reader.diagnostics()] == ["expected `off` or a mapping, found the text `on`"]
    assert _places(_read(kind, "[]")[0]) == ["1:1 KP204"]
