"""The keys of a mapping."""

from control_plane.policy.keys import unique_keys
from control_plane.policy.nodes import Mapping
from tests.unit.control_plane.policy.samples import parsed


def test_unique_keys() -> None:
    """Texts come through, the first of equal ones; everything else is reported where it is."""
    reader, root = parsed("a: 1\n[b]: 2\n'a': 3\n<<: 4\n'<<': 5\n1: 6\n")
    assert isinstance(root, Mapping)
    assert [key.text for key, _ in unique_keys(reader, root)] == ["a", "<<", "1"]
    assert [(found.line, found.code, found.hint) for found in reader.diagnostics()] == [
        (2, "KP113", "quote it if a text is meant"),
        (3, "KP202", "the first is in line 1"),
        (4, "KP112", "name the keys here, or use an alias (`key: *name`) for a whole value"),
    ]
