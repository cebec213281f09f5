"""Rows as runs give them, for tests."""

from typing import Any


def row(strategy: str, ttft: float, *, kind: str = "published", goodput: float = 1.0, lost: int = 0) -> dict[str, Any]:
    """What came of one run."""
    times = {"mean": ttft, "p50": ttft, "p90": ttft, "p99": ttft}
    return {
        "strategy": strategy,
        "kind": kind,
        "requests": 100,
        "failed": lost,
        "shed": 0,
        "ttft_ms": times,
        "tpot_ms": times,
        "e2e_ms": times,
        "cached_share": 0.5,
        "good_share": 1.0,
        "goodput": goodput,
        "imbalance": 1.0,
    }
