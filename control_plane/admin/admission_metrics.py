"""Who waits for a place, and who was refused, as metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def admissions(pools: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """By pool; pools without admission have none. `pools` are those of the picker's status."""
    waiting = GaugeMetricFamily(
        "kvpilot_admission_waiting", "requests that wait for a place", labels=["pool", "priority"]
    )
    tokens = GaugeMetricFamily("kvpilot_admission_waiting_tokens", "their prompt tokens", labels=["pool"])
    rate = GaugeMetricFamily("kvpilot_admission_rate", "requests let in per second, lately", labels=["pool"])
    rejected = CounterMetricFamily("kvpilot_admission_rejected", "requests refused with 429", labels=["pool", "reason"])
    left = CounterMetricFamily("kvpilot_admission_left", "clients that went away while they waited", labels=["pool"])
    for pool, status in pools.items():
        door = status.get("admission")
        if door is None:
            continue
        for priority, number in door["waiting"].items():
            waiting.add_metric([pool, priority], number)
        for reason, number in door["rejected"].items():
            rejected.add_metric([pool, reason], number)
        tokens.add_metric([pool], door["waiting_tokens"])
        rate.add_metric([pool], door["admitted_per_s"])
        left.add_metric([pool], door["left"])
    yield from (waiting, tokens, rate, rejected, left)
