"""What a comparison of two policies looks like."""

import random

from rich.console import Console

from sim.virtual.compare import NAMES, Pair, compare
from sim.virtual.compare_report import Cell, as_json, summing_up, tables
from sim.virtual.outcome import Outcome
from tests.unit.sim.virtual.outcomes import outcome


def side(ttft_s: float, count: int = 60) -> tuple[Outcome, ...]:
    """Requests of two tenants that all took so long."""
    return tuple(outcome(float(n), ttft_s, 5.0, tenant="ab"[n % 2], prompt_tokens=1_000) for n in range(count))


def cell(*differences: float, count: int = 60, new_load: float = 0.5) -> Cell:
    """One seed for each difference of the times to the first token, in seconds."""
    pairs = [Pair(seed, side(2.0, count), side(2.0 + much, count)) for seed, much in enumerate(differences, 1)]
    return Cell(1.0, 0.5, new_load, compare(pairs, rng=random.Random(1)))


def shown(what: Cell) -> str:
    """The tables as text."""
    console = Console(width=160)
    with console.capture() as captured:
        for table in tables(what):
            console.print(table)
    return captured.get()


def test_tables_have_every_measure_and_group() -> None:
    """Both values, the difference, its interval, and in how many seeds it was."""
    text = shown(cell(-0.5, -0.5, new_load=0.7))
    assert "rate × 1: load 0.50 → 0.70, 120 pairs of requests, 2 seeds" in text
    line = next(line for line in text.splitlines() if "TTFT mean" in line)
    assert " ".join(line.split()) == "TTFT mean, ms 2,000.0 1,500.0 -500.0 -500.0 … -500.0 2 of 2 better"
    line = next(line for line in text.splitlines() if "cached share" in line)
    assert " ".join(line.split()).startswith("cached share 50.00 % 50.00 % +0.00 pt")
    assert "tenant: a" in text
    assert "prompt:" not in text


def test_one_seed_has_no_count_of_seeds() -> None:
    """It would only repeat the difference."""
    text = shown(cell(-0.5))
    assert "seed" not in text
    assert "load 0.50," in text


def test_too_little_has_a_dash() -> None:
    """No interval is shown where none was computed."""
    text = shown(cell(1.0, count=4))
    line = next(line for line in text.splitlines() if "TTFT mean" in line)
    assert line.endswith("too little to say" + " " * (len(line) - len(line.rstrip())))
    assert "–" in line


def test_one_sentence_sums_it_up() -> None:
    """What is better, what is worse; or, that nothing was seen."""
    assert summing_up(cell(0.0)).startswith("No difference seen: every interval has 0 in it.")
    text = summing_up(cell(0.5))
    assert text.startswith("better: TPOT mean, TPOT p90; worse: TTFT mean, TTFT p90; no difference seen: end to end")


def test_json_has_all_of_it() -> None:
    """The two sides, how the interval was made, and each measure and group by name."""
    found = as_json({"old": {"policy": "a"}, "new": {"policy": "b"}}, [cell(-0.5)])
    assert list(found) == ["old", "new", "interval", "results"]
    (result,) = found["results"]
    assert (result["rate"], result["load"], result["requests"], result["seeds"]) == (
        1.0, {"old": 0.5, "new": 0.5}, 60, [1],
    )  # fmt: skip
    assert tuple(result["measures"]) == NAMES
    assert result["measures"]["ttft_mean_ms"] == {
        "old": 2_000.0, "new": 1_500.0, "difference": -500.0, "interval": [-500.0, -500.0], "verdict": "better",
        "by_seed": [-500.0],
    }  # fmt: skip
    assert [(group["by"], group["name"]) for group in result["groups"]] == [("tenant", "a"), ("tenant", "b")]
    assert result["groups"][0]["measures"]["ttft_mean_ms"]["by_seed"] == [-500.0]
