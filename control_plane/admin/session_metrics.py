"""`/metrics`: the sessions that are remembered (`ext_proc.core.sessions`)."""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


def sessions(told: Mapping[str, int]) -> Iterator[Metric]:
    """How many there are and may be, and how many had to move."""
    yield GaugeMetricFamily("kvpilot_sessions", "sessions whose pod is remembered", value=told["known"])
    yield GaugeMetricFamily("kvpilot_sessions_limit", "sessions that can be remembered", value=told["limit"])
    yield CounterMetricFamily(
        "kvpilot_session_moves", "sessions that moved to another pod, since theirs was lost", value=told["moved"]
    )
