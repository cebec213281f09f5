"""Playing and keeping cells."""

from pathlib import Path

import pytest

from bench.report.cells import KEPT, Source, Store, all_played, fingerprint, is_known
from bench.report.words import Group

GROUP = Group(("generate:prompts", "--requests", "20"), ("kv-aware", "random"), ("0.5",), seeds=2)


def test_cells_are_played_once(tmp_path: Path) -> None:
    """A second time they are read, and are the same."""
    store = Store(tmp_path / "deep" / KEPT)

    first = all_played([GROUP], Source(), store, jobs=1)
    lines = store.path.read_text()
    second = all_played([GROUP], Source(), store, jobs=1)

    assert first == second
    assert store.path.read_text() == lines
    assert len(lines.splitlines()) == len(first) == 4


def test_an_interrupted_line_is_played_again(tmp_path: Path) -> None:
    """What was not written to its end was not kept."""
    store = Store(tmp_path / KEPT)
    first = all_played([GROUP], Source(), store, jobs=1)
    store.path.write_text(store.path.read_text()[:-30] + "\n")

    assert all_played([GROUP], Source(), store, jobs=1) == first


def test_cells_are_what_the_command_line_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command of a group has the same numbers."""
    import json

    from control_plane.cli import main

    found = all_played([GROUP], Source(), Store(tmp_path / KEPT), jobs=1)
    words = GROUP.command.removeprefix("kvpilot ").split()

    assert main([*words, "--output", "json"]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert {(r["strategy"], r["seed"]): r["ttft_ms"] for r in results} == {
        (cell.strategy, cell.seed): row["ttft_ms"] for cell, row in found.items()
    }


def test_searches(tmp_path: Path) -> None:
    """Of a rate, and of a number of engines."""
    words = ("generate:prompts", "--requests", "20")
    rate = Group((*words, "--slo", "ttft=2s,tpot=60s"), ("random",), seeds=1, search="rate")
    size = Group(words, ("random",), ("0.5",), seeds=1, search="size")

    found = all_played([rate, size], Source(), Store(tmp_path / KEPT), jobs=1)

    assert [
        next(iter(row["strategy"] for cell, row in found.items() if cell.search == kind)) for kind in ("rate", "size")
    ]
    assert next(row["pods"] for cell, row in found.items() if cell.search == "size") >= 1


def test_what_is_not_known(tmp_path: Path) -> None:
    """Words that the command line does not have, and files that are not there."""
    assert is_known(GROUP, Source())
    assert not is_known(Group(("generate:chat", "--no-such-word"), ("random",)), Source())
    assert not is_known(Group(("no_such_trace.jsonl",), ("random",)), Source(tmp_path))


def test_a_trace_is_found_below_the_folder(tmp_path: Path) -> None:
    """Wherever it lies there."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "trace.jsonl").touch()

    assert Source(tmp_path).path("trace.jsonl") == str(tmp_path / "deep" / "trace.jsonl")
    assert Source().path("trace.jsonl") is None
    assert Source().path("generate:chat") == "generate:chat"


def test_the_fingerprint_of_others_is_another_one() -> None:
    """It is the same each time, and does not depend on our picker."""
    assert fingerprint(ours=True) == fingerprint(ours=True) != fingerprint(ours=False)
