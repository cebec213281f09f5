"""What engines tell of their prefix caches, as metrics."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from ext_proc.signals.kv_feed import KvCounters


def counters(told: KvCounters) -> Iterator[Metric]:
    """All messages together."""
    for name, text, number in (
        ("messages", "messages that came live", told.messages),
        ("replayed", "messages that came as answers to replays", told.replayed),
        ("repeated", "messages that were known already", told.order.repeated),
        ("gaps", "holes in the numbers of messages", told.order.gaps),
        ("lost", "messages that never came, as far as numbers tell", told.order.lost),
        ("replays", "replays that were asked for", told.replays),
        ("replays_failed", "replays that did not come", told.replays_failed),
        ("undecodable", "messages that could not be read, or not entirely", told.undecodable),
        ("skipped", "single events of unknown types, or that could not be read", told.skipped),
        ("strangers", "messages whose topic names no endpoint", told.strangers),
    ):
        family = CounterMetricFamily(f"kvpilot_kv_events_{name}", text)
        family.add_metric([], number)
        yield family
    cleared = CounterMetricFamily("kvpilot_kv_events_cleared", "an engine's blocks were forgotten", labels=["reason"])
    for reason, number in told.cleared.items():
        cleared.add_metric([reason], number)
    yield cleared


def endpoints(status: Mapping[str, Mapping[str, Any]]) -> Iterator[Metric]:
    """By endpoint; those that were never heard have no age."""
    blocks = GaugeMetricFamily(
        "kvpilot_kv_events_blocks", "prompt blocks that the engine says it holds", labels=["endpoint"]
    )
    ages = GaugeMetricFamily("kvpilot_kv_events_age_s", "seconds since the engine last told", labels=["endpoint"])
    for address, row in status.items():
        blocks.add_metric([address], row["blocks"])
        if row["age_s"] is not None:
            ages.add_metric([address], row["age_s"])
    yield blocks
    yield ages
