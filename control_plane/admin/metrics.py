"""`/metrics`: the sidecar's numbers as Prometheus text.

Labels are bounded by the policy (pool, strategy, endpoint) or by fixed words (outcome, reason, type); never by request,
client or node.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from control_plane.admin import (
    admission_metrics,
    drain_metrics,
    health_metrics,
    kv_metrics,
    load_metrics,
    notice_metrics,
    prediction_metrics,
    session_metrics,
    shadow_metrics,
    speed_metrics,
    status,
    token_metrics,
    weight_metrics,
    zone_metrics,
)
from ext_proc.counters import Counters, Histogram

if TYPE_CHECKING:
    from control_plane.sidecar.sidecar import Sidecar

_ENDPOINT_GAUGES = {
    "in_flight": "requests that this picker has in flight there",
    "queued_tokens": "uncached prompt tokens sent there and without a first token yet",
    "decoding": "requests of this picker that are past their first token there",
    "waiting": "requests waiting in the engine, as it told last, corrected by what was sent there since",
    "running": "requests running in the engine, in the same way",
    "index_blocks": "prompt blocks that the prefix index holds for it",
    "scrape_age_s": "seconds since its metrics were read",
    "speed_factor": "how many times as long as usual its first tokens take, as far as was learned",
}


def render(sidecar: "Sidecar") -> tuple[bytes, str]:
    """(body, content type)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Sidecar(sidecar))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Sidecar(Collector):
    """Reads the sidecar once per scrape: nothing is counted twice, nothing costs while nobody looks."""

    def __init__(self, sidecar: "Sidecar") -> None:
        self._sidecar = sidecar

    def collect(self) -> Iterator[Metric]:
        state = self._sidecar.state
        good = GaugeMetricFamily(
            "kvpilot_config_last_reload_successful", "1 while what the policy file says is applied"
        )
        good.add_metric([], 1.0 if state.is_successful else 0.0)
        yield good
        yield _gauge(
            "kvpilot_config_last_reload_success_timestamp_seconds",
            "when an edit of the policy was last applied, in seconds since 1970",
            state.applied_at,
        )
        info = GaugeMetricFamily("kvpilot_policy_info", "1 for the version that is served", labels=["version"])
        info.add_metric([state.version], 1.0)
        yield info
        reloads = CounterMetricFamily("kvpilot_config_reloads", "edits of the policy", labels=["result"])
        reloads.add_metric(["applied"], state.reloads_applied)
        reloads.add_metric(["rejected"], state.reloads_rejected)
        yield reloads
        if self._sidecar.xds is not None:
            # The status also remembers Envoys that have gone; they are not counted.
            yield from _envoys([row for row in status.envoys(self._sidecar) if row["connected"]])
        if self._sidecar.slow_loop is not None:
            yield _quarantined(status.quarantine(self._sidecar.slow_loop))
        if self._sidecar.drains is not None:
            yield from drain_metrics.drains(self._sidecar.drains.status())
        if self._sidecar.health is not None:
            yield from health_metrics.changes(self._sidecar.health.changes)
            yield from health_metrics.mirrored(self._sidecar.health.status(), self._sidecar.health.pushes)
        if self._sidecar.weights is not None:
            yield from weight_metrics.weights(self._sidecar.weights)
        if self._sidecar.zones is not None:
            yield from zone_metrics.zones(self._sidecar.zones.status(), self._sidecar.zones)
        if self._sidecar.notices is not None:
            yield from notice_metrics.notices(self._sidecar.notices.status(), self._sidecar.notices.counts)
        if self._sidecar.picker is not None:
            yield from _counters(self._sidecar.picker.counters)
            yield _degraded(self._sidecar.picker.counters)
            yield _gauge(
                "kvpilot_ext_proc_open_streams", "ext_proc streams open now", self._sidecar.picker.open_streams
            )
            picked = self._sidecar.picker.status()
            yield from _endpoints(picked["pools"])
            yield from health_metrics.endpoints(picked["pools"])
            yield from health_metrics.trials(self._sidecar.picker.intake.trials)
            yield from health_metrics.hardware(self._sidecar.picker.intake.gpu_reads, len(picked["gpus_failing"]))
            yield from load_metrics.loads(self._sidecar.picker.counters, picked)
            yield from admission_metrics.admissions(picked["pools"])
            yield from shadow_metrics.shadows(picked["pools"])
            yield from prediction_metrics.predictions(
                picked["pools"], self._sidecar.picker.counters.predictions_changed
            )
            yield from prediction_metrics.index(picked["index"])
            yield from prediction_metrics.token_sizes(picked["token_sizes"])
            yield from speed_metrics.speed(picked["speed"])
            yield from session_metrics.sessions(picked["sessions"])
            if self._sidecar.picker.token_counts is not None:
                yield from token_metrics.prompts(self._sidecar.picker.token_counts)
                yield from token_metrics.precise(picked["pools"])
            if self._sidecar.picker.intake.kv_counters is not None:
                yield from kv_metrics.counters(self._sidecar.picker.intake.kv_counters)
                yield from kv_metrics.endpoints(picked["kv_events"])


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _degraded(counters: Counters) -> Metric:
    """Bounded: `to` is a model or a pool of the policy."""
    family = CounterMetricFamily(
        "kvpilot_degraded", "requests answered otherwise than they were asked", labels=["model", "level", "to"]
    )
    for (model, level, to), number in counters.degraded.items():
        family.add_metric([model, level, to], number)
    return family


