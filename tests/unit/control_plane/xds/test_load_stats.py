"""What reports say, and what they amount to from one to the next."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.load_stats import (
    MAX_COUNT,
    MAX_ENDPOINTS,
    MAX_INTERVAL_S,
    EndpointLoad,
    EndpointWork,
    LoadReport,
    LoadStatsWire,
    Reporter,
    interval_s,
)
from protos.messages import load

A, B = "10.0.0.1:80", "[::1]:80"


def endpoint(host: str, port: int, **counts: int) -> dict[str, Any]:
    """One endpoint in Envoy's JSON."""
    return {"address": {"socketAddress": {"address": host, "portValue": port}}, **counts}


def request(*endpoints: dict[str, Any], cluster: str = "pool/chat", node: str = "envoy-1") -> bytes:
    """A report as Envoy sends it."""
    message = {
        "node": {"id": node},
        "clusterStats": [
            {
                "clusterName": cluster,
                "clusterServiceName": cluster,
                "upstreamLocalityStats": [{"locality": {"zone": "z"}, "upstreamEndpointStats": list(endpoints)}],
                "loadReportInterval": "1s",
            }
        ],
    }
    return load().parse_json("envoy.service.load_stats.v3.LoadStatsRequest", message).SerializeToString()


def test_reading() -> None:
    """Endpoints by their addresses as everywhere else; what is missing is 0; one without an address is left out."""
    one = endpoint("10.0.0.1", 80, totalSuccessfulRequests=8, totalErrorRequests=2, totalRequestsInProgress=3)
    pipe = {"address": {"pipe": {"path": "/x"}}}
    report = LoadStatsWire(load()).read(request(one, endpoint("::1", 80), pipe))
    assert report == LoadReport(
        "envoy-1", (EndpointLoad("pool/chat", A, 8, 2, 3), EndpointLoad("pool/chat", B, 0, 0, 0))
    )
    assert LoadStatsWire(load()).read(b"") == LoadReport("", ())


def test_what_is_not_believed() -> None:
    """Numbers that no Envoy has, endpoints beyond the largest fleet, and what is no report at all."""
    wire = LoadStatsWire(load())
    mad = endpoint("10.0.0.1", 80, totalSuccessfulRequests=MAX_COUNT + 1)
    assert wire.read(request(mad, endpoint("::1", 80))).endpoints == (EndpointLoad("pool/chat", B, 0, 0, 0),)
    many = request(*(endpoint("10.0.0.1", n % 60_000 + 1) for n in range(MAX_ENDPOINTS + 10)))
    assert len(wire.read(many).endpoints) == MAX_ENDPOINTS
    with pytest.raises(RefusedRequestError, match="not a load report"):
        wire.read(b"\xff\xff")


@settings(deadline=None)
@given(st.binary(max_size=64), st.floats(0, 1e9))
def test_any_bytes(data: bytes, now: float) -> None:
    """Are a report or are refused; and any report can be taken."""
    try:
        found = LoadStatsWire(load()).read(data)
    except RefusedRequestError:
        return
    reporter = Reporter()
    reporter.take(found, 0.0)
    for work in reporter.take(found, now):
        assert work.busy_s >= 0


def test_answers() -> None:
    """Which clusters, how often, and endpoint by endpoint."""
    data = LoadStatsWire(load()).answer({"pool/b", "pool/a"}, 4)
    message = load()["envoy.service.load_stats.v3.LoadStatsResponse"].FromString(data)
    assert load().to_json(message) == {
        "clusters": ["pool/a", "pool/b"],
        "loadReportingInterval": "4s",
        "reportEndpointGranularity": True,
    }


def test_intervals() -> None:
    """A second for a few; so that no more than 64 reports come in a second, nor of more endpoints than are read in
    reasonable time, and never longer than about a minute."""
    assert [interval_s(count, 10) for count in (0, 1, 64, 65, 128, 129, 4096, 10**6)] == [1, 1, 1, 2, 2, 4, 64, 64]
    assert [interval_s(4, count) for count in (0, 1_000, 3_200, 3_201, 10_000, 10**6)] == [1, 1, 1, 2, 4, 64]
    assert interval_s(64, 1_000) == 8
    assert MAX_INTERVAL_S == 64


def test_intervals_seldom_change() -> None:
    """They grow at once, and shrink when they can to a quarter: each change has all Envoys begin anew."""
    assert [interval_s(count, 10, 8) for count in (513, 512, 200, 129, 128, 1)] == [16, 8, 8, 8, 2, 1]


def report(*loads: tuple[str, int, int, int]) -> LoadReport:
    """A report of these endpoints: address, succeeded, failed, in progress."""
    return LoadReport("envoy-1", tuple(EndpointLoad("c", *each) for each in loads))


def test_from_one_to_the_next() -> None:
    """The first one only says what runs; in between runs the mean of both ends; who is not reported any more has
    nothing left."""
    reporter = Reporter()
    assert reporter.take(report((A, 5, 0, 2)), 10.0) == ()
    assert reporter.take(report((A, 3, 1, 4), (B, 1, 0, 0)), 11.0) == (
        EndpointWork("c", A, 3, 1, 3.0, 4),
        EndpointWork("c", B, 1, 0, 0.0, 0),
    )
    assert reporter.take(report((B, 1, 0, 1)), 13.0) == (
        EndpointWork("c", B, 1, 0, 1.0, 1),
        EndpointWork("c", A, 0, 0, 4.0, 0),
    )


def test_who_talks_too_much_or_too_seldom() -> None:
    """What comes at once again is dropped, and does not move the time; after a long silence it begins anew."""
    reporter = Reporter()
    reporter.take(report((A, 0, 0, 2)), 0.0)
    assert reporter.take(report((A, 1_000, 0, 1_000)), 0.4) == ()
    assert reporter.take(report((A, 1, 0, 2)), 1.0) == (EndpointWork("c", A, 1, 0, 2.0, 2),)
    assert reporter.take(report((A, 1, 0, 2)), 1_000.0) == ()
    assert reporter.take(report((A, 1, 0, 2)), 1_001.0) == (EndpointWork("c", A, 1, 0, 2.0, 2),)
