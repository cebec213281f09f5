"""Weights that were learned, for Prometheus. Bounded by the endpoints of the pools that learn."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from control_plane.sidecar.weights_lane import WeightsLane


def weights(lane: "WeightsLane") -> Iterator[Metric]:
    """What endpoints weigh now; what Envoys report, once somebody has wanted it."""
    rows = lane.status()
    if rows:
        family = GaugeMetricFamily(
            "kvpilot_endpoint_weight",
            "weight that was learned, in the scale of the configured one",
            labels=["pool", "endpoint"],
        )
        for row in rows:
            family.add_metric([row["pool"], row["address"]], row["weight"])
        yield family
    if rows or lane.pushes:
        yield CounterMetricFamily(
            "kvpilot_weight_changes", "how often weights were changed by what was learned", lane.pushes
        )
    service = lane.load_stats
    if service is not None and (rows or service.reports):
        reports = CounterMetricFamily("kvpilot_envoy_load_reports", "load reports of Envoys (LRS)", labels=["result"])
        reports.add_metric(["ok"], service.reports)
        reports.add_metric(["ignored"], service.ignored)
        yield reports
        yield GaugeMetricFamily(
            "kvpilot_envoy_load_reporters", "Envoys that could report their load", service.reporters
        )
