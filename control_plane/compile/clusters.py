"""Clusters: one EDS cluster per pool, and the one that leads to kvpilot itself."""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.circuit_breakers import circuit_breakers
from control_plane.compile.connections import http_options, keepalive
from control_plane.compile.health_checks import health_checks
from control_plane.compile.load_balancing import load_balancing
from control_plane.compile.names import KVPILOT_CLUSTER, cluster_name, statistics_name
from control_plane.compile.outliers import outlier_detection
from control_plane.compile.retries import retry_policy
from control_plane.compile.services import Services
from control_plane.compile.tls import ext_proc_socket, pool_socket
from control_plane.compile.typed import Json, any_of, duration, from_ads, socket_address
from control_plane.policy.model import OutlierDetection, Pool
from control_plane.policy.security import EnvoyTls

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
    """The cluster of `pool`: named hosts first, the policy's `loadBalancer` as the fallback.

    `healthyPanicThreshold` is 0: a pod that was drained or declared dead never gets traffic because too many others
    are, too; whether to use all of them anyway is the health machine's decision, and it says so through EDS. Outlier
    ejections alone cannot empty a pool, for they stop at `maxEjectionPercent`. Only `minHealthPercent` asks for it.
    """
    settings = pool.traffic_policy
    options = http_options(pool)
    common: Json = {
        "healthyPanicThreshold": {"value": _panic_percent(settings.outlier_detection)},
        # A change of weight or health shall act at once; the default gathers changes for a second.
        "updateMergeWindow": "0s",
    }
    retries = retry_policy(pool.retries, capabilities)
    if retries is not None and capabilities.has(Feature.RETRIES_PER_POOL):
        options["retryPolicy"] = retries
    cluster: Json = {
        "name": cluster_name(pool.name),
        "type": "EDS",
        "edsClusterConfig": {
            "serviceName": cluster_name(pool.name),
            "edsConfig": from_ads(),
        },
        "connectTimeout": duration(settings.connection_pool.tcp.connect_timeout_s),
        "loadBalancingPolicy": load_balancing(pool, capabilities),
        "circuitBreakers": circuit_breakers(settings.connection_pool),
        "commonLbConfig": common,
        "typedExtensionProtocolOptions": {_HTTP_OPTIONS: any_of(_HTTP_OPTIONS, options)},
    }
    if "." in pool.name:
        cluster["altStatName"] = statistics_name(cluster_name(pool.name))
    socket = pool_socket(pool)
    if socket is not None:
        cluster["transportSocket"] = socket
    if settings.outlier_detection is not None:
        cluster["outlierDetection"] = outlier_detection(settings.outlier_detection, capabilities)
    if settings.connection_pool.tcp.tcp_keepalive is not None:
        cluster["upstreamConnectionOptions"] = keepalive(settings.connection_pool.tcp.tcp_keepalive)
    checks = health_checks(pool, capabilities)
    if checks:
        cluster["healthChecks"] = checks
        # An endpoint that discovery took away goes at once, although its checks may still succeed.
        cluster["ignoreHealthOnHostRemoval"] = True
        # New endpoints are no sick ones before they were checked, or a pool that grows would move its load elsewhere.
        common["ignoreNewHostsUntilFirstHc"] = True
    return cluster


def _panic_percent(settings: OutlierDetection | None) -> int:
    return 0 if settings is None else settings.min_health_percent


def kvpilot_cluster(services: Services, tls: EnvoyTls | None = None) -> Json:
    """The cluster of ext_proc and access logs: checked twice a second, so a hung picker is passed by soon.

    With `tls` Envoy speaks TLS to it.
    """
    interval = duration(PICKER_HEALTH_CHECK_S)
    cluster: Json = {
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
    if tls is not None:
        cluster["transportSocket"] = ext_proc_socket(tls)
    return cluster
