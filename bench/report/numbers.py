"""The numbers of every run as compact JSON values. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from bench.report.tables import Found, has_all
from bench.report.words import Cell, Group

COLUMNS: Final = (
    "strategy", "load", "seed", "ttft_mean", "ttft_p50", "ttft_p90", "ttft_p99", "tpot_mean", "e2e_mean",
    "cached_share", "good_share", "goodput", "lost", "imbalance",
)  # fmt: skip
"""Of one row; times in ms."""


def numbers(groups: Iterable[Group], found: Found) -> list[dict[str, Any]]:
    """For each command its rows; a search's are what it found."""
    return [
        {"command": group.command, "rows": [_row(cell, found[cell]) for cell in group.cells()]}
        | ({} if group.search else {"columns": list(COLUMNS)})
        for group in groups
        if has_all(group, found)
    ]


def _row(cell: Cell, row: Mapping[str, Any]) -> Any:
    if cell.search:
        return dict(row)
    ttft = row["ttft_ms"]
    return [
        cell.strategy,
        cell.load,
        cell.seed,
        *(_tenths(ttft[name]) for name in ("mean", "p50", "p90", "p99")),
        _tenths(row["tpot_ms"]["mean"]),
        _tenths(row["e2e_ms"]["mean"]),
        row["cached_share"],
        row["good_share"],
        row["goodput"],
        row["failed"] + row["shed"],
        row["imbalance"],
    ]


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
