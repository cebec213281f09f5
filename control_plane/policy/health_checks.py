"""Checks that Envoy itself makes of a pool's endpoints, for the path without a pick.

The picker does not need them: it has the outcomes of all requests and each endpoint's metrics.
"""

from collections.abc import Mapping

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import ListOf, MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from control_plane.policy.names import HEADER_NAME
from control_plane.policy.scalars import Boolean, Choice, Integer, Percent, Text
from control_plane.policy.units import Duration
from ext_proc.core.address import MAX_PORT

StatusRange = tuple[int, int]
"""First and last status, both included."""

MAX_CHECK_HEADERS = 32
"""Headers of a check: a token and a few marks, not a document."""

_STATUS = "[1-5][0-9]{2}"

# Characters that can stand in a request line as they are.
CHECK_PATH = Text("a path such as `/health`", r"/[!-~]*", 1024)
HOST = Text("a host name, with or without a port", r"[A-Za-z0-9._:\[\]-]+", 255)
HEADER_VALUE = Text("the value of a header (printable ASCII)", "[ -~]*", 1024)
SERVICE_NAME = Text("the name of a gRPC service (letters, digits, `.`, `_`, `/`, `-`)", "[A-Za-z0-9._/-]*", 255)


class StatusRanges(ScalarKind[StatusRange]):
    """A status such as `200`, or a range with both ends included such as `200-299`."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a status such as 200, or a range such as 200-299"

    def parse(self, text: str) -> StatusRange:
        """First and last status; raises ValueRefusedError."""
        first, dash, last = text.partition("-")
        if not (first.isdecimal() and first.isascii()) or (dash and not (last.isdecimal() and last.isascii())):
            raise ValueRefusedError(f"{quoted(text)} is not {self.noun}")
        # Envoy takes 100 to 599 (`HttpHealthCheck.expected_statuses`).
        if not all(len(end) == 3 and "1" <= end[0] <= "5" for end in (first, last or first)):
            raise ValueRefusedError(f"{quoted(text)} is not in 100..599", code=Code.OUT_OF_BOUNDS)
        found = int(first), int(last or first)
        if found[0] > found[1]:
            raise ValueRefusedError(f"{quoted(text)} ends before it begins", f"{found[1]}-{found[0]}?")
        return found

    def schema(self) -> Json:
        """A number, or a text with one or two of them."""
        return {"type": ["integer", "string"], "minimum": 100, "maximum": 599, "pattern": f"^{_STATUS}(?:-{_STATUS})?$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "status, or range such as `200-299`"

    def plain(self, value: StatusRange) -> int | str:
        """One number, or both with a dash."""
        return value[0] if value[0] == value[1] else f"{value[0]}-{value[1]}"


@block()
class HttpCheck(Block):
    """A request over HTTP, in the protocol that requests have (`h2UpgradePolicy`)."""

    path: str = setting(CHECK_PATH, default="/health", doc="What is asked for.")
    host: str = setting(HOST, default="", absent=("", "the name of the pool"), doc="The Host header.")
    method: str = setting(Choice(("GET", "HEAD", "POST", "OPTIONS")), default="GET", doc="The method.")
    expected_statuses: tuple[StatusRange, ...] = setting(
        ListOf(StatusRanges(), minimum=1),
        default=((200, 200),),
        doc="Statuses that are a success. Any other one is a failure that counts towards `unhealthyThreshold`.",
    )
    headers: Mapping[str, str] = setting(
        MapOf(HEADER_NAME, HEADER_VALUE, MAX_CHECK_HEADERS),
        default_factory=dict,
        hash=False,
        doc="Further headers, such as `authorization`.",
    )


@block()
class GrpcCheck(Block):
    """A call of `grpc.health.v1.Health/Check`; the pool must be asked by HTTP/2 (`h2UpgradePolicy: UPGRADE`)."""

    service_name: str = setting(SERVICE_NAME, default="", absent=("", "the whole server"), doc="The service asked for.")
    authority: str = setting(HOST, default="", absent=("", "the name of the pool"), doc="The `:authority`.")


@block()
class TcpCheck(Block):
    """A connection that is made and closed again."""


@block()
class HealthCheck(Block):
    """How Envoy checks the endpoints of a pool: exactly one of `http`, `grpc` and `tcp`.

    An endpoint is used without a pick only while its checks succeed and discovery calls it healthy; a new one waits for
    its first check. What the picker names is used all the same. Each Envoy checks for itself.
    """

    http: HttpCheck | None = setting(BlockOf(HttpCheck), default=None, absent=(None, ""), doc="A request over HTTP.")
    grpc: GrpcCheck | None = setting(BlockOf(GrpcCheck), default=None, absent=(None, ""), doc="A gRPC health check.")
    tcp: TcpCheck | None = setting(BlockOf(TcpCheck), default=None, absent=(None, ""), doc="A connection, no more.")
    port: int | None = setting(
        Integer(1, MAX_PORT), default=None, absent=(None, "that of the endpoint"), doc="Port that is checked."
    )
    interval_s: float = setting(Duration("10ms", "1h"), default=5.0, doc="Time between two checks of an endpoint.")
    timeout_s: float = setting(Duration("1ms", "1h"), default=1.0, doc="How long a check may take; it fails then.")
    unhealthy_threshold: int = setting(
        Integer(1, 1000), default=2, doc="Failures in a row that take an endpoint out. The very first check needs one."
    )
    healthy_threshold: int = setting(
        Integer(1, 1000), default=1, doc="Successes in a row that bring it back. The very first check needs one."
    )
    no_traffic_interval_s: float | None = setting(
        Duration("10ms", "24h"),
        default=None,
        absent=(None, "that of `interval`"),
        doc="Time between two checks while the pool has never had a request from this Envoy.",
    )
    unhealthy_interval_s: float | None = setting(
        Duration("10ms", "1h"),
        default=None,
        absent=(None, "that of `interval`"),
        doc="Time between two checks of an endpoint that is out.",
    )
    initial_jitter_s: float = setting(
        Duration("0s", "1h"), default=0.0, doc="Up to how long, at random, the first check of an endpoint waits."
    )
    interval_jitter_percent: int = setting(
        Percent(), default=0, doc="Up to how much longer, at random, `interval` is, so that Envoys do not keep step."
    )
    reuse_connection: bool = setting(Boolean(), default=True, doc="Whether checks of one endpoint share a connection.")
