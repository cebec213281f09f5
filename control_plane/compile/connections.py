"""How Envoy talks to a pool's endpoints: protocol, age and silence of connections."""

import math

from control_plane.compile.typed import Json, duration
from control_plane.policy.limits import HttpSettings, TcpKeepalive
from control_plane.policy.model import Pool


def http_options(pool: Pool) -> Json:
    """`HttpProtocolOptions` of the pool's cluster, without its retries."""
    settings = pool.traffic_policy.connection_pool
    common: Json = {"idleTimeout": duration(settings.http.idle_timeout_s)}
    if settings.tcp.max_connection_duration_s is not None:
        common["maxConnectionDuration"] = duration(settings.tcp.max_connection_duration_s)
    if pool.timeouts.max_stream_duration_s is not None:
        common["maxStreamDuration"] = duration(pool.timeouts.max_stream_duration_s)
    if settings.http.max_requests_per_connection:
        common["maxRequestsPerConnection"] = settings.http.max_requests_per_connection
    return {"commonHttpProtocolOptions": common, "explicitHttpConfig": _protocol(settings.http)}


def keepalive(settings: TcpKeepalive) -> Json:
    """`Cluster.upstream_connection_options`; the kernel counts whole seconds."""
    return {
        "tcpKeepalive": {
            "keepaliveProbes": settings.probes,
            "keepaliveTime": math.ceil(settings.time_s),
            "keepaliveInterval": math.ceil(settings.interval_s),
        }
    }


def _protocol(settings: HttpSettings) -> Json:
    if not settings.is_http2:
        return {"httpProtocolOptions": {}}
    streams = settings.max_concurrent_streams
    return {"http2ProtocolOptions": {} if streams is None else {"maxConcurrentStreams": streams}}
