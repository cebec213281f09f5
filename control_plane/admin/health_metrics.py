"""How endpoints are, for Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def endpoints(pools: Mapping[str, Any]) -> Iterator[Metric]:
    """How many endpoints of a pool are healthy, degraded, unhealthy, ejected, …: the words of the status."""
    family = GaugeMetricFamily("kvpilot_endpoints", "endpoints by health", labels=["pool", "health"])
    for pool, value in pools.items():
        for word, count in sorted(Counter(endpoint["health"] for endpoint in value["endpoints"]).items()):
            family.add_metric([pool, word], count)
    yield family


def changes(counts: Mapping[str, int]) -> Iterator[Metric]:
    """How often endpoints came into a state, by engines' own numbers."""
    family = CounterMetricFamily(
        "kvpilot_health_changes", "endpoints that came into a state, by engines' own numbers", labels=["state"]
    )
    for state, count in sorted(counts.items()):
        family.add_metric([state], count)
    yield family


def mirrored(rows: Iterable[Mapping[str, Any]], pushes: int) -> Iterator[Metric]:
    """Whom Envoys are told to avoid, and how often that changed."""
    family = GaugeMetricFamily(
        "kvpilot_mirrored_endpoints",
        "endpoints that Envoys are told to avoid, by what the picker found out",
        labels=["pool", "state"],
    )
    for (pool, state), count in sorted(Counter((row["pool"], row["state"]) for row in rows).items()):
        family.add_metric([pool, state], count)
    yield family
    told = CounterMetricFamily("kvpilot_mirror_changes", "how often Envoys were told of other endpoints to avoid")
    told.add_metric([], pushes)
    yield told
