"""What is open, what was told, and to whom, for Prometheus. Labels are the fixed kinds and the policy's webhooks."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from control_plane.notices.kinds import KINDS

_RESULTS = ("sent", "refused", "dropped")


def notices(status: Mapping[str, Any], counts: Mapping[tuple[str, str], int]) -> Iterator[Metric]:
    """`status` and `counts` are those of the notice lane."""
    open_now = GaugeMetricFamily(
        "kvpilot_notices_open", "troubles that are open now (docs/notifications.md)", labels=["kind", "severity"]
    )
    found = Counter((row["kind"], row["severity"]) for row in status["open"])
    for kind in KINDS.values():
        found.setdefault((kind.name, kind.severity), 0)  # an alert rule can tell "none" from "not known"
    for (kind_name, severity), count in sorted(found.items()):
        open_now.add_metric([kind_name, severity], count)
    yield open_now
    told = CounterMetricFamily(
        "kvpilot_notices", "troubles that were opened, got worse, or ended", labels=["kind", "event"]
    )
    for (kind_name, event), count in sorted(counts.items()):
        told.add_metric([kind_name, event], count)
    yield told
    delivered = CounterMetricFamily(
        "kvpilot_notices_delivered",
        "what became of notices for webhooks: sent, refused by the receiver, dropped because too many waited or too "
        "long",
        labels=["webhook", "result"],
    )
    tries = CounterMetricFamily("kvpilot_notices_failed_tries", "tries that failed", labels=["webhook"])
    pending = GaugeMetricFamily("kvpilot_notices_pending", "notices that wait to be sent", labels=["webhook"])
    for row in status["webhooks"]:
        for result in _RESULTS:
            delivered.add_metric([row["name"], result], row[result])
        tries.add_metric([row["name"]], row["failed_tries"])
        pending.add_metric([row["name"]], row["pending"])
    yield from (delivered, tries, pending)
    overlooked = CounterMetricFamily("kvpilot_notices_overlooked", "troubles that found no room, so many there were")
    overlooked.add_metric([], status["overlooked"])
    yield overlooked
