"""What is in the report."""

import re
from pathlib import Path

import pytest

from bench.report.catalogue import ALL, PLACES, QUICK, REPORT, SWEEPS, with_seeds
from bench.report.cells import Source, is_known
from bench.report.proof import Proof
from bench.report.sweeps import Sweep
from bench.report.words import Knee
from sim.virtual.rules import checked

ROOT = Path(__file__).parents[4]
KNEES = {place: Knee(load=0.8, rate=2.0, requests_per_s=10.0, strategy="lmetric") for place in PLACES}


def test_every_name_is_there_once() -> None:
    """`--only` and the markers tell them apart."""
    assert len({table.name for table in REPORT}) == len(REPORT)


def test_every_rule_exists() -> None:
    """By the names of the command line."""
    assert checked(ALL) == ALL


@pytest.mark.parametrize("name", [*(table.name for table in REPORT), "ours", "oracle"])
def test_the_document_has_a_place_for_it(name: str) -> None:
    """Each block is between markers in docs/benchmarks.md."""
    assert f"<!-- report:{name} -->" in (ROOT / "docs" / "benchmarks.md").read_text()


def test_sweeps_have_a_column_to_compare_with() -> None:
    """Exactly one, without words."""
    assert all(sum(not point.words for point in sweep.points) == 1 for sweep in SWEEPS)


def test_the_command_line_knows_the_words(tmp_path: Path) -> None:
    """Of all commands, when the traces are there."""
    for name in ("conversation_trace.jsonl", "AzureLLMInferenceTrace_conv.csv"):
        (tmp_path / name).touch()
    groups = [group for table in REPORT for group in table.groups(KNEES)]

    assert [group.command for group in groups if not is_known(group, Source(tmp_path))] == []


def test_words_are_not_abbreviations() -> None:
    """A prefix of an option would be understood today, and mean another one tomorrow."""
    for table in (*REPORT, *QUICK):
        for group in table.groups(KNEES):
            assert all(re.fullmatch(r"--[a-z]+(-[a-z]+)*|[^-].*", word) for word in group.words)


def test_other_numbers_of_seeds() -> None:
    """Where a table has any."""
    changed = [with_seeds(table, 1) for table in REPORT]

    assert {table.seeds for table in changed if isinstance(table, Proof | Sweep)} == {1}
    assert [table.name for table in changed] == [table.name for table in REPORT]
