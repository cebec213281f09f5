"""The kinds of conditions."""

import pytest

from control_plane.policy.blocks import BlockOf
from control_plane.policy.matching import TASK_PATHS, OneOrMany, ValueMatch
from control_plane.policy.reader import RefusedError
from ext_proc.core.request import KINDS
from tests.unit.control_plane.policy.samples import parsed

KIND = OneOrMany(BlockOf(ValueMatch), 2)


@pytest.mark.parametrize(
    ("text", "count"), [("{exact: a}", 1), ("[{exact: a}]", 1), ("[{exact: a}, {present: true}]", 2)]
)
def test_one_or_many(text: str, count: int) -> None:
    """A value alone is a list of one."""
    reader, node = parsed(text)
    assert len(KIND.read(reader, node, "match")) == count
    assert reader.diagnostics() == ()


def test_bounds() -> None:
    """None at all and too many are errors."""
    for text in ("[]", "[{exact: a}, {exact: b}, {exact: c}]"):
        reader, node = parsed(text)
        KIND.read(reader, node, "match")
        assert [found.code for found in reader.diagnostics()] == ["KP213"]


def test_every_bad_item_is_told() -> None:
    """The first mistake does not hide the second."""
    reader, node = parsed("[{exact: a, prefix: b}, {}, {exat: a}]")
    with pytest.raises(RefusedError):
        OneOrMany(BlockOf(ValueMatch), 9).read(reader, node, "match")
    assert [found.code for found in reader.diagnostics()] == ["KP214", "KP203", "KP203", "KP201"]


def test_words_for_tasks_are_those_of_the_picker() -> None:
    """The paths of the task types are the ones that the picker reads, by the same names."""
    assert {path: word for word, path in TASK_PATHS.items()} == KINDS


def test_it_describes_itself() -> None:
    """For the reference page and the editor."""
    assert KIND.describe() == "[ValueMatch](#valuematch), or a list of them"
    assert KIND.schema()["anyOf"][1]["maxItems"] == 2
    assert list(KIND.blocks()) == [ValueMatch]
