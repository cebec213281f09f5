"""Load reports: engines, or processes beside them, say unasked how they are. Served over gRPC on a port of its own.

    reports = LoadReports(LoadWire(messages), on_event=picker.apply, is_known=fleet.has, clock=…, counters=…)
    (bound,) = await reports.start(["0.0.0.0:9003"])
    ...
    await reports.stop(grace_s=1.0)

`protos/load_reports.proto` is the API. Who reports is at the other end of a network, so all is bounded: streams, their
messages, their rate, their silence. A stream that breaks a rule ends with a status that says which; nothing of it is
logged, since a broken reporter comes back every few seconds for ever.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import grpc

from ext_proc.core.events import LoadReported
from ext_proc.core.heard import MAX_FRESH_S
from ext_proc.counters import Counters
from ext_proc.transport.binding import listen
from ext_proc.wire_loads import LoadWire

SILENCE_S: Final = MAX_FRESH_S
"""A reporter that says nothing for so long is taken to be gone; its last numbers fade from then on at the latest."""

MAX_MESSAGE_BYTES: Final = 64 << 10
"""A heartbeat has some 50 bytes, with a few names of models a few hundred; a larger one ends its stream."""

MAX_STREAMS: Final = 4_096
"""Of all reporters: several times the endpoints that one picker has."""

MAX_STREAMS_OF_HOST: Final = 256
"""Of one host: more than engines fit on a machine, and one stranger cannot take all streams."""

MAX_RATE_PER_S: Final = 20.0
"""Heartbeats of one stream, in the long run: an engine's batch changes as often, and each costs some 100 µs."""

MAX_BURST: Final = 40
"""Heartbeats that may come at once, after a pause of the network."""

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_concurrent_streams", MAX_STREAMS_OF_HOST),
    # With the default, two servers would share one port in silence.
    ("grpc.so_reuseport", 0),
)


class _RefusedError(Exception):
    """A stream that ends; the text is for who sent it."""

    def __init__(self, status: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True)
class _Allowance:
    """Mutable: how many heartbeats a stream may send now; it grows with time."""

    left: float
    at: float

    def take(self, now: float) -> bool:
        self.left = min(float(MAX_BURST), self.left + (now - self.at) * MAX_RATE_PER_S)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class LoadReports:
    """Mutable: the server, the open streams by host, and who may report for whom. All on one event loop."""

    def __init__(
        self,
        wire: LoadWire,
        *,
        on_event: Callable[[LoadReported], None],
        is_known: Callable[[str], bool],
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        """`on_event` must not raise; `is_known` says whether an address is an endpoint's; `clock` is monotonic."""
        self.any_reporter = False
        """Whether a reporter may speak for endpoints with another IP than its own."""
        self._wire = wire
        self._on_event = on_event
        self._is_known = is_known
        self._clock = clock
        self._counters = counters
        self._open: Counter[str] = Counter()
        self._server: Any = None

    @property
    def open_streams(self) -> int:
        """How many reporters are connected."""
        return self._open.total()

    async def start(self, addresses: Sequence[str], credentials: Any = None) -> list[str]:
        """Listens on `addresses` and gives the bound ones; raises `BindError` or `ValueError`.

        With `credentials` (`grpc.ServerCredentials`) it speaks TLS, without them plaintext.
        """
        server = grpc.aio.server(options=_OPTIONS)
        methods = {"Report": grpc.stream_stream_rpc_method_handler(self._report)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("kvpilot.load.v1.LoadReports", methods),))
        bound = await listen(server, addresses, credentials)
        self._server = server
        return bound

    async def stop(self, grace_s: float) -> None:
        """Ends all streams within `grace_s`; harmless when called twice or before `start`."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(grace_s)

    async def _report(self, _requests: object, context: Any) -> None:
        host = _host_of(context.peer())
        self._open[host] += 1
        try:
            if self.open_streams > MAX_STREAMS or self._open[host] > MAX_STREAMS_OF_HOST:
                raise _RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams of reporters")
            await self._listen(host, context)
        except _RefusedError as refused:
            self._counters.load_reports_refused[refused.status.name] += 1
            await context.abort(refused.status, str(refused))
        finally:
            self._open[host] -= 1
            if not self._open[host]:
                del self._open[host]

    async def _listen(self, host: str, context: Any) -> None:
        allowance = _Allowance(MAX_BURST, self._clock())
        while True:
            try:
                # The acknowledgement as well: who reads none must not hold the stream for ever.
                async with asyncio.timeout(SILENCE_S):
                    data = await context.read()
                    if data is grpc.aio.EOF:
                        return
                    if not allowance.take(self._clock()):
                        text = f"more than {MAX_RATE_PER_S:g} heartbeats a second"
                        raise _RefusedError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
                    await context.write(self._take(data, host))
            except TimeoutError:
                text = f"no heartbeat for {SILENCE_S:g} s"
                raise _RefusedError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None

    def _take(self, data: bytes, host: str) -> bytes:
        """The answer to one heartbeat."""
        try:
            sequence, report = self._wire.decode(data, self._clock())
        except ValueError as error:
            raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
        if not self._is_known(report.address):
            raise _RefusedError(grpc.StatusCode.NOT_FOUND, f"{report.address} is an endpoint of no pool")
        if not self.any_reporter and host != report.address.rpartition(":")[0].strip("[]"):
            text = f"{report.address} is not reported from {host or 'its own address'}, and anyReporter is off"
            raise _RefusedError(grpc.StatusCode.PERMISSION_DENIED, text)
        self._counters.load_reports += 1
        self._on_event(report)
        return self._wire.acknowledgement(sequence)


def _host_of(peer: str) -> str:
    """The IP of a peer as gRPC names it, `ipv4:10.0.0.1:4711` or `ipv6:%5B::1%5D:4711`, in the form of addresses."""
    kind, _, text = peer.partition(":")
    try:
        ip = ipaddress.ip_address(unquote(text).rpartition(":")[0].strip("[]")) if kind in ("ipv4", "ipv6") else None
    except ValueError:
        ip = None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)  # a socket for both families shows IPv4 peers so
    return "" if ip is None else str(ip)
