"""How places are and what part of the requests they have, for Prometheus."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from control_plane.fleet.seen import State

if TYPE_CHECKING:
    from control_plane.sidecar.zone_lane import ZoneLane


def zones(rows: Iterable[Mapping[str, Any]], lane: "ZoneLane") -> Iterator[Metric]:
    """1 for the state that a place is in, 0 for the others. `from` is where the Envoys are that see it so."""
    states = GaugeMetricFamily(
        "kvpilot_zone_state", "1 for the state that a place is in", labels=["pool", "from", "zone", "state"]
    )
    shares = GaugeMetricFamily(
        "kvpilot_zone_share_percent", "part of the requests that a place has", labels=["pool", "from", "zone"]
    )
    for row in rows:
        where = [row["pool"], row["from"], row["place"]]
        for state in State:
            states.add_metric([*where, state.value], row["state"] == state.value)
        shares.add_metric(where, row["share"])
    yield states
    yield shares
    changes = CounterMetricFamily(
        "kvpilot_zone_changes", "how often places came into a state", labels=["pool", "zone", "state"]
    )
    for key, count in sorted(lane.changes.items()):
        changes.add_metric(list(key), count)
    yield changes
    told = CounterMetricFamily("kvpilot_zone_shifts", "how often shares were changed")
    told.add_metric([], lane.pushes)
    yield told
