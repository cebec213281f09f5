"""The ADS server on grpc.aio: streams in, sessions asked, bytes out. All decisions are in `session`.

server = XdsServer(load(), snapshot_for=lambda node: snapshot, clock=time.monotonic)
[address] = await server.start(["127.0.0.1:0"])
server.publish()            # snapshot_for may answer differently now
await server.stop()
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final
from urllib.parse import unquote

import grpc

from control_plane.compile.node import Node
from control_plane.xds import ledger
from control_plane.xds.delta import DeltaDialect
from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.kinds import short_name
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from control_plane.xds.session import Session
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.sotw import SotwDialect
from control_plane.xds.wire import RequestReader, ResponseWriter
from ext_proc.transport.binding import bind
from protos.messages import Messages

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"

TICK_S = 0.5
"""How often waits are looked at: they last five seconds and more, so half a second more does not matter."""

MAX_OUTBOX = 16
"""Pushes that wait for a slow client before its next request is read. A session has one in flight per type, and a
client that reads nothing but goes on asking gets no further than this."""

MAX_STREAMS = 4_096
"""Streams at a time: four times the largest fleet per control plane that we plan for."""

STOP_GRACE_S = 1.0
"""For streams to end by themselves when the server stops; they are told to, so this is only for hung clients."""

_OPTIONS: Final = (
    # Two servers on one port would share its connections without a word.
    ("grpc.so_reuseport", 0),
    # A first request carries a whole list of extensions; a response may carry a whole fleet.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Notices a client that is gone without a word (half-open connection) ...
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # ... and lets clients ask the same of us, as often as their operator has configured.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
)

_log = logging.getLogger(__name__)

_Read = Callable[[bytes], tuple[Node | None, Any]]


class _Stream:
    """One ADS stream. Mutable: all; written by its handler's tasks and by the server's methods, on one event loop."""

    def __init__(self, address: str, session: "Session[Any]") -> None:
        self.address = address
        self.session = session
        self.node: Node | None = None
        self.outbox: deque[Push] = deque()
        self.ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    def push(self, pushes: list[Push]) -> None:
        """Queues what is to be written."""
        self.outbox.extend(pushes)
        self._changed.set()

    def end(self) -> None:
        """Has the handler return once the outbox is written."""
        self.ended = True
        self._changed.set()

    async def room(self) -> None:
        """Waits until the client has taken enough of what it was sent."""
        while len(self.outbox) >= MAX_OUTBOX:
            self._room.clear()
            await self._room.wait()

    async def next_push(self) -> Push | None:
        """Waits for what is to be written next; None when the stream has ended."""
        while not self.outbox:
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        push = self.outbox.popleft()
        self._room.set()
        return push

    def row(self, *, connected: bool) -> ledger.Row:
        """Its row in the status; only for a stream whose node is known."""
        assert self.node is not None
        protocol = self.session.dialect.name
        return ledger.row(self.node, self.address, protocol, self.session.status(), connected=connected)


class XdsServer:
    """Serves ADS, state-of-the-world and delta, to any number of Envoys.

    `snapshot_for` says what an Envoy is to hold; None keeps it waiting (it goes on with what it has). `clock` gives
    monotonic seconds. `left_out` says in words what a node is not given, for the status; `places` where in the
    policy a resource comes from, for the log. Mutable: the open streams and the rows of those that have gone.
    """

    def __init__(
        self,
        messages: Messages,
        snapshot_for: Callable[[Node], Snapshot | None],
        clock: Callable[[], float],
        *,
        left_out: Callable[[Node], Sequence[str]] = lambda node: (),
        places: Callable[[str], Sequence[str]] = lambda resource: (),
    ) -> None:
        self._left_out = left_out
        self._places = places
        self._reader = RequestReader(messages)
        self._writer = ResponseWriter(messages)
        self._snapshot_for = snapshot_for
        self._clock = clock
        self._streams: set[_Stream] = set()
        self._departed = ledger.Departed()
        self._server: Any = None
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, addresses: list[str]) -> list[str]:
        """Listens on `ip:port` or `unix:/path` addresses; returns them with the ports that the system gave for port 0.

        Raises `BindError`, and `ValueError` for what is no address; nothing is left open then.
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._methods()),))
        try:
            bound = bind(server, addresses)
        except (OSError, ValueError):
            await server.stop(None)
            raise
        await server.start()
        self._server, self._ticker = server, asyncio.create_task(self._tick_forever(), name="xds-ticker")
        return bound

    async def stop(self) -> None:
        """Ends all streams and stops listening; Envoys keep what they have. Harmless if it was never started."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None
        for stream in list(self._streams):
            stream.end()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(STOP_GRACE_S)

    def publish(self) -> None:
        """Asks for every Envoy's snapshot again and pushes what differs."""
        for stream in list(self._streams):
            self._offer(stream)

    def tick(self) -> None:
        """Lets waits end that have lasted too long; called regularly while the server runs."""
        now = self._clock()
        for stream in list(self._streams):
            deadline = stream.session.deadline()
            if deadline is not None and deadline <= now:
                stream.push(stream.session.on_tick(now))

    def status(self) -> list[ledger.Row]:
        """One JSON-able row per Envoy, connected ones first; `ledger` has the shape."""
        known = [stream for stream in self._streams if stream.node is not None]
        rows = sorted(map(self._row, known), key=lambda row: (row["node"], row["address"]))
        return rows + self._departed.rows(frozenset(row["node"] for row in rows))

    def _row(self, stream: _Stream) -> ledger.Row:
        return stream.row(connected=True) | {"left_out": list(self._left_out(stream.node)) if stream.node else []}

    def _methods(self) -> dict[str, Any]:
        async def sotw(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._serve(Session[SotwRequest](SotwDialect()), self._reader.read_sotw, requests, context)

        async def delta(requests: AsyncIterator[bytes], context: Any) -> None:
            await self._serve(Session[DeltaRequest](DeltaDialect()), self._reader.read_delta, requests, context)

        # No serialisers: bytes go through as they are.
        return {
            "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(sotw),
            "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(delta),
        }

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick()

    async def _serve(self, session: "Session[Any]", read: _Read, requests: AsyncIterator[bytes], context: Any) -> None:
        if len(self._streams) >= MAX_STREAMS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"more than {MAX_STREAMS} streams")
        stream = _Stream(_address_of(context.peer()), session)
        self._streams.add(stream)
        reading = asyncio.create_task(self._read(stream, read, requests), name=f"xds-read {stream.address}")
        try:
            while (push := await stream.next_push()) is not None:
                await context.write(self._writer.write(session.dialect.name, push))
        finally:
            self._streams.discard(stream)
            if stream.node is not None:
                self._departed.left(stream.row(connected=False))
            reading.cancel()
            [outcome] = await asyncio.gather(reading, return_exceptions=True)
        if isinstance(outcome, RefusedRequestError):
            await context.abort(grpc.StatusCode[outcome.code], str(outcome))

    async def _read(self, stream: _Stream, read: _Read, requests: AsyncIterator[bytes]) -> None:
        try:
            async for data in requests:
                await stream.room()
                self._receive(stream, *read(data))
        finally:
            stream.end()

    def _receive(self, stream: _Stream, node: Node | None, request: Any) -> None:
        if stream.node is None:
            # Only the first message is sure to carry the node.
            if node is None or not node.id:
                raise RefusedRequestError("INVALID_ARGUMENT", "the first discovery request of a stream needs a node.id")
            stream.node = node
            _log.info("%s connected from %s (%s)", node.id, stream.address, stream.session.dialect.name)
            self._offer(stream)
        rejections = stream.session.rejections
        stream.push(stream.session.on_request(request, self._clock()))
        if stream.session.rejections != rejections:
            self._log_rejection(stream, request.type_url)

    def _offer(self, stream: _Stream) -> None:
        if stream.node is None:
            return
        try:
            snapshot = self._snapshot_for(stream.node)
        except Exception:
            # One Envoy that nothing can be compiled for must not keep the others from their update.
            _log.exception("no snapshot for %s; it keeps what it has", stream.node.id)
            return
        if snapshot is not None:
            stream.push(stream.session.on_snapshot(snapshot, self._clock()))

    def _log_rejection(self, stream: _Stream, type_url: str) -> None:
        rejection = stream.session.status()[type_url].rejection
        if rejection is not None and stream.node is not None:
            kind = short_name(type_url)
            _log.error("%s rejected %s version %s: %s", stream.node.id, kind, rejection.version, rejection.text)
            for resource in rejection.resources:
                for place in self._places(resource):
                    _log.error("%s: `%s` comes from here", place, resource)


def _address_of(peer: str) -> str:
    """`127.0.0.1:40000` from gRPC's `ipv4:127.0.0.1:40000`; a Unix peer stays `unix:`."""
    scheme, _, rest = unquote(peer).partition(":")
    return rest if scheme in ("ipv4", "ipv6") else peer
