"""What a comparison looks like."""

from rich.console import Console

from sim.baselines.bound import LowerBound
from sim.traces.summary import summarise
from sim.virtual.metrics import CHAT, summary
from sim.virtual.report import as_json, lines, tables
from sim.virtual.study import Row
from tests.unit.sim.virtual.fleets import request, trace
from tests.unit.sim.virtual.outcomes import outcome, result


def row(strategy: str, ttft_s: float, kind: str = "published", rate: float = 1.0, seed: int = 1) -> Row:
    """A run whose requests all took so long."""
    return Row(strategy, kind, rate, seed, 0.5 * rate, summary(result(outcome(ttft_s=ttft_s, e2e_s=9.0)), CHAT))


ROWS = [
    row("a", 1.0, "product"),
    row("b", 2.0),
    row("c", 0.4),
    row("a", 1.2, "product", seed=2),
    row("b", 2.2, seed=2),
    row("c", 0.4, seed=2),
    row("o", 0.1, "reference", rate=2.0),
]


def test_lines_are_sorted_and_compared_with_the_best_published_rule() -> None:
    """Seeds are one line; references and our own are compared, and are not what is compared with."""
    found = lines(ROWS)
    assert [(line.rate, line.strategy) for line in found] == [(1.0, "c"), (1.0, "a"), (1.0, "b"), (2.0, "o")]
    assert [line.relative and round(line.relative, 3) for line in found] == [1.0, 2.75, 5.25, None]
    assert found[1].half_range(lambda row: row.summary.ttft_ms.mean) == 100.0


def test_tables_show_every_rate() -> None:
    """One table a rate, with its load, a line per strategy, and the spread over seeds."""
    console = Console(width=160)
    shown = tables(ROWS, "ttft=2s")
    with console.capture() as captured:
        for table in shown:
            console.print(table)
    text = captured.get()
    assert "rate × 1: load 0.50, 2 seeds" in text
    assert "rate × 2: load 1.00; SLO ttft=2s" in text
    assert "1,100 ±100" in text
    assert "2.75" in text


def test_shed_and_aborted_have_columns_where_there_are_any() -> None:
    """Beside what failed, for all rules of a table."""
    shed = summary(result(outcome(), outcome(ttft_s=None, e2e_s=None, status="shed")), CHAT)
    gone = summary(result(outcome(), outcome(e2e_s=None, status="aborted")), CHAT)
    rows = [Row("a", "published", 1.0, 1, 0.1, shed), Row("b", "published", 1.0, 1, 0.1, gone), *ROWS[-1:]]
    with_both, without = ([str(column.header) for column in table.columns][-3:] for table in tables(rows, "x"))
    assert with_both == ["failed", "shed", "aborted"]
    assert without == ["uneven", "in SLO", "failed"]
    cells = {next(iter(c.cells)) for c in tables(rows[:1], "x")[0].columns if c.header in ("failed", "shed")}
    assert cells == {"0", "1"}


def test_nothing_measured_is_a_dash() -> None:
    """A run without any first token has no times."""
    failed = summary(result(outcome(ttft_s=None, e2e_s=None, status="failed")), CHAT)
    (line,) = lines([Row("a", "published", 1.0, 1, 0.1, failed)])
    assert line.relative is None
    (table,) = tables([Row("a", "published", 1.0, 1, 0.1, failed)], "x")
    assert [next(iter(column.cells)) for column in table.columns][2] == "–"


def test_json_has_every_run() -> None:
    """The trace, the arrangement, the bound, and a result for each run."""
    found = as_json(summarise(trace(request(0), request(3))), LowerBound((0.1, 0.01), 0.45), {"engines": 2}, ROWS)
    assert list(found) == ["trace", "setup", "bound", "results"]
    assert (found["trace"]["requests"], found["trace"]["sharing_rate"]) == (2, 0.5)
    assert found["bound"] == {"ttft_ms": 55.0, "cached_share": 0.45}
    assert [(r["strategy"], r["seed"], r["rate"]) for r in found["results"][:2]] == [("a", 1, 1.0), ("b", 1, 1.0)]
    assert set(found["results"][0]) >= {"kind", "requests", "failed", "ttft_ms", "tpot_ms", "e2e_ms", "cached_share"}
