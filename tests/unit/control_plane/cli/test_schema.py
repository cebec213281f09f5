"""`kvpilot schema`."""

import json

import pytest

from control_plane.cli import main
from control_plane.policy import json_schema, part_schema, reference_markdown


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """JSON Schema by default."""
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_part(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of a directory has a schema of its own, in which nothing is missing."""
    assert main(["schema", "--of", "part"]) == 0
    assert json.loads(capsys.readouterr().out) == part_schema()


def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    """The reference page on demand."""
    assert main(["schema", "--output", "markdown"]) == 0
    assert capsys.readouterr().out == reference_markdown()
