"""The documents speak of what is there: files, commands and links that they name exist."""

import re
import textwrap
import tomllib
from pathlib import Path

import pytest

from control_plane.cli import VERBS, build_parser
from control_plane.policy import load_bytes
from control_plane.policy.codes import Code

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "envoy").glob("*.md"), *ROOT.glob("examples/*.md")]
)
RUNNABLE = sorted([*DOCUMENTS, *ROOT.glob("examples/**/*.yaml"), ROOT / "docker-compose.yml", ROOT / "Makefile"])
"""What shows command lines."""
ELSEWHERE = {"envoy/__init__.py", "control_plane/envoy_data/"}
"""What must not be in the repository, and what is only in the wheel."""
FOLDERS = ("control_plane", "ext_proc", "protos", "sim", "bench", "tests", "envoy", "docs", "examples")


NO_POLICIES = {"drills.md", "scenarios.md"}
"""Pages whose YAML is of another format."""
OF_A_POOL = {"picker", "trafficPolicy"}
"""Keys that fragments begin with, and that belong to a pool."""
LEFT_TO_THE_READER = {Code.MISSING_KEY, Code.UNKNOWN_REFERENCE, Code.OWN_STRATEGY, Code.NO_EFFECT}
"""What a fragment may lack: the rest of its policy, and a package."""


def without_code(text: str) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(document: Path) -> set[str]:
    """What `#…` may name in a document, by GitHub's rule for headings."""
    headings = re.findall(r"^#+ (.*)$", without_code(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def fragments(document: Path) -> list[str]:
    """The YAML of a page as policies; where a block shows a key several times, one for each."""
    found = []
    for block in re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE):
        first = re.search(r"^\w+(?=:)", block, re.MULTILINE)
        if first is None:
            continue  # a list or a comment
        for part in re.split(rf"^(?={first[0]}:)", block, flags=re.MULTILINE):
            inside = f"pools:\n  p:\n{textwrap.indent(part, '    ')}" if first[0] in OF_A_POOL else part
            if part.strip():
                found.append(inside if first[0] == "kvpilot" else f"kvpilot: v1\n{inside}")
    return found


def flags(verb: str, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """The options of a verb, as its help names them."""
    with pytest.raises(SystemExit):
        build_parser().parse_args([verb, "--help"])
    return set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))


def named_paths(text: str) -> set[str]:
    """What stands in backticks and looks like a path of the repository."""
    found = re.findall(r"`((?:" + "|".join(FOLDERS) + r")/[\w./*-]*)`", text)
    return set(found) - ELSEWHERE


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_exist(document: Path) -> None:
    """Every file and folder that a document names is there (a `*` stands for something)."""
    for path in named_paths(document.read_text()):
        assert list(ROOT.glob(path.rstrip("/"))), f"{document.name} names {path}"


def test_modules_exist() -> None:
    """A module that a page names without its folder, as one of those named before it, is somewhere."""
    modules = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
    for document in DOCUMENTS:
        named = set(re.findall(r"`(\w+\.py)`", document.read_text()))
        assert named <= modules, f"{document.name} names {named - modules}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    """Every relative link of a document leads to a file, and to a heading of it where it names one."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(document.read_text())):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            path = document.parent / file if file else document
            assert path.exists(), f"{document.name} links to {target}"
            assert not anchor or anchor in anchors(path), f"{document.name} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_verbs_exist(document: Path) -> None:
    """Every `kvpilot VERB` in backticks is a verb."""
    for verb in re.findall(r"`kvpilot ([a-z]+)", document.read_text()):
        assert verb in VERBS, f"{document.name} names kvpilot {verb}"


def test_options_exist(capsys: pytest.CaptureFixture[str]) -> None:
    """Every option that follows `kvpilot VERB`, in prose and in commands to copy, is one of that verb."""
    known = {verb: flags(verb, capsys) for verb in VERBS}
    wrong = [
        f"{path.relative_to(ROOT)}: kvpilot {verb} {option}"
        for path in RUNNABLE
        for verb, rest in re.findall(r"\bkvpilot ([a-z]+)\b([^`|;&\n]*)", path.read_text().replace("\\\n", ""))
        if verb in known
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest)
        if option not in known[verb]
    ]
    assert wrong == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_yaml_is_policy(document: Path) -> None:
    """What a page shows of a policy has keys and values that a policy can have."""
    for text in fragments(document) if document.name not in NO_POLICIES else ():
        found = load_bytes(text.encode(), document.name).diagnostics
        assert [one for one in found if one.code not in LEFT_TO_THE_READER] == [], text


def test_defaults_are_those_of_the_reference() -> None:
    """Where a page has a table of keys with their defaults, each is the default of such a key."""

    def bare(cell: str) -> str:
        return re.sub(r"[` %]", "", cell)

    reference = (ROOT / "docs/policy_reference.md").read_text()
    known = {
        (key, bare(text)) for key, text in re.findall(r"^\| `(\w+)` \| .*? \| ([^|]+) \| ", reference, re.MULTILINE)
    }
    tables = [
        (document.name, *row)
        for document in DOCUMENTS
        for table in re.findall(
            r"^\| [^|]+ \| default \| .*\n\|[-|]+\n((?:\|.*\n)+)", document.read_text(), re.MULTILINE
        )
        for row in re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
    ]
    assert len(tables) > 10
    assert [row for row in tables if (row[1], bare(row[2])) not in known] == []


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
