"""What editors and people are told about scenario files."""

from pathlib import Path

import pytest
import yaml

from control_plane.cli import main
from control_plane.scenarios.reading import read_scenarios
from control_plane.scenarios.reference import scenarios_markdown, scenarios_schema
from tests.unit.control_plane.policy.json_schema_check import is_valid

ROOT = Path(__file__).parents[4]
SCENARIOS = sorted((ROOT / "examples" / "scenarios").glob("*.yaml"))


def test_committed_copies(capsys: pytest.CaptureFixture[str]) -> None:
    """The page and the schema in docs/ are what the program prints."""
    assert main(["schema", "--of", "scenarios"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "scenarios.schema.json").read_text()
    assert main(["schema", "--of", "scenarios", "--output", "markdown"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "scenarios.md").read_text()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_examples_are_valid(path: Path) -> None:
    """Editor and reader agree on the examples."""
    schema = scenarios_schema()
    assert is_valid(schema, yaml.safe_load(path.read_text()), schema)
    assert read_scenarios(path.read_text(), path.name)[0] is not None


@pytest.mark.parametrize("text", ["policy: p\n", "policy: p\nscenarios: []\n", "policy: p\nscenarios: [{name: x}]\n"])
def test_bad_files_are_not(text: str) -> None:
    """Nor on what is none."""
    schema = scenarios_schema()
    assert not is_valid(schema, yaml.safe_load(text), schema)
    assert read_scenarios(text, "s.yaml")[0] is None


def test_the_page_has_every_key() -> None:
    """Each key of each block stands on the page."""
    for definition in (scenarios_schema(), *scenarios_schema()["definitions"].values()):
        for key in definition["properties"]:
            assert f"| `{key}` |" in scenarios_markdown()
