"""Load reports of Envoys (LRS), as values, and what they say about endpoints. Pure but for the message classes.

Envoy's `load_stats_config` opens a stream to `envoy.service.load_stats.v3.LoadReportingService` and says who it is. It
sends nothing else until it is answered; then it reports the clusters that the answer names, in its interval. What
Envoy 1.40 says of each endpoint with traffic, found out by `tests/conformance/test_load_stats_on_envoy.py`:

- `total_successful_requests`: answers without 5xx since the last report, counted when their headers come (429 and 404
  among them);
- `total_error_requests`: 5xx, resets, timeouts and failed connections since the last report;
- `total_requests_in_progress`: at this moment; an endpoint that is only waited for is reported, too;
- `total_issued_requests`: begun since the last report, without those whose connection failed.

Before 1.39 an Envoy leaves out where every connection failed, and 1.36 also where nothing began since the last report:
what runs there for longer is not seen meanwhile.

Each report carries the whole node with its list of extensions, 61 KB, so the interval grows with the number of
reporters, and with that of endpoints.
"""

import math
from collections.abc import Iterator, Mapping, Set
from typing import Any, Final, NamedTuple

from google.protobuf.message import DecodeError

from control_plane.xds.errors import RefusedRequestError
from ext_proc.core.address import SocketAddress
from protos.messages import Messages

LEAST_INTERVAL_S: Final = 1
"""Between two reports of one Envoy: requests in flight are only seen in reports, and a few are wanted between two
changes of weights."""

REPORTS_PER_S: Final = 64
"""From all Envoys together: the node alone, with which each report begins, takes 0.2 ms."""

ENDPOINTS_PER_S: Final = 12_800
"""In all of these reports together: one takes some 5 µs until it is counted, so that they take 6 % of a core."""

MAX_INTERVAL_S: Final = 64
"""At 4,096 Envoys, as many as are served."""

CALMED: Final = 4
"""The interval becomes shorter again when it could be by this factor: each change has all Envoys begin anew."""

MAX_ENDPOINTS: Final = 20_000
"""In one report: twice the largest fleet that is planned for; the rest is not read."""

MAX_COUNT: Final = 10_000_000
"""Requests of one endpoint in one report. No Envoy has as many; an endpoint with more is not believed."""

_SERVICE = "envoy.service.load_stats.v3."


class EndpointLoad(NamedTuple):
    """What one report says of an endpoint: requests that ended well or not since the last one, and those running."""

    cluster: str
    address: str
    succeeded: int
    failed: int
    in_progress: int


class LoadReport(NamedTuple):
    """One report; `node` is the id of the Envoy, empty where it does not say it."""

    node: str
    endpoints: tuple[EndpointLoad, ...]


class EndpointWork(NamedTuple):
    """What an endpoint has done for one Envoy since the last report; `busy_s` is how long requests were there, added
    up, and `seen` how many running ones the report has met."""

    cluster: str
    address: str
    succeeded: int
    failed: int
    busy_s: float
    seen: int


class LoadStatsWire:
    """Reads reports and writes answers. Holds message classes only."""

    def __init__(self, messages: Messages) -> None:
        self._request: Any = messages[_SERVICE + "LoadStatsRequest"]
        self._response: Any = messages[_SERVICE + "LoadStatsResponse"]

    def read(self, data: bytes) -> LoadReport:
        """One report; raises `RefusedRequestError` for what is none."""
        try:
            message = self._request.FromString(data)
        except DecodeError as error:
            raise RefusedRequestError("INVALID_ARGUMENT", f"not a load report: {error}") from error
        found: list[EndpointLoad] = []
        for load in _endpoints(message):
            if len(found) >= MAX_ENDPOINTS:
                break
            if max(load.succeeded, load.failed, load.in_progress) <= MAX_COUNT:
                found.append(load)
        return LoadReport(message.node.id, tuple(found))

    def answer(self, clusters: Set[str], interval_s: int) -> bytes:
        """Asks for reports of these clusters, endpoint by endpoint, in this interval."""
        answer = self._response(clusters=sorted(clusters), report_endpoint_granularity=True)
        answer.load_reporting_interval.seconds = interval_s
        data: bytes = answer.SerializeToString(deterministic=True)
        return data


def _endpoints(message: Any) -> Iterator[EndpointLoad]:
    for cluster in message.cluster_stats:
        for locality in cluster.upstream_locality_stats:
            for each in locality.upstream_endpoint_stats:
                socket = each.address.socket_address
                if socket.address:
                    yield EndpointLoad(
                        cluster.cluster_name,
                        str(SocketAddress(socket.address, socket.port_value)),
                        each.total_successful_requests,
                        each.total_error_requests,
                        each.total_requests_in_progress,
                    )


def interval_s(reporters: int, endpoints: int, now_s: int = LEAST_INTERVAL_S) -> int:
    """How often each of so many Envoys is to report so many endpoints at most: a power of two that seldom changes.

    `now_s` is the interval until now.
    """
    needed = max(reporters / REPORTS_PER_S, reporters * endpoints / ENDPOINTS_PER_S)
    interval = LEAST_INTERVAL_S
    while interval < MAX_INTERVAL_S and needed > interval:
        interval *= 2
    return now_s if interval < now_s < CALMED * interval else interval


class Reporter:
    """The reports of one stream, one after the other.

    Mutable: when it reported last, and what was in progress there; `take` is the writer.
    """

    def __init__(self) -> None:
        """Nothing was reported yet; the first report only says what is in progress."""
        self._at: float | None = None
        self._in_progress: Mapping[tuple[str, str], int] = {}

    def take(self, report: LoadReport, now: float) -> tuple[EndpointWork, ...]:
        """What was done since the last one, `now` in monotonic seconds; nothing if that is too long ago.

        Between two reports as many requests were there as in the mean of both. A report that comes sooner than half of
        the shortest interval is not counted, so that nobody is heard more by talking more. The interval is measured
        here, not believed.
        """
        passed = math.inf if self._at is None else now - self._at
        if passed < LEAST_INTERVAL_S / 2:
            return ()
        before, self._at = self._in_progress, now
        loads = {(load.cluster, load.address): load for load in report.endpoints}
        self._in_progress = {key: load.in_progress for key, load in loads.items() if load.in_progress}
        if passed > 2 * MAX_INTERVAL_S:
            return ()
        idle = (EndpointLoad(*key, 0, 0, 0) for key in before.keys() - loads.keys())
        return tuple(_work(load, before, passed) for load in (*loads.values(), *idle))


def _work(load: EndpointLoad, before: Mapping[tuple[str, str], int], passed: float) -> EndpointWork:
    running = (before.get((load.cluster, load.address), 0) + load.in_progress) / 2
    return EndpointWork(load.cluster, load.address, load.succeeded, load.failed, running * passed, load.in_progress)
