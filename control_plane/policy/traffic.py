"""What protects a pool: limits, ejections, localities, retries, timeouts. The words are Istio's DestinationRule's."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.names import PLACE
from control_plane.policy.scalars import MAX_UINT32, Boolean, Integer, Percent, Words
from control_plane.policy.units import Duration

RETRY_CONDITIONS = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
)  # fmt: skip
"""What Envoy's router knows as `x-envoy-retry-on` and, from `cancelled` on, `x-envoy-retry-grpc-on`."""


@block(
    planned={
        "tcpKeepalive": "keep-alive probes of the kernel",
        "maxConnectionDuration": "a maximum age of connections",
    }
)
class TcpSettings(Block):
    """Limits on connections."""

    max_connections: int = setting(
        Integer(1, MAX_UINT32), default=4096, doc="Connections to the pool at once, per Envoy (circuit breaker)."
    )
    connect_timeout_s: float = setting(
        Duration("1ms", "60s"), default=1.0, doc="How long a connection to an endpoint may take to be made."
    )


@block(
    planned={
        "maxRequestsPerConnection": "a maximum number of requests per connection",
        "h2UpgradePolicy": "HTTP/2 towards the engines",
        "useClientProtocol": "HTTP/2 towards the engines",
        "maxConcurrentStreams": "HTTP/2 towards the engines",
    }
)
class HttpSettings(Block):
    """Limits on requests."""

    http1_max_pending_requests: int = setting(
        Integer(1, MAX_UINT32),
        default=1024,
        doc="Requests that may wait for a connection, per Envoy (circuit breaker); more are answered 503.",
    )
    http2_max_requests: int = setting(
        Integer(1, MAX_UINT32),
        default=4096,
        doc="Requests to the pool at once, per Envoy (circuit breaker), for HTTP/1.1, too; more are answered 503.",
    )
    max_retries: int = setting(Integer(0, MAX_UINT32), default=64, doc="Retries at once, per Envoy (circuit breaker).")
    idle_timeout_s: float = setting(
        Duration("1ms", "24h"),
        default=4.0,
        doc="How long an unused connection is kept. Less than the engine's own keep-alive (5 s in uvicorn), or "
        "requests meet connections that the engine is closing.",
    )


@block()
class ConnectionPool(Block):
    """Limits on what one Envoy sends to the pool."""

    tcp: TcpSettings = setting(BlockOf(TcpSettings), default=TcpSettings(), doc="Limits on connections.")
    http: HttpSettings = setting(BlockOf(HttpSettings), default=HttpSettings(), doc="Limits on requests.")


@block(
    planned={
        "minHealthPercent": "a panic threshold",
        "splitExternalLocalOriginErrors": "counting connection errors apart",
        "consecutiveLocalOriginFailures": "counting connection errors apart",
    }
)
class OutlierDetection(Block):
    """When Envoy stops using an endpoint that fails, on the path without a pick."""

    consecutive_5xx_errors: int = setting(
        Integer(0, MAX_UINT32), default=5, doc="5xx answers and failed connections in a row that eject; 0: never."
    )
    consecutive_gateway_errors: int | None = setting(
        OrWord(Integer(0, MAX_UINT32), "off", "not looked at"),
        default=None,
        doc="502, 503, 504 answers and failed connections in a row that eject; 0: never.",
    )
    interval_s: float = setting(Duration("1ms", "1h"), default=5.0, doc="How often ejected endpoints are looked at.")
    base_ejection_time_s: float = setting(
        Duration("1ms", "1h"), default=30.0, doc="How long the first ejection lasts; the n-th lasts n times as long."
    )
    max_ejection_percent: int = setting(Percent(), default=50, doc="Largest share of the pool that is ejected at once.")


@block()
class Failover(Block):
    """Where requests go when a place has no healthy endpoint left."""

    from_: str = setting(PLACE, doc="Region of the Envoy, or zone where endpoints have no region.")
    to: str = setting(PLACE, doc="Region (or zone) that takes over.")


@block(planned={"distribute": "fixed shares per locality", "failoverPriority": "failover by labels"})
class LocalityLbSetting(Block):
    """Whether endpoints near to Envoy come first."""

    enabled: bool = setting(Boolean(), default=False, doc="Whether endpoints of Envoy's own locality are preferred.")
    failover: tuple[Failover, ...] = setting(
        ListOf(BlockOf(Failover)), default=(), doc="Which place takes over for which, before all others."
    )


@block(
    planned={
        "simple": "another policy than least request",
        "consistentHash": "another policy than least request",
        "warmup": "slow start",
        "warmupDurationSecs": "slow start",
    }
)
class LoadBalancer(Block):
    """How endpoints are chosen on the path without a pick."""

    locality_lb_setting: LocalityLbSetting = setting(
        BlockOf(LocalityLbSetting), default=LocalityLbSetting(), doc="Whether endpoints near to Envoy come first."
    )


@block(planned={"tls": "TLS towards the engines", "portLevelSettings": "settings per port", "tunnel": "tunnels"})
class TrafficPolicy(Block):
    """What protects the pool; the words are those of Istio's DestinationRule."""

    connection_pool: ConnectionPool = setting(
        BlockOf(ConnectionPool), default=ConnectionPool(), doc="Limits on what one Envoy sends to the pool."
    )
    outlier_detection: OutlierDetection | None = setting(
        OrWord(BlockOf(OutlierDetection), "off", "no ejections"),
        default=OutlierDetection(),
        doc="When Envoy stops using an endpoint that fails.",
    )
    load_balancer: LoadBalancer = setting(
        BlockOf(LoadBalancer), default=LoadBalancer(), doc="How endpoints are chosen without a pick."
    )


@block(
    planned={
        "perTryTimeout": "a fixed limit per try; `timeouts.firstByte` is the limit that knows the prompt",
        "retryRemoteLocalities": "retries in other localities",
        "backoff": "the pause between tries",
    }
)
class Retries(Block):
    """When a request is tried again, at the next endpoint that was named. Never after a byte went to the client."""

    attempts: int = setting(Integer(0, 10), default=2, doc="Tries after the first one; 0: none.")
    retry_on: str = setting(
        Words(RETRY_CONDITIONS),
        default="connect-failure,refused-stream,reset,retriable-status-codes",
        doc="What is tried again. `reset` only acts before the answer has begun.",
    )
    retriable_status_codes: tuple[int, ...] = setting(
        ListOf(Integer(400, 599)),
        default=(503,),
        doc="Statuses that are tried again, given `retriable-status-codes` in `retryOn`.",
    )


@block()
class Timeouts(Block):
    """How long a request may take.

    Where a model is split over several pools, `request` and `idle` are the longest of those that get requests.
    """

    request_s: float = setting(
        Duration("1ms", "24h"), default=600.0, doc="The whole request, its tries and its answer to the last byte."
    )
    first_byte_s: float | None = setting(
        OrWord(Duration("1ms", "24h"), "auto", "the picker learns it"),
        default=None,
        doc="One try until its answer begins, for streams; plain answers get the predicted generation on top. Without "
        "the picker there is no such limit.",
    )
    idle_s: float = setting(
        Duration("1ms", "24h"),
        # Envoy's own default for streams. It also runs between an answer's headers and its first token, and the prefill
        # of a very long prompt takes minutes.
        default=300.0,
        doc="Longest silence of a streamed answer: before its first token, and between two parts of it.",
    )
