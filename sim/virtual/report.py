"""What a comparison looks like: JSON values, and a table for eyes.

Pure. Several seeds are one line of the table, with half of the distance between the best and the worst seed; in JSON
every run is a result of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from math import fsum
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sim.baselines.bound import LowerBound
from sim.traces.summary import Summary as TraceSummary
from sim.virtual.study import Row

Get = Callable[[Row], float | None]

_NUMBERS: Final = (
    "TTFT ms", "p50", "p90", "p99", "÷ best", "TPOT ms", "p99", "e2e s", "cached", "uneven", "in SLO", "failed",
)  # fmt: skip

# Columns that are there where any rule has something in them.
_RARE: Final[tuple[tuple[str, Get], ...]] = (
    ("shed", lambda row: row.summary.shed),
    ("aborted", lambda row: row.summary.aborted),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One rule at one rate over all seeds. `relative` is its mean TTFT over that of the best published rule there."""

    strategy: str
    kind: str
    rate: float
    rows: tuple[Row, ...]
    relative: float | None = None

    def mean(self, get: Get) -> float | None:
        """The mean over seeds of those that have the number."""
        found = [value for row in self.rows if (value := get(row)) is not None]
        return fsum(found) / len(found) if found else None

    def half_range(self, get: Get) -> float:
        """Half of the distance between the least and the most."""
        found = [value for row in self.rows if (value := get(row)) is not None]
        return (max(found) - min(found)) / 2 if found else 0.0


def as_json(trace: TraceSummary, bound: LowerBound, setup: dict[str, Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The report as JSON values. `trace` and `bound` are those of the first seed."""
    least = {"ttft_ms": round(bound.mean_ttft_s * 1e3, 3), "cached_share": round(bound.cached_share, 4)}
    return {
        "trace": _rounded(asdict(trace)),
        "setup": setup,
        "bound": least,
        "results": [row.as_dict() for row in rows],
    }


def lines(rows: Sequence[Row]) -> list[Line]:
    """The rows by rate, the least mean TTFT first within one."""
    cells: dict[tuple[float, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.rate, row.strategy), []).append(row)
    made = [Line(strategy, found[0].kind, rate, tuple(found)) for (rate, strategy), found in cells.items()]
    best: dict[float, float] = {}
    for line in made:
        ttft = line.mean(_ttft)
        if line.kind == "published" and ttft is not None:
            best[line.rate] = min(ttft, best.get(line.rate, ttft))
    compared = [_compared(line, best.get(line.rate)) for line in made]
    return sorted(compared, key=lambda line: (line.rate, line.mean(_ttft) or 0.0))


def tables(rows: Sequence[Row], slo: str) -> list[Table]:
    """One table for each rate."""
    found = lines(rows)
    return [_table([line for line in found if line.rate == rate], slo) for rate in dict.fromkeys(r.rate for r in found)]


def _table(found: Sequence[Line], slo: str) -> Table:
    first = found[0]
    load = first.mean(lambda row: row.load) or 0.0
    seeds = len(first.rows)
    title = f"rate × {first.rate:g}: load {load:.2f}" + (f", {seeds} seeds" if seeds > 1 else "") + f"; SLO {slo}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("strategy")
    table.add_column("kind")
    rare = [(name, get) for name, get in _RARE if any(line.mean(get) for line in found)]
    for name in (*_NUMBERS, *(name for name, _ in rare)):
        table.add_column(name, justify="right")
    for line in found:
        cells = [*_cells(line), *(_number(line.mean(get)) for _, get in rare)]
        table.add_row(*cells, style="bold" if line.kind == "product" else None)
    return table


def _cells(line: Line) -> list[str]:
    many = len(line.rows) > 1
    spread = f" ±{line.half_range(_ttft):,.0f}" if many else ""
    return [
        line.strategy,
        line.kind,
        _number(line.mean(_ttft)) + spread,
        _number(line.mean(lambda row: row.summary.ttft_ms.p50)),
        _number(line.mean(lambda row: row.summary.ttft_ms.p90)),
        _number(line.mean(lambda row: row.summary.ttft_ms.p99)),
        "–" if line.relative is None else f"{line.relative:.2f}",
        _number(line.mean(lambda row: row.summary.tpot_ms.mean), 1),
        _number(line.mean(lambda row: row.summary.tpot_ms.p99), 1),
        _number(line.mean(lambda row: None if (e2e := row.summary.e2e_ms.mean) is None else e2e / 1e3), 2),
        f"{line.mean(lambda row: row.summary.cached_share) or 0:.1%}",
        _number(line.mean(lambda row: row.summary.imbalance), 2),
        f"{line.mean(lambda row: row.summary.good_share) or 0:.1%}",
        _number(line.mean(lambda row: row.summary.failed)),
    ]


def _compared(line: Line, best: float | None) -> Line:
    ttft = line.mean(_ttft)
    relative = None if ttft is None or not best else ttft / best
    return Line(line.strategy, line.kind, line.rate, line.rows, relative)


def _ttft(row: Row) -> float | None:
    return row.summary.ttft_ms.mean


def _number(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _rounded(value: Any) -> Any:
    """Six decimals everywhere: what lies beyond may differ between machines."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 6) if isinstance(value, float) else value
