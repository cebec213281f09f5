"""Whole files that are wrong in the ways in which people get them wrong: every finding at its place, all at once.

Each says in its first line what is expected; one that can have no such line has a file `.expect` beside it.
"""

import os
from pathlib import Path

import pytest
import yaml

from control_plane.policy import json_schema, load_bytes
from control_plane.policy.codes import Code
from control_plane.policy.loader import MAX_BYTES, MAX_FILES, load_files
from tests.unit.control_plane.policy.findings_of import findings_of
from tests.unit.control_plane.policy.json_schema_check import is_valid
from tests.unit.control_plane.policy.samples import MINIMAL, place
from tests.unit.control_plane.policy.yaml12 import Yaml12Loader

BAD = Path(__file__).parents[3] / "data" / "bad"
FILES = sorted(BAD.glob("*.yaml"))
HEAD = b"# expect: "
UPDATE = "KVPILOT_UPDATE_GOLDEN"
"""Set it to write the expectations anew; look at the difference before you commit."""

FEW = 50
"""More findings than this are written as the first, `…` and the last."""

ELSEWHERE = {
    Code.UNREADABLE: "cli/test_check.py",
    Code.TOO_LARGE: "test_too_large",
    Code.ENVOY_REFUSES: "cli/test_envoy_validate.py",
    Code.ENVOY_UNAVAILABLE: "cli/test_envoy_validate.py",
    Code.UNUSABLE_FILE: "cli/test_file_findings.py",
    Code.NEEDS_RESTART: "sidecar/test_fixed_ports.py",
}
"""Codes that no file of some kilobytes can give, and where they are tested."""


def expected(path: Path) -> list[str]:
    """What a file says is wrong with it."""
    beside = path.with_suffix(".expect")
    if beside.exists():
        return beside.read_text().strip().split(", ")
    first = path.read_bytes().partition(b"\n")[0]
    assert first.startswith(HEAD), f"{path.name} does not say what is expected"
    return first.removeprefix(HEAD).decode().split(", ")


def shown(places: list[str]) -> list[str]:
    """The places as they stand in a first line."""
    return places if len(places) <= FEW else [places[0], "…", places[-1]]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_error_at_its_place(path: Path) -> None:
    """Nothing raises, nothing is overlooked, nothing is imagined."""
    found = shown([place(one) for one in findings_of(path.read_bytes(), path.name)])
    if UPDATE in os.environ and not path.with_suffix(".expect").exists():
        rest = path.read_bytes().partition(b"\n")[2]
        path.write_bytes(HEAD + ", ".join(found).encode() + b"\n" + rest)
    assert found == expected(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_error_leaves_no_policy(path: Path) -> None:
    """Whatever the code: what has an error cannot be used, and what has none can."""
    result = load_bytes(path.read_bytes(), path.name)
    assert (result.document is None) == any(one.severity == "error" for one in result.diagnostics)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_findings_have_words(path: Path) -> None:
    """Each finding is about this file, says something, and shows the line that it points into."""
    lines = path.read_bytes().count(b"\n") + 1
    for found in findings_of(path.read_bytes(), path.name):
        assert found.file == path.name
        assert found.message
        assert "Traceback" not in found.message
        assert 1 <= found.line <= lines


def test_there_are_many() -> None:
    """No fewer than sixty."""
    assert len(FILES) >= 60


def test_every_code_has_a_file() -> None:
    """No code without a file that gives it."""
    given = {text.split()[1] for path in FILES for text in expected(path) if " " in text}
    assert {code for code in Code if code not in ELSEWHERE} == {Code(code) for code in given}


def test_too_large() -> None:
    """A file, or files together, that no policy needs; and too many of them."""
    half = b"#" * (MAX_BYTES // 2 + 1)
    assert [one.code for one in load_bytes(half + half, "a.yaml").diagnostics] == [Code.TOO_LARGE]
    together = load_files([("a.yaml", half), ("b.yaml", half)])
    assert [(one.file, one.code) for one in together.diagnostics] == [("b.yaml", Code.TOO_LARGE)]
    many = load_files([(f"{number}.yaml", MINIMAL.encode()) for number in range(MAX_FILES + 1)])
    assert [one.code for one in many.diagnostics] == [Code.TOO_LARGE]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_editors_see_it_too(path: Path) -> None:
    """What is wrong with single values the JSON Schema refuses as well, and nothing else of what is YAML."""
    try:
        value = yaml.load(path.read_text(), Yaml12Loader)
    except (yaml.YAMLError, UnicodeDecodeError):
        return  # the editor's YAML says so
    codes = {one.code for one in findings_of(path.read_bytes(), path.name)}
    of_values = {code for code in codes if code.startswith("KP2")} - {Code.DUPLICATE_KEY.value}
    is_policy = not any(code.startswith("KP1") for code in codes)
    schema = json_schema()
    assert not is_policy or is_valid(schema, value, schema) == (not of_values)
