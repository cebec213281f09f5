"""What one pick costs under each strategy: `python -m bench.strategies` prints a table and, last, the same as JSON.

A figure is the least of several repetitions of a mean, in µs: `Picker.decide` for a prompt of about 1,000 tokens that
comes again, and the event of the request's end, over endpoints that all have been scraped. `bench.pick` takes
`kv-aware` apart.
"""

import argparse
import json
import random
import time
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from ext_proc.core.events import RequestEnded, Scraped
from ext_proc.core.picker import Named, Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.table import STRATEGIES

ENDPOINTS = (4, 100, 1_000)
REPETITIONS = 5
DEFAULT_ROUNDS = 300

_PROMPT = "x" * 4_000


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; `pick` has a figure for each number of endpoints."""

    strategy: str
    pick: tuple[float, ...]


def main() -> None:
    """Measures and prints."""
    arguments = argparse.ArgumentParser(description="What one pick costs under each strategy, in µs.")
    arguments.add_argument("--rounds", type=int, default=DEFAULT_ROUNDS, help="picks per repetition")
    arguments.add_argument("--shadow", choices=STRATEGIES, default="", help="decides beside each of them")
    words = arguments.parse_args()
    rows = [
        Row(name, tuple(measured(name, count, words.rounds, words.shadow) for count in ENDPOINTS))
        for name in STRATEGIES
    ]
    table = Table("strategy", *(f"{count:,} endpoints" for count in ENDPOINTS), title="µs a pick")
    for row in rows:
        table.add_row(row.strategy, *(f"{figure:,.0f}" for figure in row.pick))
    Console().print(table)
    values = [{"strategy": row.strategy, "pick": [round(figure, 1) for figure in row.pick]} for row in rows]
    print(json.dumps({"benchmark": "strategies", "unit": "us", "endpoints": ENDPOINTS, "rows": values}))


def measured(strategy: str, count: int, rounds: int, shadow: str = "") -> float:
    """µs per pick."""
    pods = tuple(EndpointSettings(address=f"10.0.{n // 250}.{1 + n % 250}:8000") for n in range(count))
    pool = PoolSettings(name="p", cluster="p", strategy=strategy, endpoints=pods, shadow=shadow)
    picker = Picker(PickerSettings(version="bench", pools=(pool,)), shadow_rng=random.Random(2))
    for pod in pods:
        picker.apply(Scraped(address=pod.address, at=0.0, running=3, waiting=1, kv_usage=0.3, kv_tokens=100_000))
    rng = random.Random(1)
    body = json.dumps({"model": "m", "prompt": _PROMPT}).encode()
    facts = RequestFacts(body=body, path="/v1/completions", cluster="p", session="s")
    means = []
    for repetition in range(REPETITIONS):
        start = time.perf_counter()
        for n in range(rounds):
            now = 0.001 * (repetition * rounds + n)
            named = picker.decide(facts, now, rng)
            if not isinstance(named, Named):
                raise TypeError(f"not picked: {named}")
            served = named.endpoints[0]
            picker.apply(
                RequestEnded(
                    decision_id=named.decision_id, at=now, status=200, served=served, duration_ms=100, ttft_ms=20
                )
            )
        means.append((time.perf_counter() - start) / rounds * 1e6)
    return min(means)


if __name__ == "__main__":
    main()
