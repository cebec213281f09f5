"""Sweeps."""

from bench.report.sweeps import Point, Sweep
from bench.report.words import Knee, Place, Workload
from tests.unit.bench.report.rows import row

CHAT = Place(Workload("chat", "generate:chat", 500), "h100-8b")
KNEES = {CHAT: Knee(load=0.8, rate=20.0, requests_per_s=50.0, strategy="a")}
POINTS = (Point("usual"), Point("crash", "--fault crash:1@30%"), Point("many", "--engines 64", requests=4_000))
SWEEP = Sweep("faults", (CHAT,), POINTS, ("kv-aware", "a"), share=0.5, seeds=1)

TTFT = {"usual": 100.0, "crash": 150.0, "many": 100.0}
FOUND = {
    cell: row(
        cell.strategy,
        TTFT[point.label] * (2 if cell.strategy == "a" else 1),
        kind="product" if cell.strategy == "kv-aware" else "published",
        lost=3 if point.label == "crash" else 0,
    )
    for point, group in zip(POINTS, SWEEP.groups(KNEES), strict=True)
    for cell in group.cells()
}


def test_times_are_shares_of_the_trace() -> None:
    """500 requests at 25 per second are 20 seconds, 30 % of them 6."""
    assert SWEEP.groups(KNEES)[1].words[-1] == "crash:1@6"


def test_a_point_with_its_own_number_of_requests() -> None:
    """Replaces that of the place."""
    assert SWEEP.groups(KNEES)[2].words == (
        "generate:chat", "--requests", "4000", "--profile", "h100-8b", "--engines", "64",
    )  # fmt: skip


def test_the_pace_may_be_a_rate() -> None:
    """Where a column changes what a load is."""
    group = Sweep("memory", (CHAT,), POINTS[:1], ("kv-aware",), share=0.5, pace="--rate").groups(KNEES)[0]

    assert (group.pace, group.loads) == ("--rate", ("10",))


def test_the_table_and_what_it_says() -> None:
    """Times, what was lost, and ours against the usual column and the best of the others."""
    text = SWEEP.blocks(KNEES, FOUND)["faults"]

    assert "| chat, h100-8b | **`kv-aware`** | 100 | 150 (3 lost) | 100 |" in text
    assert (
        "- chat, h100-8b: `kv-aware` usual (0.50 of `a`), crash × 1.50 (0.50 of `a`), many × 1.00 (0.50 of `a`)."
        in text
    )
    assert text.count("kvpilot replay") == 3


def test_a_column_without_runs_is_left_out() -> None:
    """As when its words are not known."""
    found = {cell: told for cell, told in FOUND.items() if "--engines" not in cell.words}

    assert "many" not in SWEEP.blocks(KNEES, found)["faults"]
