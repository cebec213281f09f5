"""Knees, capacity and sizes."""

from typing import Any

import pytest

from bench.report.tables import KNEE_RULES, Capacity, KneeTable, Sizes, has_all, knee_group, knee_of
from bench.report.words import Knee, Place, Workload

CHAT = Place(Workload("chat", "generate:chat", 500), "h100-8b", 3.0)
KNEE = Knee(load=0.8, rate=20.0, requests_per_s=80.0, strategy="lmetric")
RULES = ("kv-aware", "unified", "lmetric")


def _limit(strategy: str, load: float | None) -> dict[str, Any]:
    kind = "product" if strategy == "kv-aware" else "published"
    told = None if load is None else load * 100
    return {"strategy": strategy, "kind": kind, "rate": load and load * 25, "load": load, "requests_per_s": told}


def test_the_search_for_a_knee() -> None:
    """By first tokens alone, within the limit of the place."""
    assert "--slo ttft=3s,tpot=60s" in knee_group(CHAT).command


def test_the_knee_is_that_of_the_rule_that_holds_most() -> None:
    """Load, rate and requests per second are those of one rule; nobody holding anything is no knee."""
    loads = dict(zip(KNEE_RULES, (0.7, 0.8, None), strict=True))
    found = {cell: _limit(cell.strategy, loads[cell.strategy]) for cell in knee_group(CHAT).cells()}

    assert knee_of(CHAT, found) == Knee(load=0.8, rate=20.0, requests_per_s=80.0, strategy="lmetric")
    assert knee_of(CHAT, {cell: _limit(cell.strategy, None) for cell in knee_group(CHAT).cells()}) is None


def test_a_knee_is_below_a_load_of_one() -> None:
    """A trace that is too short to show queues does not put it higher; rates go with it."""
    found = {cell: _limit(cell.strategy, 1.9) for cell in knee_group(CHAT).cells()}

    knee = knee_of(CHAT, found)

    assert knee is not None
    assert (knee.load, knee.rate, knee.requests_per_s) == pytest.approx((0.95, 23.75, 95.0))


def test_the_table_of_knees() -> None:
    """A line and a command for each place that has one."""
    text = KneeTable((CHAT, Place(CHAT.workload, "h20-8b"))).blocks({CHAT: KNEE}, {})["knees"]

    assert "| chat, h100-8b | 3 s | 0.80 | 80 | `lmetric` |" in text
    assert text.count("kvpilot replay") == 1


def test_capacity_relative_to_the_best_published_rule() -> None:
    """Ours is said in a sentence; a rule that holds nothing has no number."""
    table = Capacity((CHAT,), RULES, "ttft=2s,tpot=50ms")
    loads = {"kv-aware": 0.6, "unified": 0.5, "lmetric": None}
    found = {cell: _limit(cell.strategy, loads[cell.strategy]) for group in table.groups({}) for cell in group.cells()}

    text = table.blocks({}, found)["capacity"]

    assert "| `kv-aware` | 60 | 1.20 |" in text
    assert "| `lmetric` | none | – |" in text
    assert "`kv-aware` holds 1.20 (chat, h100-8b) times what the best published rule holds." in text


def test_sizes() -> None:
    """Engines per rule, and the fewest of the published ones."""
    table = Sizes((CHAT,), RULES, 0.5)
    pods = {"kv-aware": 7, "unified": 9, "lmetric": None}
    (group,) = table.groups({CHAT: KNEE})
    found = {
        cell: {"kind": "product" if cell.strategy == "kv-aware" else "published", "pods": pods[cell.strategy]}
        for cell in group.cells()
    }

    text = table.blocks({CHAT: KNEE}, found)["sizes"]

    assert "| `lmetric` | more than 256 |" in text
    assert "`kv-aware` takes 7, the best published rule 9." in text
    assert "--load 0.4 --size" in text
    assert not has_all(group, {})
    assert table.groups({}) == []
