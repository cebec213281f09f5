"""Active health checks of a pool's endpoints."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.typed import Json, duration, set_header
from control_plane.policy.health_checks import HealthCheck, HttpCheck
from control_plane.policy.model import Pool

ALL_STATUSES: Json = {"start": 100, "end": 600}
"""Every status there is; the end is not included (`HttpHealthCheck.retriable_statuses`)."""


def health_checks(pool: Pool, capabilities: Capabilities) -> list[Json]:
    """`Cluster.health_checks`; empty for a pool without, and for an Envoy that cannot make them.

    Envoy's interval before a cluster's first request is a minute (`no_traffic_interval`); here it is the policy's
    interval, because the pool of a route that is used seldom should not be found dead by its first request.
    """
    check = pool.health_check
    if check is None or not capabilities.has(Feature.HEALTH_CHECKS):
        return []
    interval_s, idle_s = check.interval_s, check.no_traffic_interval_s
    result: Json = {
        "timeout": duration(check.timeout_s),
        "interval": duration(interval_s),
        "noTrafficInterval": duration(interval_s if idle_s is None else idle_s),
        "unhealthyThreshold": check.unhealthy_threshold,
        "healthyThreshold": check.healthy_threshold,
        **_question(check, pool),
    }
    if check.unhealthy_interval_s is not None:
        result["unhealthyInterval"] = duration(check.unhealthy_interval_s)
    tls = pool.traffic_policy.tls
    if tls is not None and tls.is_on and pool.traffic_policy.connection_pool.http.is_http2:
        # Unlike requests, checks offer no protocol by themselves (`HealthCheck.TlsOptions`).
        result["tlsOptions"] = {"alpnProtocols": ["h2"]}
    if check.initial_jitter_s:
        result["initialJitter"] = duration(check.initial_jitter_s)
    if check.interval_jitter_percent:
        result["intervalJitterPercent"] = check.interval_jitter_percent
    if not check.reuse_connection:
        result["reuseConnection"] = False
    return [result]


def endpoint_check(pool: Pool) -> Json:
    """What each endpoint of the pool says about its checks (`Endpoint.health_check_config`); empty: nothing."""
    if pool.health_check is None or pool.health_check.port is None:
        return {}
    return {"healthCheckConfig": {"portValue": pool.health_check.port}}


def _question(check: HealthCheck, pool: Pool) -> Json:
    # Envoy's own default for both hosts is the name of the cluster, which has a slash and is no valid Host.
    if check.http is not None:
        return {"httpHealthCheck": _http(check.http, pool)}
    if check.grpc is not None:
        grpc: Json = {"authority": check.grpc.authority or pool.name}
        if check.grpc.service_name:
            grpc["serviceName"] = check.grpc.service_name
        return {"grpcHealthCheck": grpc}
    return {"tcpHealthCheck": {}}


def _http(check: HttpCheck, pool: Pool) -> Json:
    """A status that is neither expected nor "retriable" would take the endpoint out at once, whatever the threshold."""
    result: Json = {
        "host": check.host or pool.name,
        "path": check.path,
        "method": check.method,
        "expectedStatuses": [{"start": str(first), "end": str(last + 1)} for first, last in check.expected_statuses],
        "retriableStatuses": [ALL_STATUSES],
    }
    if pool.traffic_policy.connection_pool.http.is_http2:
        result["codecClientType"] = "HTTP2"
    if check.headers:
        result["requestHeadersToAdd"] = [
            # Values are formats to Envoy, in which a percent sign stands twice.
            set_header(name, value.replace("%", "%%"))
            for name, value in check.headers.items()
        ]
    return result
