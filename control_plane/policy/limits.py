"""Limits on what one Envoy sends to a pool: connections, requests, retries. Istio's `connectionPool`."""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.scalars import MAX_UINT32, Choice, Integer, Percent
from control_plane.policy.units import Duration

MAX_STREAMS_PER_CONNECTION = 2**31 - 1
"""Largest value that Envoy takes for `Http2ProtocolOptions.max_concurrent_streams`."""

_KERNEL_MAX = 32_767
"""Largest number of probes or seconds that Linux takes for TCP keep-alive (`tcp(7)`, `MAX_TCP_KEEPIDLE`)."""


@block()
class TcpKeepalive(Block):
    """Probes of the kernel on connections that are silent: a dead peer is noticed although nothing is sent."""

    probes: int = setting(Integer(1, 127), default=3, doc="Probes without an answer until the connection is dead.")
    time_s: float = setting(
        Duration("1s", f"{_KERNEL_MAX}s"), default=30.0, doc="Silence before the first probe; whole seconds."
    )
    interval_s: float = setting(
        Duration("1s", f"{_KERNEL_MAX}s"), default=5.0, doc="Time between two probes; whole seconds."
    )


@block()
class TcpSettings(Block):
    """Limits on connections."""

    max_connections: int = setting(
        Integer(1, MAX_UINT32), default=4096, doc="Connections to the pool at once, per Envoy (circuit breaker)."
    )
    max_connections_per_endpoint: int | None = setting(
        OrWord(Integer(1, MAX_UINT32), "off", "no such limit"),
        default=None,
        doc="Connections to one endpoint at once, per Envoy (circuit breaker). With HTTP/1.1 a connection carries one "
        "request, so it is also the number of requests that one Envoy has at an endpoint; more wait for one of them.",
    )
    connect_timeout_s: float = setting(
        Duration("1ms", "60s"), default=1.0, doc="How long a connection to an endpoint may take to be made."
    )
    max_connection_duration_s: float | None = setting(
        OrWord(Duration("1s", "720h"), "off", "no limit"),
        default=None,
        doc="Age at which a connection gets no further request and is closed once it is idle.",
    )
    tcp_keepalive: TcpKeepalive | None = setting(
        OrWord(BlockOf(TcpKeepalive), "off", "no probes"),
        default=None,
        doc="Probes of the kernel on silent connections; a long generation is such a silence.",
    )


@block()
class RetryBudget(Block):
    """Retries as a share of the requests that are in flight."""

    # When a zone goes dark, all that was sent there is tried again: about half of what is in flight at a time, if
    # answers take as long to begin as the limit on first bytes. With less, the rest would be lost.
    percent: int = setting(
        Percent(), default=50, doc="Retries at once, as a percentage of the requests that are active or pending."
    )
    min_retry_concurrency: int = setting(
        Integer(0, MAX_UINT32),
        default=64,
        doc="Retries at once that are always allowed, however few requests there are.",
    )


@block(planned={"useClientProtocol": "the client's protocol towards the engines"})
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
    # A quarter of the requests that there may be: enough when a zone goes dark, since a retry counts until its answer
    # begins, and a bound when nearly everything fails.
    max_retries: int = setting(
        Integer(0, MAX_UINT32), default=1024, doc="Retries at once, per Envoy (circuit breaker)."
    )
    retry_budget: RetryBudget | None = setting(
        OrWord(BlockOf(RetryBudget), "off", "`maxRetries` holds"),
        default=None,
        doc="Retries at once as a share of the requests in flight, in place of `maxRetries`.",
    )
    max_requests_per_connection: int = setting(
        Integer(0, MAX_UINT32), default=0, doc="Requests after which a connection is closed; 0: no limit."
    )
    idle_timeout_s: float = setting(
        Duration("1ms", "24h"),
        default=4.0,
        doc="How long an unused connection is kept. Less than the engine's own keep-alive (5 s in uvicorn), or "
        "requests meet connections that the engine is closing.",
    )
    h2_upgrade_policy: str = setting(
        Choice(("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE")),
        default="DEFAULT",
        doc="`UPGRADE`: HTTP/2 towards the engines, without asking whether they speak it. Else HTTP/1.1, which all "
        "engines speak.",
    )
    max_concurrent_streams: int | None = setting(
        OrWord(Integer(1, MAX_STREAMS_PER_CONNECTION), "off", "as many as the engine takes"),
        default=None,
        doc="Requests at once on one HTTP/2 connection; needs `h2UpgradePolicy: UPGRADE`.",
    )

    @property
    def is_http2(self) -> bool:
        """Whether Envoy speaks HTTP/2 to the pool."""
        return self.h2_upgrade_policy == "UPGRADE"


@block()
class ConnectionPool(Block):
    """Limits on what one Envoy sends to the pool."""

    tcp: TcpSettings = setting(BlockOf(TcpSettings), default=TcpSettings(), doc="Limits on connections.")
    http: HttpSettings = setting(BlockOf(HttpSettings), default=HttpSettings(), doc="Limits on requests.")
