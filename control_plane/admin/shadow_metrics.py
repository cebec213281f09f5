"""What shadows decided, as Prometheus metrics. Labels are the policy's own words."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, Metric

_LABELS = ["pool", "strategy", "shadow"]


def shadows(pools: Mapping[str, Any]) -> Iterator[Metric]:
    """Agreement and regret of each pool that has a shadow; nothing where none has."""
    found = [
        ([name, pool["strategy"], pool["shadow"]["strategy"]], pool["shadow"])
        for name, pool in pools.items()
        if "shadow" in pool
    ]
    if not found:
        return
    picks = CounterMetricFamily("kvpilot_shadow_picks", "picks of shadows", labels=[*_LABELS, "result"])
    regret = CounterMetricFamily(
        "kvpilot_shadow_regret",
        "what the other choice would cost more, in the units of the strategy that reckons: of the shadow's choice by "
        "the live one, of the live choice by the shadow",
        labels=[*_LABELS, "by"],
    )
    for labels, shadow in found:
        for result in ("agreed", "differed", "failed"):
            picks.add_metric([*labels, result], shadow[result])
        regret.add_metric([*labels, "live"], shadow["regret"])
        regret.add_metric([*labels, "shadow"], shadow["live_regret"])
    yield picks
    yield regret
