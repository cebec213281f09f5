"""The documents speak of what is there: files, commands and links that they name exist."""

import re
import tomllib
from pathlib import Path

import pytest

from control_plane.cli import VERBS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "envoy").glob("*.md")])
ELSEWHERE = {"envoy/__init__.py", "control_plane/envoy_data/"}
"""What must not be in the repository, and what is only in the wheel."""
FOLDERS = ("control_plane", "ext_proc", "protos", "sim", "bench", "tests", "envoy", "docs", "examples")


def named_paths(text: str) -> set[str]:
    """What stands in backticks and looks like a path of the repository."""
    found = re.findall(r"`((?:" + "|".join(FOLDERS) + r")/[\w./*-]*)`", text)
    return set(found) - ELSEWHERE


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document: Path) -> None:
    """Every file and folder that a document names is there (a `*` stands for something)."""
    for path in named_paths(document.read_text()):
        assert list(ROOT.glob(path.rstrip("/"))), f"{document.name} names {path}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document leads to a file."""
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_verbs_exist(document: Path) -> None:
    """Every `kvpilot VERB` in backticks is a verb."""
    for verb in re.findall(r"`kvpilot ([a-z]+)", document.read_text()):
        assert verb in VERBS, f"{document.name} names kvpilot {verb}"


def test_every_dependency_has_its_reason() -> None:
    """What `pyproject.toml` asks for stands in the page of dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    names = {re.split(r"[^\w-]", text, maxsplit=1)[0] for text in wanted}
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    explained = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert {name for name in names if not name.startswith("types-")} <= explained


def test_make_targets_exist() -> None:
    """Every `make TARGET` in backticks is a target of the Makefile."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        for target in re.findall(r"`make ([\w-]+)", document.read_text()):
            assert target in targets, f"{document.name} names make {target}"


def test_the_architecture_is_drawn_as_it_is() -> None:
    """The layout in docs/design.md names every folder of the program and nothing else."""
    text = (ROOT / "docs/design.md").read_text()
    layout = text.split("## Layout and direction")[1].split("```")[1]
    for package in ("control_plane", "ext_proc"):
        part = layout.split(f"{package}/")[1]
        drawn = set()
        for line in part.splitlines()[1:]:
            if not line.startswith("  "):
                break
            drawn.add(line.split()[0].rstrip("/"))
        folders = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"}
        assert {name for name in drawn if "*" not in name} == folders
