"""What protects a pool: its traffic policy, retries, timeouts. The words are Istio's DestinationRule's.

The parts of a traffic policy are in modules of their own: `limits.py`, `outliers.py`, `load_balancing.py`.
"""

from control_plane.policy.blocks import BlockOf
from control_plane.policy.containers import ListOf, OrWord
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.limits import ConnectionPool
from control_plane.policy.load_balancing import LoadBalancer
from control_plane.policy.names import RESPONSE_HEADER_NAME
from control_plane.policy.outliers import OutlierDetection
from control_plane.policy.scalars import Boolean, Integer, Words
from control_plane.policy.security import PoolTls
from control_plane.policy.units import Duration

RETRY_CONDITIONS = (
    "5xx", "gateway-error", "reset", "reset-before-request", "connect-failure", "envoy-ratelimited", "retriable-4xx",
    "refused-stream", "retriable-status-codes", "retriable-headers", "http3-post-connect-failure",
    "cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
)  # fmt: skip
"""What Envoy's router knows as `x-envoy-retry-on` and, from `cancelled` on, `x-envoy-retry-grpc-on`."""

MAX_RETRIABLE_HEADERS = 16
"""Headers that make an answer worth another try: each is looked for in every answer."""


@block(planned={"portLevelSettings": "settings per port", "tunnel": "tunnels"})
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
    tls: PoolTls | None = setting(
        OrWord(BlockOf(PoolTls), "off", "plain HTTP"), default=None, doc="TLS towards the pods."
    )


@block(planned={"perTryTimeout": "a fixed limit per try; `timeouts.firstByte` is the limit that knows the prompt"})
class Retries(Block):
    """When a request is tried again, at the next endpoint that was named. Never after a byte went to the client."""

    attempts: int = setting(
        Integer(0, 10),
        default=2,
        doc="Tries after the first one; 0: none. One at most where the pick names a single endpoint.",
    )
    retry_on: str = setting(
        Words(RETRY_CONDITIONS),
        default="connect-failure,refused-stream,reset,retriable-status-codes",
        doc="What is tried again. `reset` only acts before the answer has begun.",
    )
    retriable_status_codes: tuple[int, ...] = setting(
        ListOf(Integer(400, 599)),
        # Before the first byte the client has nothing of the answer, and another engine may well give one. What fails
        # on several endpoints is rather the request's fault, and is not held against them.
        default=(500, 502, 503),
        doc="Statuses that are tried again, given `retriable-status-codes` in `retryOn`.",
    )
    retriable_headers: tuple[str, ...] = setting(
        ListOf(RESPONSE_HEADER_NAME, maximum=MAX_RETRIABLE_HEADERS),
        default=(),
        doc="An answer with one of these headers is tried again, given `retriable-headers` in `retryOn`.",
    )
    backoff_s: float = setting(
        Duration("1ms", "1m"),
        # The next try goes to another pod, so there is nothing to wait out; a little jitter keeps bursts apart. Envoy's
        # own default is 25 ms.
        default=0.01,
        doc="Longest pause before the first retry; it doubles with each, and the pause is drawn at random below it.",
    )
    max_backoff_s: float | None = setting(
        Duration("1ms", "10m"), default=None, absent=(None, "ten times `backoff`"), doc="Longest pause before a retry."
    )
    retry_ignore_previous_hosts: bool = setting(
        Boolean(),
        default=True,
        doc="Whether a retry without a pick avoids the endpoints that were tried already.",
    )
    retry_remote_localities: bool = setting(
        Boolean(),
        default=False,
        doc="Whether a retry without a pick leaves the priority that was tried already, for the next place that "
        "`localityLbSetting` names.",
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
        "the picker a duration still holds for streams; `auto`, and plain answers, then have no such limit.",
    )
    idle_s: float = setting(
        Duration("1ms", "24h"),
        # Envoy's own default for streams. It also runs between an answer's headers and its first token, and the prefill
        # of a very long prompt takes minutes.
        default=300.0,
        doc="Longest silence of a streamed answer: before its first token, and between two parts of it.",
    )
    max_stream_duration_s: float | None = setting(
        OrWord(Duration("1ms", "24h"), "off", "no such limit"),
        default=None,
        doc="One try from its first byte to the endpoint to the last one of its answer, however busy it is. It ends a "
        "stream in the middle; `request` does so as well, but counts all tries together.",
    )
