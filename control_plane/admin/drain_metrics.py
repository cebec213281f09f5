"""What drains, for Prometheus."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily, Metric


def drains(rows: Iterable[Mapping[str, Any]]) -> Iterator[Metric]:
    """How many endpoints drain, or are drained; one that is forgotten there serves nobody."""
    family = GaugeMetricFamily(
        "kvpilot_draining_endpoints", "endpoints that get nothing new", labels=["pool", "state", "by"]
    )
    counts = Counter((row["pool"], row["state"], row["by"]) for row in rows)
    for (pool, state, by), count in sorted(counts.items()):
        family.add_metric([pool, state, by], count)
    yield family
