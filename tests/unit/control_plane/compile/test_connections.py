"""Protocol and age of connections."""

from typing import Any

from control_plane.compile.connections import http_options, keepalive
from control_plane.policy.limits import ConnectionPool, HttpSettings, TcpKeepalive, TcpSettings
from control_plane.policy.model import Pool, Timeouts, TrafficPolicy
from tests.unit.control_plane.compile.samples import pool


def pool_with(http: HttpSettings | None = None, tcp: TcpSettings | None = None, **fields: Any) -> Pool:
    """A pool with these limits."""
    connections = ConnectionPool(http=http or HttpSettings(), tcp=tcp or TcpSettings())
    return pool(traffic_policy=TrafficPolicy(connection_pool=connections), **fields)


def test_only_what_is_set_is_said() -> None:
    """The default is HTTP/1.1 with a keep-alive shorter than the engine's, and no other limit."""
    assert http_options(pool_with()) == {
        "commonHttpProtocolOptions": {"idleTimeout": "4s"},
        "explicitHttpConfig": {"httpProtocolOptions": {}},
    }


def test_limits_of_a_connection() -> None:
    """Age, requests, and how long a stream may be."""
    found = http_options(
        pool_with(
            HttpSettings(max_requests_per_connection=5),
            TcpSettings(max_connection_duration_s=60.0),
            timeouts=Timeouts(max_stream_duration_s=2.5),
        )
    )
    assert found["commonHttpProtocolOptions"] == {
        "idleTimeout": "4s",
        "maxConnectionDuration": "60s",
        "maxStreamDuration": "2.5s",
        "maxRequestsPerConnection": 5,
    }


def test_http2_only_where_it_is_asked_for() -> None:
    """Istio's UPGRADE is prior knowledge; the other two words are HTTP/1.1."""
    upgraded = pool_with(HttpSettings(h2_upgrade_policy="UPGRADE"))
    assert upgraded.traffic_policy.connection_pool.http.is_http2
    assert http_options(upgraded)["explicitHttpConfig"] == {"http2ProtocolOptions": {}}
    bounded = pool_with(HttpSettings(h2_upgrade_policy="UPGRADE", max_concurrent_streams=7))
    assert http_options(bounded)["explicitHttpConfig"] == {"http2ProtocolOptions": {"maxConcurrentStreams": 7}}
    for word in ("DEFAULT", "DO_NOT_UPGRADE"):
        assert not HttpSettings(h2_upgrade_policy=word).is_http2


def test_the_kernel_counts_whole_seconds() -> None:
    """A part of a second is rounded up: a probe is never sooner than was said."""
    assert keepalive(TcpKeepalive(probes=2, time_s=1.5, interval_s=2.0)) == {
        "tcpKeepalive": {"keepaliveProbes": 2, "keepaliveTime": 2, "keepaliveInterval": 2}
    }
