"""A file that is one block: read, or None with located findings."""

from control_plane.policy.one_block import read_block
from control_plane.scenarios.model import Scenarios


def test_what_is_no_yaml_and_what_is_no_block() -> None:
    """Both are findings with a place, never an exception."""
    for text in ("a: [", "- 1\n", ""):
        found, reader = read_block(text, "f.yaml", Scenarios)
        assert found is None
        assert [(each.file, each.line >= 1) for each in reader.diagnostics()] == [("f.yaml", True)]
