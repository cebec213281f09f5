"""The page of capabilities is made from the table, and the committed copy is the current one."""

import os
from pathlib import Path

from control_plane.compile import Feature, Node, capabilities
from control_plane.compile.capability_table import VERSIONS, capability_table

PAGE = Path(__file__).parents[4] / "docs" / "capabilities.md"
UPDATE = "KVPILOT_UPDATE_GOLDEN"


def test_committed_copy() -> None:
    """`docs/capabilities.md` is what the table says."""
    if UPDATE in os.environ:
        PAGE.write_text(capability_table())
    assert PAGE.read_text() == capability_table()


def test_a_row_for_each_feature() -> None:
    """Each feature has its row, with a cell for each version."""
    rows = [line for line in capability_table().splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [feature.value for feature in Feature]
    assert {row.count(" | ") for row in rows} == {len(VERSIONS) + 1}


def test_cells_are_what_the_compiler_goes_by() -> None:
    """Envoy 1.37 does not read usage from streams, 1.38 does."""
    (row,) = [line for line in capability_table().splitlines() if line.startswith(f"| {Feature.STREAM_USAGE.value}")]
    cells = row.split(" | ")[1 : len(VERSIONS) + 1]
    assert cells == ["–", "–", "–", "–", "yes", "yes", "yes"]
    assert capabilities(Node(id="x", version=(1, 38, 0))).has(Feature.STREAM_USAGE)
