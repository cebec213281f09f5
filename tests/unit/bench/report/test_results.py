"""Numbers of a report."""

import pytest

from bench.report.results import geometric, relatives, spots
from bench.report.words import Group
from tests.unit.bench.report.rows import row

GROUP = Group(("generate:chat",), ("kv-aware", "a", "b"), ("0.5",), seeds=2)
TTFT = {"kv-aware": (90.0, 110.0), "a": (100.0, 100.0), "b": (80.0, 160.0)}
FOUND = {
    cell: row(
        cell.strategy, TTFT[cell.strategy][cell.seed - 1], kind="product" if cell.strategy[0] == "k" else "published"
    )
    for cell in GROUP.cells()
}


def test_a_spot_is_the_mean_of_its_seeds() -> None:
    """One for each rule and load."""
    found = spots(GROUP, FOUND)

    assert [(spot.strategy, spot.ttft) for spot in found] == [("kv-aware", 100.0), ("a", 100.0), ("b", 120.0)]


def test_relative_to_the_best_published_rule() -> None:
    """Ours is not what it is compared with; of single seeds the best rule of each counts."""
    ours, a, b = relatives(spots(GROUP, FOUND), "chat", 0.5)

    assert (ours.best, ours.ratio, a.ratio, b.ratio) == ("a", 1.0, 1.0, 1.2)
    assert ours.by_seed == (90 / 80, 110 / 100)


def test_the_geometric_mean() -> None:
    """Twice and half make one; of nothing there is none."""
    assert geometric([2.0, 0.5]) == pytest.approx(1.0)
    assert geometric([4.0, 1.0]) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="nothing"):
        geometric([])


def test_a_run_without_any_first_token_is_endless() -> None:
    """So it is never the best."""
    dead = row("a", 1.0) | {"ttft_ms": {"mean": None, "p50": None, "p90": None, "p99": None}}
    found = {cell: dead if cell.strategy == "a" else told for cell, told in FOUND.items()}

    assert relatives(spots(GROUP, found), "chat", 0.5)[0].best == "b"
