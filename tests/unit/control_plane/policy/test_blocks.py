"""Mappings with declared keys."""

from typing import Any

import pytest

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block, Shorthand, block, setting
from control_plane.policy.reader import Reader, RefusedError
from control_plane.policy.scalars import Integer
from tests.unit.control_plane.policy.samples import parsed, place

DIGIT = Integer(0, 9)


def _one(value: int) -> tuple[int, ...]:
    return (value,)


@block(planned={"later": "something", "other": "something else"}, stand_ins={"first": ("other",)})
class Sample(Block):
    """A block to try."""

    first: int = setting(DIGIT, doc="The first.")
    second: int = setting(DIGIT, default=2, doc="The second.")
    many: tuple[int, ...] = setting(
        ListOf(DIGIT), default=(), doc="Some.", shorthand=Shorthand("one", DIGIT, _one, ("[0]",), "A single one.")
    )


def _read(text: str) -> tuple[Reader, Any]:
    reader, root = parsed(text)
    try:
        return reader, BlockOf(Sample).read(reader, root, "at")
    except RefusedError:
        return reader, None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{}", ["1:1 KP203"]),
        ("{first: x, second: y}", ["1:9 KP206", "1:20 KP206"]),
        ("{first: 1, secnd: 2}", ["1:12 KP201"]),
        ("{first: 1, later: 2}", ["1:12 KP215"]),
        ("{later: 2}", ["1:1 KP203", "1:2 KP215"]),
        ("{other: 2}", ["1:2 KP215"]),
        ("{first: 1, one: 2, many: [3]}", ["1:20 KP214"]),
        ("{first: 1, many: [x], one: y}", ["1:19 KP206", "1:23 KP214"]),
        ("{first: 1, first: 2}", ["1:12 KP202"]),
        ("x", ["1:1 KP204"]),
    ],
)
def test_findings(text: str, found: list[str]) -> None:
    """Everything wrong with the keys, each at its own place; a planned key in place of a required one is one error."""
    assert [place(finding) for finding in _read(text)[0].diagnostics()] == found


def test_unknown_keys_leave_the_block() -> None:
    """A key too many is an error of the file, and the rest is still read and checked."""
    reader, value = _read("{first: 1, secnd: 2}")
    assert value == Sample(first=1)
    assert reader.built == [("at", Sample(first=1))]


@pytest.mark.parametrize(
    ("text", "value", "marks"),
    [
        ("{first: 1, one: 5}", Sample(first=1, many=(5,)), {"at.one": 17, "at.many": 17, "at.many[0]": 17}),
        ("{first: 1, many: [5]}", Sample(first=1, many=(5,)), {"at.many": 12, "at.many[0]": 19}),
    ],
)
def test_shorthand(text: str, value: Sample, marks: dict[str, int]) -> None:
    """Both forms give the same value, and its parts are found by the same paths."""
    reader, read = _read(text)
    assert read == value
    assert {path: reader.marks[path].column for path in reader.marks if path != "at.first"} == marks


def test_inner_blocks() -> None:
    """A block knows which blocks it is made of."""
    assert list(BlockOf(Sample).blocks()) == [Sample]
