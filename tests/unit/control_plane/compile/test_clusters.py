"""Clusters of pools and of kvpilot."""

from typing import Any

from hypothesis import HealthCheck as HealthCheckOfHypothesis
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.clusters import kvpilot_cluster, pool_cluster
from control_plane.compile.endpoints import load_assignment
from control_plane.compile.localities import Locality
from control_plane.compile.services import Services
from control_plane.fleet.model import Endpoint
from control_plane.policy.health_checks import GrpcCheck, HealthCheck, HttpCheck, TcpCheck
from control_plane.policy.limits import ConnectionPool, HttpSettings, RetryBudget, TcpKeepalive, TcpSettings
from control_plane.policy.load_balancing import (
    SIMPLE_POLICIES,
    ClientSideWeighted,
    ConsistentHash,
    Distribute,
    HttpCookie,
    LoadBalancer,
    LocalityLbSetting,
    Maglev,
    OutOfBand,
    RingHash,
    Warmup,
)
from control_plane.policy.model import Pool, Retries, Timeouts, TrafficPolicy
from control_plane.policy.outliers import FailurePercentage, OutlierDetection, SuccessRate
from ext_proc.core.address import UnixAddress
from protos.messages import load
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


def test_panic_is_the_policys() -> None:
    """`minHealthPercent` is Envoy's panic threshold; without outlier detection there is none."""
    panicking = TrafficPolicy(outlier_detection=OutlierDetection(min_health_percent=30))
    assert cluster(traffic_policy=panicking)["commonLbConfig"]["healthyPanicThreshold"] == {"value": 30}
    calm = TrafficPolicy(outlier_detection=None)
    assert cluster(traffic_policy=calm)["commonLbConfig"]["healthyPanicThreshold"] == {"value": 0}


def test_silent_connections_are_probed() -> None:
    """Only where the policy asks for it."""
    probed = TrafficPolicy(connection_pool=ConnectionPool(tcp=TcpSettings(tcp_keepalive=TcpKeepalive())))
    assert cluster(traffic_policy=probed)["upstreamConnectionOptions"]["tcpKeepalive"]["keepaliveProbes"] == 3
    assert "upstreamConnectionOptions" not in cluster()


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


def _maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


SECONDS = st.floats(1.0, 100.0).map(lambda value: round(value, 3))
COUNTS = st.integers(1, 1000)
PERCENT = st.integers(0, 100)
HASHED = st.builds(
    ConsistentHash,
    http_header_name=st.sampled_from(["", "x-user"]),
    http_cookie=_maybe(st.builds(HttpCookie, name=st.just("pod"), ttl_s=SECONDS)),
    use_source_ip=st.just(True),
    ring_hash=_maybe(st.builds(RingHash, minimum_ring_size=COUNTS)),
    maglev=_maybe(st.just(Maglev())),
    hash_balance_factor=_maybe(st.integers(100, 300)),
)
WEIGHTED = st.builds(
    ClientSideWeighted,
    metric_names=st.sampled_from([(), ("named_metrics.kv", "cpu_utilization")]),
    error_utilization_penalty=st.floats(0.0, 5.0),
    out_of_band=_maybe(st.builds(OutOfBand, period_s=SECONDS, port=_maybe(COUNTS))),
)
LOCALITIES = st.builds(
    LocalityLbSetting,
    enabled=st.booleans(),
    distribute=st.sampled_from([(), (Distribute(from_="*", to={"*": 100}),)]),
    overprovisioning_factor=_maybe(st.integers(100, 1000)),
)
BALANCERS = st.builds(
    LoadBalancer,
    simple=st.sampled_from(SIMPLE_POLICIES),
    consistent_hash=_maybe(HASHED),
    client_side_weighted=_maybe(WEIGHTED),
    warmup=_maybe(st.builds(Warmup, duration_s=SECONDS, minimum_percent=PERCENT, aggression=st.floats(0.1, 9.0))),
    locality_lb_setting=LOCALITIES,
)
OUTLIERS = st.builds(
    OutlierDetection,
    consecutive_gateway_errors=_maybe(COUNTS),
    split_external_local_origin_errors=st.booleans(),
    success_rate=_maybe(st.builds(SuccessRate, stdev_factor=st.floats(0.0, 9.0), enforcing_percent=PERCENT)),
    failure_percentage=_maybe(st.builds(FailurePercentage, threshold=PERCENT)),
    base_ejection_time_s=st.just(1.0),
    max_ejection_time_s=_maybe(SECONDS),
    min_health_percent=PERCENT,
    detect_degraded_hosts=st.booleans(),
)
CONNECTIONS = st.builds(
    ConnectionPool,
    tcp=st.builds(
        TcpSettings,
        max_connections_per_endpoint=_maybe(COUNTS),
        max_connection_duration_s=_maybe(SECONDS),
        tcp_keepalive=_maybe(st.builds(TcpKeepalive, time_s=SECONDS)),
    ),
    http=st.builds(
        HttpSettings,
        retry_budget=_maybe(st.builds(RetryBudget, percent=PERCENT)),
        max_requests_per_connection=st.integers(0, 9),
        h2_upgrade_policy=st.just("UPGRADE"),
        max_concurrent_streams=_maybe(COUNTS),
    ),
)
CHECKS = st.builds(
    HealthCheck,
    http=_maybe(st.builds(HttpCheck, headers=st.sampled_from([{}, {"x-a": "b"}]))),
    grpc=_maybe(st.just(GrpcCheck())),
    tcp=st.just(TcpCheck()),
    port=_maybe(COUNTS),
    interval_s=SECONDS,
    unhealthy_interval_s=_maybe(SECONDS),
    interval_jitter_percent=PERCENT,
)
POOLS = st.builds(
    pool,
    health_check=_maybe(CHECKS),
    traffic_policy=st.builds(
        TrafficPolicy, connection_pool=CONNECTIONS, outlier_detection=_maybe(OUTLIERS), load_balancer=BALANCERS
    ),
    retries=st.builds(
        Retries,
        attempts=st.integers(0, 3),
        retriable_headers=st.sampled_from([(), ("x-a",)]),
        retry_ignore_previous_hosts=st.booleans(),
        retry_remote_localities=st.booleans(),
    ),
    timeouts=st.builds(Timeouts, max_stream_duration_s=_maybe(SECONDS)),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheckOfHypothesis.too_slow])
@given(POOLS, st.sets(st.sampled_from(Feature)).map(frozenset).map(Capabilities))
def test_whatever_is_set_fits_the_messages(value: Pool, wanted: Capabilities) -> None:
    """Any settings, for an Envoy with any features, are a cluster and an assignment in Envoy's own schema."""
    messages = load()
    messages.parse_json("envoy.config.cluster.v3.Cluster", pool_cluster(value, wanted))
    fleet = [Endpoint(pool="a", address="10.0.0.1:1", zone="z"), Endpoint(pool="a", address="10.0.0.2:1", region="r")]
    messages.parse_json(
        "envoy.config.endpoint.v3.ClusterLoadAssignment", load_assignment(value, fleet, Locality("r", "z"))
    )
