"""The proof."""

from bench.report.proof import Proof
from bench.report.words import Knee, Place, Workload
from tests.unit.bench.report.rows import row

PLACES = tuple(Place(Workload(name, f"generate:{name}", 500), "h100-8b") for name in ("chat", "rag"))
KNEES = {place: Knee(load=0.8, rate=20.0, requests_per_s=80.0, strategy="a") for place in PLACES}
PROOF = Proof(PLACES, (0.5, 1.0), ("kv-aware", "a", "b", "oracle"), seeds=1)

KINDS = {"kv-aware": "product", "oracle": "reference"}

TTFT = {
    ("generate:chat", "0.4"): {"kv-aware": 50, "a": 100, "b": 200, "oracle": 50},
    ("generate:chat", "0.8"): {"kv-aware": 100, "a": 200, "b": 100, "oracle": 50},
    ("generate:rag", "0.4"): {"kv-aware": 200, "a": 100, "b": 100, "oracle": 50},
    ("generate:rag", "0.8"): {"kv-aware": 100, "a": 100, "b": 100, "oracle": 50},
}
"""By workload and load. Ours is 0.5, 1, 2 and 1 times the best: 1 in the mean, at worst 2."""

FOUND = {
    cell: row(
        cell.strategy,
        TTFT[cell.words[0], cell.load][cell.strategy],
        kind=KINDS.get(cell.strategy, "published"),
        goodput=4.0 if cell.strategy == "oracle" else 2.0 if cell.words[0] == "generate:rag" else 4.0,
    )
    for group in PROOF.groups(KNEES)
    for cell in group.cells()
}


def test_loads_are_shares_of_the_knee() -> None:
    """A command for each place."""
    assert [group.loads for group in PROOF.groups(KNEES)] == [("0.4", "0.8")] * 2


def test_the_summary() -> None:
    """Geometric mean, worst cell and where, and the mean of each workload; least mean first."""
    text = PROOF.blocks(KNEES, FOUND)["proof"]

    assert "| **`kv-aware`** | 1.00 | 2.00 | 2.00 | rag, h100-8b at 0.5 | 0.71 | 1.41 |" in text
    assert text.index("`oracle`") < text.index("**`kv-aware`**") < text.index("| `a` |")
    assert "1.000 times the mean TTFT of the best published rule of each of 4 cells" in text


def test_our_cells_say_where_we_lose() -> None:
    """The rule that is better is named."""
    text = PROOF.blocks(KNEES, FOUND)["ours"]

    assert "| chat, h100-8b | 0.50 | 1.00 |" in text
    assert "| rag, h100-8b | **2.00** `a` | 1.00 |" in text
    assert "It loses in 1 of 4 cells, most in: rag, h100-8b at 0.5 × knee (2.00, behind `a`)." in text


def test_the_distance_to_the_oracle() -> None:
    """Goodput, geometric mean and the worst cell."""
    text = PROOF.blocks(KNEES, FOUND)["oracle"]

    assert "| **`kv-aware`** | 0.707 | 0.50 | rag, h100-8b at 0.5 | 2.00 |" in text


def test_places_without_runs_are_left_out() -> None:
    """A trace that is not there leaves the others."""
    found = {cell: told for cell, told in FOUND.items() if cell.words[0] == "generate:chat"}
    blocks = PROOF.blocks(KNEES, found)

    assert "rag, h100-8b" not in blocks["proof"] + blocks["ours"]
    assert "each of 2 cells" in blocks["proof"]
    assert "loses nowhere" in blocks["ours"]
