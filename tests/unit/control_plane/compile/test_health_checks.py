"""Active health checks."""

from dataclasses import replace
from typing import Any

from control_plane.compile.clusters import pool_cluster
from control_plane.compile.endpoints import load_assignment
from control_plane.compile.health_checks import endpoint_check, health_checks
from control_plane.compile.localities import Locality
from control_plane.fleet.model import Endpoint
from control_plane.policy.health_checks import GrpcCheck, HealthCheck, HttpCheck, TcpCheck
from control_plane.policy.limits import ConnectionPool, HttpSettings
from control_plane.policy.model import TrafficPolicy
from control_plane.policy.security import PoolTls
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, pool

HTTP2 = TrafficPolicy(connection_pool=ConnectionPool(http=HttpSettings(h2_upgrade_policy="UPGRADE")))


def check(settings: HealthCheck, **fields: Any) -> Any:
    """The only check of a pool."""
    (found,) = health_checks(pool(health_check=settings, **fields), EVERYTHING)
    return found


def test_http() -> None:
    """Expected statuses end behind their last one, and any other status counts towards the threshold."""
    found = check(
        HealthCheck(
            http=HttpCheck(path="/ready", host="h:1", method="HEAD", expected_statuses=((200, 299), (418, 418)))
        )
    )
    assert found["httpHealthCheck"] == {
        "host": "h:1",
        "path": "/ready",
        "method": "HEAD",
        "expectedStatuses": [{"start": "200", "end": "300"}, {"start": "418", "end": "419"}],
        "retriableStatuses": [{"start": 100, "end": 600}],
    }


def test_the_host_is_a_valid_one() -> None:
    """The name of the cluster, Envoy's default, has a slash."""
    assert check(HealthCheck(http=HttpCheck()))["httpHealthCheck"]["host"] == "a"
    assert check(HealthCheck(grpc=GrpcCheck()))["grpcHealthCheck"] == {"authority": "a"}
    grpc = check(HealthCheck(grpc=GrpcCheck(service_name="s", authority="h")))["grpcHealthCheck"]
    assert grpc == {"authority": "h", "serviceName": "s"}


def test_checks_speak_the_pools_protocol() -> None:
    """HTTP/2 where requests are HTTP/2."""
    settings = HealthCheck(http=HttpCheck(headers={"x-a": "100%"}))
    found = check(settings, traffic_policy=HTTP2)["httpHealthCheck"]
    assert found["codecClientType"] == "HTTP2"
    assert [one["header"] for one in found["requestHeadersToAdd"]] == [{"key": "x-a", "value": "100%%"}]
    assert "codecClientType" not in check(settings)["httpHealthCheck"]


def test_http2_over_tls_is_offered() -> None:
    """A server that asks for ALPN would refuse the check otherwise."""
    secured = replace(HTTP2, tls=PoolTls(mode="SIMPLE", insecure_skip_verify=True))
    found = check(HealthCheck(grpc=GrpcCheck()), traffic_policy=secured)
    assert found["tlsOptions"] == {"alpnProtocols": ["h2"]}
    assert "tlsOptions" not in check(HealthCheck(grpc=GrpcCheck()), traffic_policy=HTTP2)


def test_times() -> None:
    """A pool without traffic is checked as often as any other, unless the policy says otherwise."""
    assert check(HealthCheck(tcp=TcpCheck(), interval_s=3.0)) == {
        "timeout": "1s",
        "interval": "3s",
        "noTrafficInterval": "3s",
        "unhealthyThreshold": 2,
        "healthyThreshold": 1,
        "tcpHealthCheck": {},
    }
    found = check(
        HealthCheck(
            tcp=TcpCheck(),
            no_traffic_interval_s=60.0,
            unhealthy_interval_s=0.5,
            initial_jitter_s=1.0,
            interval_jitter_percent=20,
            reuse_connection=False,
        )
    )
    assert found.items() >= {
        "noTrafficInterval": "60s", "unhealthyInterval": "0.5s", "initialJitter": "1s", "intervalJitterPercent": 20,
        "reuseConnection": False,
    }.items()  # fmt: skip


def test_what_goes_with_checks() -> None:
    """Removed endpoints go at once, new ones wait for their first check; a pool without checks has neither."""
    found: Any = pool_cluster(pool(health_check=HealthCheck(tcp=TcpCheck())), EVERYTHING)
    assert found["ignoreHealthOnHostRemoval"] is True
    assert found["commonLbConfig"]["ignoreNewHostsUntilFirstHc"] is True
    for plain in (pool_cluster(pool(), EVERYTHING), pool_cluster(pool(health_check=HealthCheck()), NOTHING)):
        assert not {"healthChecks", "ignoreHealthOnHostRemoval"} & set(plain)


def test_another_port() -> None:
    """It stands with each endpoint."""
    checked = pool(health_check=HealthCheck(tcp=TcpCheck(), port=9000))
    assignment: Any = load_assignment(checked, [Endpoint(pool="a", address="10.0.0.1:8000")], Locality())
    (endpoint,) = assignment["endpoints"][0]["lbEndpoints"]
    assert endpoint["endpoint"]["healthCheckConfig"] == {"portValue": 9000}
    assert endpoint_check(pool(health_check=HealthCheck(tcp=TcpCheck()))) == {}
    assert endpoint_check(pool()) == {}
