"""How right predictions of caches are, how large the prefix index is, and how long tokens are, as metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ext_proc.core.truth import Verdict

_TOKENS = {"believed": "believed_tokens", "found": "found_tokens", "cached": "cached_tokens"}


def predictions(pools: Mapping[str, Any], changed: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """Of each pool, and of those endpoints that are not as they should be."""
    verdicts = GaugeMetricFamily(
        "kvpilot_pool_prediction_verdict",
        "1 for what is known of the predictions of cached tokens: unknown, fine, over (engines do not find what is "
        "believed cached), under (they find more), untold (answers do not say)",
        labels=["pool", "verdict"],
    )
    trust = GaugeMetricFamily(
        "kvpilot_pool_prediction_trust", "what a token believed cached counts for in picks, 0 to 1", labels=["pool"]
    )
    share = GaugeMetricFamily(
        "kvpilot_pool_prediction_found_ratio",
        "share of the tokens believed cached that engines found, of the last window",
        labels=["pool"],
    )
    tokens = CounterMetricFamily(
        "kvpilot_pool_prediction_tokens",
        "tokens of answered requests believed cached, found of these, and cached in all",
        labels=["pool", "kind"],
    )
    doubted = GaugeMetricFamily(
        "kvpilot_pool_prediction_endpoints",
        "endpoints of which predictions are wrong, each judged for itself",
        labels=["pool", "verdict"],
    )
    for name, value in pools.items():
        found = value["prediction"]
        for verdict in Verdict:
            verdicts.add_metric([name, verdict.value], float(found["verdict"] == verdict.value))
        trust.add_metric([name], found["trust"] if found["is_acting"] else 1.0)
        if found["found_share"] is not None:
            share.add_metric([name], found["found_share"])
        for kind, key in _TOKENS.items():
            tokens.add_metric([name, kind], found[key])
        for verdict in (Verdict.OVER, Verdict.UNDER):
            count = sum(each["verdict"] == verdict.value for each in found["endpoints"].values())
            doubted.add_metric([name, verdict.value], count)
    changes = CounterMetricFamily(
        "kvpilot_pool_prediction_changes", "new verdicts about predictions", labels=["pool", "verdict"]
    )
    for (pool, verdict_), count in changed.items():
        changes.add_metric([pool, verdict_], count)
    yield from (verdicts, trust, share, tokens, doubted, changes)


def index(told: Mapping[str, int]) -> Iterator[Metric]:
    """The prefix index as a whole."""
    for key, text in (
        ("bytes", "memory of the prefix index, about"),
        ("budget_bytes", "memory that it may take"),
        ("held_blocks", "prompt blocks in it, counted for each endpoint that holds them"),
        ("distinct_blocks", "prompt blocks in it, each once"),
        ("endpoints", "endpoints that hold any"),
    ):
        gauge = GaugeMetricFamily(f"kvpilot_index_{key}", text)
        gauge.add_metric([], told[key])
        yield gauge
    evicted = CounterMetricFamily("kvpilot_index_evicted_blocks", "prompt blocks dropped to make room")
    evicted.add_metric([], told["evicted_blocks"])
    yield evicted


def token_sizes(told: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    """What was learned of models that enough was told of."""
    sizes = GaugeMetricFamily("kvpilot_model_bytes_per_token", "bytes of a prompt for one token", labels=["model"])
    overheads = GaugeMetricFamily(
        "kvpilot_model_overhead_tokens", "tokens that the chat template adds to a prompt", labels=["model"]
    )
    for model, row in told.items():
        sizes.add_metric([model], row["bytes_per_token"])
        overheads.add_metric([model], row["overhead_tokens"])
    yield sizes
    yield overheads
