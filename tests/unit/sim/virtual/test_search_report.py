"""What searches look like."""

from rich.console import Console

from sim.virtual.search import MOST_PODS, Measured, RateLimit, Size
from sim.virtual.search_report import rate_notes, rate_table, size_lines


def limit(strategy: str, kind: str, rate: float | None, fails_at: float | None = 9.0, load: float = 0.5) -> RateLimit:
    """What a search found."""
    if rate is None:
        return RateLimit(strategy, kind, None, fails_at, None, None, None, 6)
    return RateLimit(strategy, kind, rate, fails_at, load, 10 * rate, Measured(1.5, 0.04), 9)


LIMITS = [
    limit("ours", "product", 3.0),
    limit("theirs", "published", 2.0),
    limit("oracle", "reference", 4.0, None),
    limit("bad", "published", None),
]


def test_the_table_has_the_most_first() -> None:
    """Rates, relative to the best published rule, and what is unknown as such."""
    console = Console(width=160)
    with console.capture() as captured:
        console.print(rate_table(LIMITS, "ttft=2s"))
    lines = captured.get().splitlines()
    assert "within ttft=2s" in lines[0]
    rows = [line.split() for line in lines[2:] if line.split()]
    assert [row[0] for row in rows[-4:]] == ["oracle", "ours", "theirs", "bad"]
    assert rows[-3] == ["ours", "product", "3", "1.50", "30.00", "0.50", "1,500", "40.0", "9", "9"]
    assert rows[-4][-5:-1] == ["no", "load", "to", "4"]
    assert rows[-1][2] == "none"


def test_a_load_that_cannot_last_is_said() -> None:
    """Beyond 1 nobody keeps up: the trace was too short."""
    assert rate_notes(LIMITS) == []
    (note,) = rate_notes([*LIMITS, limit("x", "product", 9.0, load=1.2)])
    assert "more requests" in note


def test_pods_are_sentences() -> None:
    """One for each rule, the fewest first, under the rate that they are for."""
    sizes = [
        Size("round-robin", "product", 2.0, 14, 7),
        Size("bad", "published", 2.0, None, 7),
        Size("kv-aware", "product", 2.0, 9, 7),
        Size("kv-aware", "product", 0.5, 1, 3),
    ]
    assert size_lines(sizes, "ttft=2s") == [
        "pods for P90 TTFT and mean TPOT within ttft=2s at rate × 2:",
        "kv-aware needs 9 pods",
        "round-robin needs 14 pods",
        f"bad does not hold it with {MOST_PODS} pods",
        "pods for P90 TTFT and mean TPOT within ttft=2s at rate × 0.5:",
        "kv-aware needs 1 pod",
    ]
