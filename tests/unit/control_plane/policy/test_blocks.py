"""Mappings with declared keys."""

from typing import Any

import pytest

from control_plane.policy.blocks import NOT_YET, BlockOf
from control_plane.policy.containers import ListOf
from control_plane.policy.declare import Block, Shorthand, block, setting
from control_plane.policy.discovery import StaticEndpoint
from control_plane.policy.limits import TcpSettings
from control_plane.policy.load_balancing import LoadBalancer
from control_plane.policy.matching import RuleMatch
from control_plane.policy.model import Policy
from control_plane.policy.reader import Reader, RefusedError
from control_plane.policy.routing import MirrorTarget, VirtualHost
from control_plane.policy.scalars import Integer
from tests.unit.control_plane.policy.samples import parsed, place

DIGIT = Integer(0, 9)


def _one(value: int) -> tuple[int, ...]:
    return (value,)


@block(planned={"later": "something", "other": "something else; write `first`"}, stand_ins={"first": ("other",)})
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


def test_what_to_write_instead() -> None:
    """A planned key's own words say what there is in its place; otherwise it can only go."""
    later, other = _read("{first: 1, later: 2, other: 3}")[0].diagnostics()
    assert (later.message, later.hint) == ("`later` is not supported in this version (something)", NOT_YET)
    assert other.message == "`other` is not supported in this version (something else)"
    assert other.hint == "write `first`"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("headers: {x-a: premium}", "write {exact: premium}"),
        ("uri: /v1", "write {exact: /v1}"),
        ("headers: {x-a: }", "write {} for nothing but defaults"),
    ],
)
def test_a_text_in_place_of_a_block(text: str, hint: str) -> None:
    """Where it is clear under which key it belongs, the hint writes it."""
    reader, root = parsed(f"{{{text}}}")
    with pytest.raises(RefusedError):
        BlockOf(RuleMatch).read(reader, root, "")
    assert [finding.hint for finding in reader.diagnostics()] == [hint]


@pytest.mark.parametrize(
    ("cls", "hint"),
    [
        (MirrorTarget, "write {pool: x}"),
        (StaticEndpoint, ""),
        (LoadBalancer, ""),
        (Sample, ""),
        (TcpSettings, ""),
        (VirtualHost, ""),
    ],
)
def test_no_guess_where_it_is_not_clear(cls: type[Block], hint: str) -> None:
    """The text must be a value of the only required key, or of the first one if that has texts."""
    reader, root = parsed("x")
    with pytest.raises(RefusedError):
        BlockOf(cls).read(reader, root, "")
    assert [finding.hint for finding in reader.diagnostics()] == [hint]


def test_any_block_may_meet_a_text() -> None:
    """It is an error of the file, whatever the block."""
    for cls in BlockOf(Policy).blocks():
        reader, root = parsed("x")
        with pytest.raises(RefusedError):
            BlockOf(cls).read(reader, root, "")


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
