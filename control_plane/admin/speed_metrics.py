"""`/metrics`: what was learned of how long first tokens take (`ext_proc.core.speed`), of all endpoints together."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric

_TEXTS = {
    "rows": "first tokens that the learned times rest on; below 8 they are a guess",
    "base_ms": "learned time of a first token beside its prompt",
    "ms_per_1k_tokens": "learned time of 1,000 prompt tokens that are in no cache",
    "ms_per_1m_pairs": "learned time of a million pairs of a new prompt token and one before it",
    "ms_per_request": "learned delay by each request that is there already",
    "ms_per_1k_held_tokens": "learned delay by 1,000 prompt tokens of the requests that are there already",
}


def speed(told: Mapping[str, float]) -> Iterator[Metric]:
    """One gauge for each coefficient; those of single endpoints are `kvpilot_endpoint_speed_factor`."""
    for name, text in _TEXTS.items():
        gauge = GaugeMetricFamily(f"kvpilot_speed_{name}", text)
        gauge.add_metric([], told[name])
        yield gauge
