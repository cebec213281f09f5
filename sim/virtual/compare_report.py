"""What a comparison of two policies looks like: JSON values, and tables for eyes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sim.virtual.compare import RESAMPLES, Comparison
from sim.virtual.estimate import LEVEL_PERCENT, STRETCHES, Estimate, Verdict

_WORDS: Final = {
    "ttft_mean_ms": "TTFT mean, ms",
    "ttft_p90_ms": "TTFT p90, ms",
    "tpot_mean_ms": "TPOT mean, ms",
    "tpot_p90_ms": "TPOT p90, ms",
    "e2e_mean_ms": "end to end mean, ms",
    "e2e_p90_ms": "end to end p90, ms",
    "cached_share": "cached share",
    "good_share": "in SLO",
    "lost_share": "lost",
}
"""Measures by their names in JSON."""

_POINTS: Final = " pt"
"""Of a difference of shares: percentage points."""

_SHORT: Final[dict[Verdict, str]] = {
    "better": "better",
    "worse": "worse",
    "no difference seen": "none seen",
    "seeds disagree": "unsure",
    "too little to say": "too few",
}
"""Verdicts where two have to stand in one line."""


@dataclass(frozen=True, slots=True)
class Cell:
    """The comparison at one rate; the loads are those of each side's fleet with the first seed's trace."""

    rate: float
    old_load: float
    new_load: float
    found: Comparison


def as_json(sides: dict[str, Any], cells: Sequence[Cell]) -> dict[str, Any]:
    """The values below `compare`. `sides` has `old` and `new`, as the caller describes them."""
    return {
        **sides,
        "interval": {"percent": LEVEL_PERCENT, "resamples": RESAMPLES, "drawn": "stretches of time", "each": STRETCHES},
        "results": [_cell(cell) for cell in cells],
    }


def _cell(cell: Cell) -> dict[str, Any]:
    found = cell.found
    return {
        "rate": cell.rate,
        "load": {"old": cell.old_load, "new": cell.new_load},
        "requests": found.requests,
        "seeds": list(found.seeds),
        "measures": _estimates(found.measures),
        "groups": [
            {"by": g.by, "name": g.name, "requests": g.requests, "measures": _estimates(g.measures)}
            for g in found.groups
        ],
    }


def _estimates(measures: dict[str, Estimate]) -> dict[str, Any]:
    return {name: estimate.as_dict() for name, estimate in measures.items()}


def tables(cell: Cell) -> list[Table]:
    """One table of all measures, and one for whom they change."""
    return [_all(cell), *([_groups(cell)] if cell.found.groups else [])]


def summing_up(cell: Cell) -> str:
    """One sentence: what is better, what is worse, and what shows no difference."""
    by: dict[str, list[str]] = {}
    for name, estimate in cell.found.measures.items():
        by.setdefault(estimate.verdict, []).append(_WORDS[name].removesuffix(", ms"))
    if set(by) == {"no difference seen"}:
        return "No difference seen: every interval has 0 in it. More requests or seeds would show a smaller one."
    order = get_args(Verdict)
    return "; ".join(f"{verdict}: {', '.join(by[verdict])}" for verdict in order if verdict in by)


def _all(cell: Cell) -> Table:
    found = cell.found
    seeds = len(found.seeds)
    load = f"load {cell.old_load:.2f}" + (f" → {cell.new_load:.2f}" if cell.old_load != cell.new_load else "")
    title = f"rate × {cell.rate:g}: {load}, {found.requests:,} pairs of requests" + (f", {seeds} seeds" * (seeds > 1))
    table = _table(title, "", "old", "new", "difference", f"{LEVEL_PERCENT} % interval", *(["seeds"] * (seeds > 1)))
    table.add_column("")
    for name, estimate in found.measures.items():
        signs = [f"{estimate.agreeing} of {seeds}"] if seeds > 1 else []
        style = "bold" if estimate.verdict in ("better", "worse") else None
        table.add_row(_WORDS[name], *_numbers(name, estimate), *signs, estimate.verdict, style=style)
    return table


def _groups(cell: Cell) -> Table:
    table = _table("for whom", "", "requests", "TTFT old", "new", "difference", "interval")
    table.add_column("")
    for name in ("cached", "interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for group in cell.found.groups:
        ttft, cached = group.measures["ttft_mean_ms"], group.measures["cached_share"]
        table.add_row(
            f"{group.by}: {group.name}",
            f"{group.requests:,}",
            *_numbers("ttft_mean_ms", ttft),
            _SHORT[ttft.verdict],
            *_numbers("cached_share", cached)[2:],
            _SHORT[cached.verdict],
        )
    return table


def _table(title: str, first: str, *numbers: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _numbers(name: str, estimate: Estimate) -> list[str]:
    """Old, new, difference, interval."""
    low, high = estimate.low, estimate.high
    interval = "–" if low is None or high is None else f"{_bare(name, low)} … {_number(name, high, '+')}"
    return [
        _number(name, estimate.old),
        _number(name, estimate.new),
        _number(name, estimate.difference, "+"),
        interval,
    ]


def _bare(name: str, value: float) -> str:
    """The first end of an interval, whose unit stands behind the second."""
    return _number(name, value, "+").removesuffix(_POINTS)


def _number(name: str, value: float | None, sign: str = "") -> str:
    if value is None:
        return "–"
    if name.endswith("_ms"):
        return f"{value:{sign},.1f}"
    return f"{value * 100:{sign}.2f}" + (_POINTS if sign else " %")
