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


def hardware(reads: Mapping[str, int], failing: int) -> Iterator[Metric]:
    """How exporters of hardware numbers could be read; nothing while nobody asks them."""
    if not reads:
        return
    family = CounterMetricFamily("kvpilot_gpu_reads", "pages of GPU exporters", labels=["result"])
    for result in ("ok", "failed"):
        family.add_metric([result], reads.get(result, 0))
    yield family
    yield GaugeMetricFamily(
        "kvpilot_gpu_exporters_failing", "GPU exporters that could not be read the last time", failing
    )


def trials(counts: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """How often kvpilot itself asked endpoints for a token, and what came of it."""
    family = CounterMetricFamily(
        "kvpilot_trials", "endpoints that failed and were asked for a token, by answer", labels=["pool", "result"]
    )
    for (pool, result), count in sorted(counts.items()):
        family.add_metric([pool, result], count)
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
