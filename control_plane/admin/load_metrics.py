"""`/metrics`: what engines tell of their load unasked, and how old what is known of their queues is."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ext_proc.counters import Counters


def loads(counters: Counters, status: Mapping[str, Any]) -> Iterator[Metric]:
    """The numbers, from the counters and the picker's status."""
    headers = CounterMetricFamily("kvpilot_load_headers", "load headers (ORCA) of answers", labels=["result"])
    headers.add_metric(["ok"], counters.load_headers)
    headers.add_metric(["bad"], counters.load_headers_bad)
    yield headers
    yield CounterMetricFamily("kvpilot_load_reports", "load reports taken", counters.load_reports)
    refused = CounterMetricFamily(
        "kvpilot_load_reports_refused", "streams of load reports that were ended, by gRPC status", labels=["status"]
    )
    for name, number in sorted(counters.load_reports_refused.items()):
        refused.add_metric([name], number)
    yield refused
    yield GaugeMetricFamily("kvpilot_load_reporters", "streams of load reports that are open", status["reporters"])
    # Of the queue alone: a family of all numbers would have thousands of series for a large fleet.
    ages = GaugeMetricFamily(
        "kvpilot_endpoint_load_age_seconds",
        "seconds since the number of waiting requests was told, by source: scrape, report or orca",
        labels=["pool", "endpoint", "source"],
    )
    for pool, content in status["pools"].items():
        for endpoint in content["endpoints"]:
            told = endpoint["told"].get("waiting")
            if told is not None:
                ages.add_metric([pool, endpoint["address"], told["source"]], told["age_s"])
    yield ages
