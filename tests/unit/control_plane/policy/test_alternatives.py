"""One value or a list of alternatives."""

import pytest

from control_plane.policy.alternatives import OneOrMore
from control_plane.policy.blocks import BlockOf
from control_plane.policy.matching import ValueMatch
from control_plane.policy.reader import RefusedError
from control_plane.policy.scalars import Integer
from tests.unit.control_plane.policy.samples import parsed

KIND = OneOrMore(Integer(0, 9), 2)
BLOCKS = OneOrMore(BlockOf(ValueMatch), 9)


def test_what_it_says_of_itself() -> None:
    """Editors take both forms, people read both, a default is shown in the long one."""
    one = Integer(0, 9).schema()
    assert KIND.schema() == {"anyOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": 2}]}
    assert KIND.describe() == "0..9, or a list of alternatives"
    assert KIND.plain((1, 2)) == [1, 2]
    assert list(KIND.blocks()) == []
    assert list(BLOCKS.blocks()) == [ValueMatch]


@pytest.mark.parametrize(("text", "values"), [("1", (1,)), ("[1]", (1,)), ("[1, 2]", (1, 2))])
def test_one_or_several(text: str, values: tuple[int, ...]) -> None:
    """A value alone is a list of one."""
    reader, node = parsed(text)
    assert KIND.read(reader, node, "match") == values
    assert reader.diagnostics() == ()


@pytest.mark.parametrize("text", ["[]", "[1, 2, 3]"])
def test_bounds(text: str) -> None:
    """None at all and too many are errors."""
    reader, node = parsed(text)
    KIND.read(reader, node, "match")
    assert [found.code for found in reader.diagnostics()] == ["KP213"]


def test_every_bad_item_is_told() -> None:
    """The first mistake does not hide the second."""
    reader, node = parsed("[{exact: a, prefix: b}, {}, {exat: a}]")
    with pytest.raises(RefusedError):
        BLOCKS.read(reader, node, "match")
    assert [found.code for found in reader.diagnostics()] == ["KP214", "KP203", "KP203", "KP201"]
