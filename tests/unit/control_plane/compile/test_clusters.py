"""Clusters of pools and of kvpilot."""

from typing import Any

from control_plane.compile.clusters import kvpilot_cluster, pool_cluster
from control_plane.compile.services import Services
from control_plane.policy.model import (
    ConnectionPool,
    HttpSettings,
    OutlierDetection,
    Retries,
    TcpSettings,
    TrafficPolicy,
)
from ext_proc.core.address import UnixAddress
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, OLDEST, SERVICES, pool

OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster(**fields: Any) -> Any:
    """The cluster of a pool with these settings."""
    return pool_cluster(pool(**fields), EVERYTHING)


def test_endpoints_come_by_eds() -> None:
    """Name and EDS service are the pool's; the assignment comes over the same stream."""
    found = cluster()
    assert found["name"] == found["edsClusterConfig"]["serviceName"] == "pool/a"
    assert found["edsClusterConfig"]["edsConfig"] == {"ads": {}, "resourceApiVersion": "V3"}


def test_named_hosts_come_from_metadata_only() -> None:
    """A header as a source would let clients choose a pod."""
    (policy,) = cluster()["loadBalancingPolicy"]["policies"]
    override = policy["typedExtensionConfig"]["typedConfig"]
    (source,) = override["overrideHostSources"]
    assert source == {"metadata": {"key": "envoy.lb", "path": [{"key": "x-gateway-destination-endpoint"}]}}
    (fallback,) = override["fallbackPolicy"]["policies"]
    assert fallback["typedExtensionConfig"]["name"] == "envoy.load_balancing_policies.least_request"
    assert "selectedHostKey" in override


def test_older_envoys_get_less() -> None:
    """No selected host before 1.38, no override at all where the extension is missing, retries in the route."""
    old: Any = pool_cluster(pool(), OLDEST)
    override = old["loadBalancingPolicy"]["policies"][0]["typedExtensionConfig"]["typedConfig"]
    assert "selectedHostKey" not in override
    assert "retryPolicy" not in old["typedExtensionProtocolOptions"][OPTIONS]
    bare: Any = pool_cluster(pool(), NOTHING)
    names = [entry["typedExtensionConfig"]["name"] for entry in bare["loadBalancingPolicy"]["policies"]]
    assert names == ["envoy.load_balancing_policies.least_request"]


def test_retries_are_the_pools_own() -> None:
    """Each pool of a split keeps its own retry settings."""
    options = cluster(retries=Retries(attempts=4))["typedExtensionProtocolOptions"][OPTIONS]
    assert options["retryPolicy"]["numRetries"] == 4
    options = cluster(retries=Retries(attempts=0))["typedExtensionProtocolOptions"][OPTIONS]
    assert "retryPolicy" not in options


def test_limits_are_the_policys() -> None:
    """Circuit breakers, connect and keep-alive times come from connectionPool."""
    found = cluster(
        traffic_policy=TrafficPolicy(
            connection_pool=ConnectionPool(
                tcp=TcpSettings(max_connections=1, connect_timeout_s=0.5),
                http=HttpSettings(
                    http1_max_pending_requests=2, http2_max_requests=3, max_retries=4, idle_timeout_s=2.5
                ),
            )
        )
    )
    assert found["circuitBreakers"]["thresholds"] == [
        {"maxConnections": 1, "maxPendingRequests": 2, "maxRequests": 3, "maxRetries": 4}
    ]
    assert found["connectTimeout"] == "0.5s"
    options = found["typedExtensionProtocolOptions"][OPTIONS]
    assert options["commonHttpProtocolOptions"] == {"idleTimeout": "2.5s"}


def test_only_what_the_policy_names_ejects() -> None:
    """Statistical ejection is on by default in Envoy and is switched off; gateway errors count where they are set."""
    detection = cluster(
        traffic_policy=TrafficPolicy(
            outlier_detection=OutlierDetection(
                consecutive_5xx_errors=7, interval_s=1.0, base_ejection_time_s=9.0, max_ejection_percent=34
            )
        )
    )["outlierDetection"]
    assert detection == {
        "consecutive5xx": 7,
        "interval": "1s",
        "baseEjectionTime": "9s",
        "maxEjectionPercent": 34,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailure": 7,
        "enforcingSuccessRate": 0,
        "enforcingLocalOriginSuccessRate": 0,
    }
    gateway = cluster(traffic_policy=TrafficPolicy(outlier_detection=OutlierDetection(consecutive_gateway_errors=3)))
    assert gateway["outlierDetection"]["consecutiveGatewayFailure"] == 3
    assert gateway["outlierDetection"]["enforcingConsecutiveGatewayFailure"] == 100


def test_no_outlier_detection() -> None:
    """None leaves it out altogether."""
    assert "outlierDetection" not in cluster(traffic_policy=TrafficPolicy(outlier_detection=None))


def test_no_panic_and_no_delay() -> None:
    """Drained and dead pods get nothing however many they are; changes act at once."""
    assert cluster()["commonLbConfig"] == {"healthyPanicThreshold": {"value": 0}, "updateMergeWindow": "0s"}


def test_dots_do_not_cut_statistics() -> None:
    """A pool like llama-3.1 has a statistics name without dots; the cluster keeps its own name."""
    assert pool_cluster(pool("llama-3.1"), EVERYTHING)["altStatName"] == "pool/llama-3_1"
    assert "altStatName" not in cluster()


def test_kvpilots_own_cluster() -> None:
    """HTTP/2, checked often, never used while unhealthy, and no limit on streams worth mentioning."""
    found: Any = kvpilot_cluster(SERVICES)
    (check,) = found["healthChecks"]
    assert check["interval"] == check["noTrafficInterval"] == "0.5s"
    assert (check["unhealthyThreshold"], check["healthyThreshold"]) == (1, 1)
    assert found["commonLbConfig"] == {"healthyPanicThreshold": {"value": 0}}
    assert found["circuitBreakers"]["thresholds"][0]["maxRequests"] > 100_000
    assert "http2ProtocolOptions" in found["typedExtensionProtocolOptions"][OPTIONS]["explicitHttpConfig"]


def test_kvpilot_on_a_unix_socket() -> None:
    """The picker may listen on a Unix socket."""
    found: Any = kvpilot_cluster(Services(ext_proc=UnixAddress("/run/k.sock")))
    (group,) = found["loadAssignment"]["endpoints"]
    assert group["lbEndpoints"][0]["endpoint"]["address"] == {"pipe": {"path": "/run/k.sock"}}