def _quarantined(rows: list[dict[str, Any]]) -> Metric:
    """Bounded, as the quarantine is; empty on a good day."""
    family = GaugeMetricFamily(
        "kvpilot_quarantined",
        "1 for each resource that Envoys are not given because one refused it, or because it cannot be made",
        labels=["group", "type", "resource", "policy", "instead"],
    )
    for row in rows:
        family.add_metric([row[label] for label in ("group", "type", "resource", "policy", "instead")], 1.0)
    return family


def _envoys(envoys: list[dict[str, Any]]) -> Iterator[Metric]:
    yield _gauge("kvpilot_xds_connected", "Envoys connected to the control plane", len(envoys))
    states = GaugeMetricFamily("kvpilot_xds_types", "Envoys by type and state of it", labels=["type", "state"])
    counted: dict[tuple[str, str], int] = {}
    for envoy in envoys:
        for kind, value in envoy["types"].items():
            counted[kind, value["state"]] = counted.get((kind, value["state"]), 0) + 1
    for (kind, word), number in sorted(counted.items()):
        states.add_metric([kind, word], number)
    yield states


def _counters(counters: Counters) -> Iterator[Metric]:
    picked = CounterMetricFamily("kvpilot_picks", "picks", labels=["pool", "strategy"])
    for (pool, strategy), number in counters.picked.items():
        picked.add_metric([pool, strategy], number)
    yield picked
    for name, text, label, values in (
        ("kvpilot_rejected", "requests answered by the picker", "status", counters.rejected),
        ("kvpilot_unpicked", "requests left to Envoy's own policy", "reason", counters.unpicked),
        ("kvpilot_ended", "picked requests that ended", "outcome", counters.ended),
        ("kvpilot_tokens", "tokens of picked requests, as engines told them", "kind", counters.tokens),
    ):
        family = CounterMetricFamily(name, text, labels=[label])
        for key, number in values.items():
            family.add_metric([str(key)], number)
        yield family
    for name, text, number in (
        ("kvpilot_ext_proc_streams", "ext_proc streams", counters.streams),
        ("kvpilot_ext_proc_stream_errors", "ext_proc streams ended with an error by us", counters.stream_errors),
        (
            "kvpilot_internal_errors",
            "failures of our own code that cost a pick; any is a bug",
            counters.internal_errors,
        ),
        ("kvpilot_access_log_records", "access log records read", counters.log_records),
        ("kvpilot_access_log_messages_bad", "access log messages that could not be read", counters.log_messages_bad),
        ("kvpilot_reservations_expired", "reservations ended by age alone", counters.reservations_expired),
    ):
        single = CounterMetricFamily(name, text)
        single.add_metric([], number)
        yield single
    scrapes = CounterMetricFamily("kvpilot_scrapes", "reads of engines' metrics", labels=["result"])
    scrapes.add_metric(["ok"], counters.scrapes_ok)
    scrapes.add_metric(["failed"], counters.scrapes_failed)
    yield scrapes
    yield _histogram("kvpilot_decision_seconds", "time to decide one pick", counters.decision_seconds)
    yield _histogram(
        "kvpilot_admission_wait_seconds", "how long requests that were let in had waited", counters.wait_seconds
    )


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    buckets, cumulative = [], 0
    for bound, count in zip((*map(str, histogram.bounds), "+Inf"), histogram.counts, strict=True):
        cumulative += count
        buckets.append((bound, float(cumulative)))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.total)


def _endpoints(pools: Mapping[str, Any]) -> Iterator[Metric]:
    for field, text in _ENDPOINT_GAUGES.items():
        family = GaugeMetricFamily(f"kvpilot_endpoint_{field}", text, labels=["pool", "endpoint"])
        for pool, value in pools.items():
            for endpoint in value["endpoints"]:
                if endpoint.get(field) is not None:
                    family.add_metric([pool, endpoint["address"]], endpoint[field])
        yield family
