"""The numbers of every run."""

from bench.report.numbers import COLUMNS, numbers
from bench.report.words import Group
from tests.unit.bench.report.rows import row


def test_a_row_for_each_run() -> None:
    """With a value for each column; a command without results is left out."""
    group = Group(("generate:chat",), ("a",), ("0.5",), seeds=2)
    found = {cell: row("a", 12.345, lost=2) for cell in group.cells()}

    (told,) = numbers([group, Group(("generate:rag",), ("a",), ("0.5",))], found)

    assert told["command"] == group.command
    assert [dict(zip(COLUMNS, line, strict=True))["seed"] for line in told["rows"]] == [1, 2]
    assert dict(zip(COLUMNS, told["rows"][0], strict=True))["ttft_mean"] == 12.3
    assert dict(zip(COLUMNS, told["rows"][0], strict=True))["lost"] == 2


def test_a_search_is_told_as_it_is() -> None:
    """It has no columns."""
    group = Group(("generate:chat",), ("a",), seeds=1, search="rate")

    (told,) = numbers([group], {cell: {"rate": 2.0} for cell in group.cells()})

    assert told["rows"] == [{"rate": 2.0}]
    assert "columns" not in told
