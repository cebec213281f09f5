"""`fault`: delays and errors on purpose, in the words of Istio's HTTPFaultInjection."""

from collections.abc import Mapping

from control_plane.policy.blocks import BlockOf
from control_plane.policy.codes import Code
from control_plane.policy.containers import MapOf
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.matching import ValueMatch
from control_plane.policy.names import HEADER_NAME
from control_plane.policy.percentages import ALL_REQUESTS, Percentage
from control_plane.policy.rate_limits import LIMITED_STATUS
from control_plane.policy.reader import Reader
from control_plane.policy.scalars import Integer
from control_plane.policy.units import Duration

MAX_FAULT_HEADERS = 16
"""Headers that a fault can ask for; a fault is for a test client or two."""


@block(planned={"exponentialDelay": "delays that vary"})
class FaultDelay(Block):
    """Requests that wait before they go on; the request's own timeout does not run yet."""

    fixed_delay_s: float = setting(Duration("1ms", "1h"), doc="How long they wait.")
    percentage: Percentage = setting(
        BlockOf(Percentage), default=ALL_REQUESTS, absent=(ALL_REQUESTS, "all"), doc="Share of the requests."
    )


@block(
    planned={
        "grpcStatus": "gRPC between client and engine",
        "http2Error": "errors of the HTTP/2 protocol",
    }
)
class FaultAbort(Block):
    """Requests that Envoy answers itself; no engine sees them."""

    # Envoy takes 200..599 (`FaultAbort.http_status`).
    http_status: int = setting(
        Integer(200, 599), doc="The status of the answer; 4xx and 5xx have an OpenAI-shaped body."
    )
    percentage: Percentage = setting(
        BlockOf(Percentage), default=ALL_REQUESTS, absent=(ALL_REQUESTS, "all"), doc="Share of the requests."
    )


@block()
class Fault(Block):
    """Faults on purpose: to see what clients do, and whether retries and timeouts are right.

    Envoy draws for each request, the delay first. Retries do not draw again. Of a listener's, a model's and a rule's
    fault the most specific one acts alone.
    """

    delay: FaultDelay | None = setting(BlockOf(FaultDelay), default=None, absent=(None, ""), doc="Requests that wait.")
    abort: FaultAbort | None = setting(BlockOf(FaultAbort), default=None, absent=(None, ""), doc="Requests that fail.")
    headers: Mapping[str, ValueMatch] = setting(
        MapOf(HEADER_NAME, BlockOf(ValueMatch), MAX_FAULT_HEADERS),
        default_factory=dict,
        hash=False,
        doc="Only requests with all of these headers; none: all requests.",
    )


def check_fault(fault: Fault, path: str, reader: Reader) -> None:
    """A fault that does nothing is a mistake."""
    if fault.delay is None and fault.abort is None:
        reader.report_at(path, Code.MISSING_KEY, "one of `delay` and `abort` is missing")


def check_abort(abort: FaultAbort, path: str, reader: Reader) -> None:
    """One status has another meaning in Envoy: it becomes a 429 (`LIMITED_STATUS`)."""
    if abort.http_status == LIMITED_STATUS:
        message = f"an abort with {LIMITED_STATUS} cannot be told from a rate limit's, and would be answered 429"
        reader.report_at(f"{path}.httpStatus", Code.UNSUPPORTED, message, "use another status")
