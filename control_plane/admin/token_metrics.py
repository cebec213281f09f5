"""What became of prompts whose models have a tokenizer, as metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ext_proc.tokens.prompts import TokenCounts


def prompts(counts: TokenCounts) -> Iterator[Metric]:
    """All requests together."""
    counted = CounterMetricFamily(
        "kvpilot_prompts_counted", "requests for models with a `tokenizer`, by what they were counted", labels=["by"]
    )
    counted.add_metric(["tokens"], counts.exact)
    counted.add_metric(["text"], counts.by_text)
    yield counted
    for name, text, number in (
        ("late", "requests whose tokens did not come in time, among those by text", counts.late),
        ("asked", "questions to engines for the tokens of a prompt", counts.asked),
    ):
        family = CounterMetricFamily(f"kvpilot_prompts_{name}", text)
        family.add_metric([], number)
        yield family


def precise(pools: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """Endpoints whose own word on their blocks is taken, of pools where that is possible."""
    telling = GaugeMetricFamily(
        "kvpilot_prefix_index_precise_endpoints",
        "endpoints of which the engine itself tells what is cached",
        labels=["pool"],
    )
    for name, pool in pools.items():
        telling.add_metric([name], pool["prefix_index"]["telling"])
    yield telling
