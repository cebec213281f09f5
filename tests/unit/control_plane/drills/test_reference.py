"""What editors and people are told about drill files."""

from pathlib import Path

import pytest
import yaml

from control_plane.cli import main
from control_plane.drills.reading import read_drill
from control_plane.drills.reference import drills_markdown, drills_schema
from tests.unit.control_plane.policy.json_schema_check import is_valid

ROOT = Path(__file__).parents[4]
DRILLS = sorted((ROOT / "examples" / "drills").glob("*.yaml"))


def test_committed_copies(capsys: pytest.CaptureFixture[str]) -> None:
    """The page and the schema in docs/ are what the program prints."""
    assert main(["schema", "--of", "drills"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "drills.schema.json").read_text()
    assert main(["schema", "--of", "drills", "--output", "markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "drills.md").read_text()


@pytest.mark.parametrize("path", DRILLS, ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    """Editor and reader agree on the examples."""
    schema = drills_schema()
    assert is_valid(schema, yaml.safe_load(path.read_text()), schema)
    assert read_drill(path.read_text(), path.name)[0] is not None


@pytest.mark.parametrize(
    "text", ["policy: p\n", "policy: p\nduration: 5\n", "policy: p\nduration: 5s\nsteps: [{name: x}]\n"]
)
def test_bad_files_are_not(text: str) -> None:
    """Nor on what is none."""
    schema = drills_schema()
    assert not is_valid(schema, yaml.safe_load(text), schema)
    assert read_drill(text, "s.yaml")[0] is None


def test_the_page_has_every_key() -> None:
    """Each key of each block stands on the page."""
    for definition in (drills_schema(), *drills_schema()["definitions"].values()):
        for key in definition["properties"]:
            assert f"| `{key}` |" in drills_markdown()
