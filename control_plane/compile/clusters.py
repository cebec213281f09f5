"""Clusters: one EDS cluster per pool, and the one that leads to kvpilot itself."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import (
    DESTINATION_KEY,
    KVPILOT_CLUSTER,
    LB_NAMESPACE,
    SERVED_KEY,
    cluster_name,
)
from control_plane.compile.retries import retry_policy
from control_plane.compile.services import Services
from control_plane.compile.typed import Json, any_of, duration, extension, socket_address
from control_plane.policy.model import OutlierDetection, Pool

_POLICIES = "envoy.extensions.load_balancing_policies"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

PICKER_HEALTH_CHECK_S = 0.5
"""How long requests may still wait for a picker that hangs: after one failed check they fail open at once."""

PICKER_SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
"""The service that the picker's health is asked for (gRPC health checking protocol)."""

PICKER_CONNECT_TIMEOUT_S = 0.25
"""kvpilot is a neighbour: a connection that takes longer is not going to help this request."""

PICKER_STREAMS = 1_000_000
"""Streams to kvpilot at once: one stays open as long as its request, and Envoy's default cap of 1,024 would be the real
limit on concurrent requests. Effectively no limit: the pools' own circuit breakers are the limit."""


def pool_cluster(pool: Pool, capabilities: Capabilities) -> Json:
    """The cluster of `pool`: named hosts first, Envoy's own least-request policy as the fallback.

    `healthyPanicThreshold` is 0: a pod that was drained or declared dead never gets traffic because too many others
    are, too; whether to use all of them anyway is the health machine's decision, and it says so through EDS. Outlier
    ejections alone cannot empty a pool, for they stop at `maxEjectionPercent`.
    """
    http = pool.traffic_policy.connection_pool.http
    tcp = pool.traffic_policy.connection_pool.tcp
    options: Json = {
        "commonHttpProtocolOptions": {"idleTimeout": duration(http.idle_timeout_s)},
        "explicitHttpConfig": {"httpProtocolOptions": {}},
    }
    retries = retry_policy(pool.retries, capabilities)
    if retries is not None and capabilities.has(Feature.RETRIES_PER_POOL):
        options["retryPolicy"] = retries
    cluster: Json = {
        "name": cluster_name(pool.name),
        "type": "EDS",
        "edsClusterConfig": {
            "serviceName": cluster_name(pool.name),
            "edsConfig": {"ads": {}, "resourceApiVersion": "V3"},
        },
        "connectTimeout": duration(tcp.connect_timeout_s),
        "loadBalancingPolicy": _load_balancing(capabilities),
        "circuitBreakers": {
            "thresholds": [
                {
                    "maxConnections": tcp.max_connections,
                    "maxPendingRequests": http.http1_max_pending_requests,
                    "maxRequests": http.http2_max_requests,
                    "maxRetries": http.max_retries,
                }
            ]
        },
        "commonLbConfig": {
            "healthyPanicThreshold": {"value": 0},
            # A change of weight or health shall act at once; the default gathers changes for a second.
            "updateMergeWindow": "0s",
        },
        "typedExtensionProtocolOptions": {_HTTP_OPTIONS: any_of(_HTTP_OPTIONS, options)},
    }
    if "." in pool.name:
        # Envoy's statistics split names at dots, which would cut a name like llama-3.1-8b in two.
        cluster["altStatName"] = cluster_name(pool.name).replace(".", "_")
    if pool.traffic_policy.outlier_detection is not None:
        cluster["outlierDetection"] = _outlier_detection(pool.traffic_policy.outlier_detection)
    return cluster


def _load_balancing(capabilities: Capabilities) -> Json:
    least_request = _policy("least_request", f"{_POLICIES}.least_request.v3.LeastRequest", {})
    if not capabilities.has(Feature.NAMED_HOSTS):
        return {"policies": [least_request]}
    override: Json = {
        # Metadata only: a header source would let clients choose the host.
        "overrideHostSources": [{"metadata": _metadata_key(DESTINATION_KEY)}],
        "fallbackPolicy": {"policies": [least_request]},
    }
    if capabilities.has(Feature.SELECTED_HOST):
        override["selectedHostKey"] = _metadata_key(SERVED_KEY)
    return {"policies": [_policy("override_host", f"{_POLICIES}.override_host.v3.OverrideHost", override)]}


def _policy(name: str, full_name: str, fields: Json) -> Json:
    return {"typedExtensionConfig": extension(f"envoy.load_balancing_policies.{name}", full_name, fields)}


def _metadata_key(key: str) -> Json:
    return {"key": LB_NAMESPACE, "path": [{"key": key}]}


def _outlier_detection(settings: OutlierDetection) -> Json:
    """Only what the policy names ejects: Envoy's statistical ejections are on by default and are switched off here.

    Failures to connect are counted apart from answers (`splitExternalLocalOriginErrors`) with the same threshold, so an
    answer in between does not hide a port that refuses, nor the other way round.
    """
    consecutive = settings.consecutive_5xx_errors
    result: Json = {
        "consecutive5xx": consecutive,
        "interval": duration(settings.interval_s),
        "baseEjectionTime": duration(settings.base_ejection_time_s),
        "maxEjectionPercent": settings.max_ejection_percent,
        "splitExternalLocalOriginErrors": True,
        "consecutiveLocalOriginFailure": consecutive,
        "enforcingSuccessRate": 0,
        "enforcingLocalOriginSuccessRate": 0,
    }
    if settings.consecutive_gateway_errors is not None:
        result["consecutiveGatewayFailure"] = settings.consecutive_gateway_errors
        result["enforcingConsecutiveGatewayFailure"] = 100
    return result


def kvpilot_cluster(services: Services) -> Json:
    """The cluster of ext_proc and access logs: checked twice a second, so a hung picker is passed by soon."""
    interval = duration(PICKER_HEALTH_CHECK_S)
    return {
        "name": KVPILOT_CLUSTER,
        "type": "STATIC",
        "connectTimeout": duration(PICKER_CONNECT_TIMEOUT_S),
        "loadAssignment": {
            "clusterName": KVPILOT_CLUSTER,
            "endpoints": [{"lbEndpoints": [{"endpoint": {"address": socket_address(services.ext_proc)}}]}],
        },
        "typedExtensionProtocolOptions": {
            _HTTP_OPTIONS: any_of(_HTTP_OPTIONS, {"explicitHttpConfig": {"http2ProtocolOptions": {}}})
        },
        "circuitBreakers": {
            "thresholds": [
                {
                    "maxConnections": PICKER_STREAMS,
                    "maxPendingRequests": PICKER_STREAMS,
                    "maxRequests": PICKER_STREAMS,
                    "maxRetries": PICKER_STREAMS,
                }
            ]
        },
        "healthChecks": [
            {
                "timeout": interval,
                "interval": interval,
                # Before the first request there is "no traffic", and its default interval is a minute.
                "noTrafficInterval": interval,
                "unhealthyThreshold": 1,
                "healthyThreshold": 1,
                "grpcHealthCheck": {"serviceName": PICKER_SERVICE},
            }
        ],
        # 0: an unhealthy picker is not asked at all, and its requests fail open without waiting.
        "commonLbConfig": {"healthyPanicThreshold": {"value": 0}},
    }
