"""Outcomes by their numbers."""

from typing import Any

from sim.virtual.outcome import Outcome, PodTotals, RunResult


def outcome(at_s: float = 0.0, ttft_s: float | None = 1.0, e2e_s: float | None = 2.0, **values: Any) -> Outcome:
    """A request of 1,000 tokens, 500 of them cached, that was answered with 11."""
    given = {
        "status": "ok",
        "address": "a",
        "attempts": 1,
        "prompt_tokens": 1_000,
        "cached_tokens": 500,
        "output_tokens": 11,
        **values,
    }
    return Outcome(at_s=at_s, ttft_s=ttft_s, e2e_s=e2e_s, **given)


def result(
    *outcomes: Outcome, computed: tuple[int, ...] = (1, 1), strategy: str = "x", kind: str = "published"
) -> RunResult:
    """A run with pods that computed so many tokens."""
    pods = tuple(PodTotals(f"p{n}", 1, tokens, 0) for n, tokens in enumerate(computed))
    return RunResult(strategy, kind, 1, outcomes, pods)
