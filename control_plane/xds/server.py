"""The ADS server on grpc.aio: streams in, sessions asked, bytes out. All decisions are in `session`.

server = XdsServer(load(), snapshot_for=lambda node: snapshot, clock=time.monotonic)
[address] = await server.start(["127.0.0.1:0"])
server.publish()            # snapshot_for may answer differently now
await server.stop()
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import grpc

from control_plane.compile.node import Node
from control_plane.xds import ledger
from control_plane.xds.admission import Admission, Hosts
from control_plane.xds.delta import DeltaDialect
from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.identity import Identity, identity_of
from control_plane.xds.kinds import short_name
from control_plane.xds.load_stats_server import LoadStatsService
from control_plane.xds.observer import Observer, Unobserved
from control_plane.xds.past import Past
from control_plane.xds.requests import DeltaRequest, SotwRequest
from control_plane.xds.session import Session
from control_plane.xds.slices import Slices
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.sotw import SotwDialect
from control_plane.xds.stream import Stream, address_of, host_of
from control_plane.xds.wire import IDENTIFIER, RequestReader, ResponseWriter
from ext_proc.transport.binding import listen
from protos.messages import Messages

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"

TICK_S = 0.5
"""How often waits are looked at: they last five seconds and more, so half a second more does not matter."""

MAX_STREAMS = 4_096
"""Streams at a time: four times the largest fleet per control plane that we plan for."""

MAX_AGE_S = 1_800.0
"""After this time, and at most half as much more, chosen at random, a stream is ended. Envoy comes back at once with
what it holds and is sent nothing; but it may find another replica, so that one that was just started gets its share.
Istio's servers do the same every 30 minutes."""

STUCK_S = 60.0
"""For a client to take one response. 10,000 endpoints are 1 MB, seconds on a bad line; a client that takes nothing for
a minute is stopped or stuck, and comes back with what it holds."""

PARTING_S = 1.0
"""For a stuck client to be told why its stream ends."""

STOP_GRACE_S = 1.0
"""For streams to end by themselves when the server stops; they are told to, so this is only for hung clients."""

_OPTIONS: Final = (
    # Two servers on one port would share its connections without a word.
    ("grpc.so_reuseport", 0),
    # A first request carries a whole list of extensions, and as many names with versions as one may subscribe to.
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    # Notices a client that is gone without a word (half-open connection) ...
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # What really counts in gRPC 1.85, a minute if not set (tests/conformance/test_xds_half_open.py).
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # ... and lets clients ask the same of us, as often as their operator has configured.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A connection takes no more streams when it is as old as a stream may get, so that one that comes back then opens
    # another, maybe elsewhere; open streams stay until they end by themselves. gRPC spreads this by a tenth.
    ("grpc.max_connection_age_ms", int(MAX_AGE_S * 1_000)),
)

_log = logging.getLogger(__name__)

_Read = Callable[[bytes], tuple[Node | None, Any]]


class XdsServer:
    """Serves ADS, state-of-the-world and delta, to any number of Envoys.

    `snapshot_for` says what an Envoy is to hold; None keeps it waiting (it goes on with what it has). `clock` gives
    monotonic seconds. `left_out` says in words what a node is not given, for the status; `places` where in the
    policy a resource comes from, for the log. `observer` is told how Envoys take it and may refuse one; `objection` is
    asked of open streams with each `publish`: a text ends them with PERMISSION_DENIED. `rng` spreads the ends of
    streams; `load_stats` is served on the same port. Mutable: the open streams, the rows of those that have gone, and
    what was served before.
    """

    def __init__(
        self,
        messages: Messages,
        snapshot_for: Callable[[Node], Snapshot | None],
        clock: Callable[[], float],
        *,
        left_out: Callable[[Node], Sequence[str]] = lambda node: (),
        places: Callable[[str], Sequence[str]] = lambda resource: (),
        observer: Observer | None = None,
        rng: random.Random | None = None,
        identifier: Callable[[Node], str] = lambda node: IDENTIFIER,
        objection: Callable[[Node, Identity | None], str | None] = lambda node, identity: None,
        load_stats: LoadStatsService | None = None,
    ) -> None:
        self._left_out = left_out
        self._identifier = identifier
        self._objection = objection
        self._places = places
        self._reader = RequestReader(messages)
        self._writer = ResponseWriter(messages)
        self._snapshot_for = snapshot_for
        self._clock = clock
        self._observer: Observer = observer or Unobserved()
        self._rng = rng or random.Random()
        self._admission = Admission()
        self._hosts = Hosts()
        self._past = Past()
        self._streams: set[Stream] = set()
        self._nodes: Counter[tuple[str, str]] = Counter()
        self._load_stats = load_stats
        if load_stats is not None:
            load_stats.is_known = self.is_serving
        self._slices = Slices[Stream, Snapshot](self._give)
        self._departed = ledger.Departed()
        self._server: Any = None
        self._ticker: asyncio.Task[None] | None = None

    async def start(self, addresses: list[str], credentials: grpc.ServerCredentials | None = None) -> list[str]:
        """Listens on `ip:port` or `unix:/path` addresses, with TLS if there are `credentials`; returns the addresses
        with the ports that the system gave for port 0.

        Raises `BindError`, and `ValueError` for what is no address; nothing is left open then.
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._methods()),))
        if self._load_stats is not None:
            server.add_generic_rpc_handlers((self._load_stats.handler(),))
        bound = await listen(server, addresses, credentials)
        self._server, self._ticker = server, asyncio.create_task(self._tick_forever(), name="xds-ticker")
        return bound

    async def stop(self) -> None:
        """Ends all streams and stops listening; Envoys keep what they have. Harmless if it was never started."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
            self._ticker = None
        self._slices.stop()
        for stream in list(self._streams):
            stream.end()
        if self._load_stats is not None:
            self._load_stats.stop()
        server, self._server = self._server, None
        if server is not None:
            await server.stop(STOP_GRACE_S)

    def publish(self) -> None:
        """Asks for every Envoy's snapshot again and pushes what differs; one that may not be here any more is told.

        All are asked for before this returns, so that whoever gives them may go by what he gave. Working out what a
        stream is owed takes longer and is done in slices; a publication meanwhile has them go on with what is newest.
        """
        for stream in list(self._streams):
            if not self._is_expelled(stream):
                snapshot = self._wanted(stream)
                if snapshot is not None:
                    self._slices.put(stream, snapshot)
        self._slices.begin()

    def _is_expelled(self, stream: Stream) -> bool:
        if stream.node is None or stream.ended:
            return stream.ended
        refusal = self._objection(stream.node, stream.identity)
        if refusal:
            _log.error("%s at %s: its stream ends: %s", stream.node.id, stream.address, refusal)
            stream.expel(refusal)
        return bool(refusal)

    def remember(self, snapshot: Snapshot) -> None:
        """Says what was served before this process began, so that Envoys that still hold it lose no cluster that their
        routes lead to; what this server serves itself it remembers by itself."""
        self._past.remember(snapshot)

    def tick(self) -> None:
        """Ends waits that have lasted too long, and streams that are old; called regularly while the server runs."""
        now = self._clock()
        for stream in list(self._streams):
            deadline = stream.session.deadline()
            if deadline is not None and deadline <= now:
                stream.push(stream.session.on_tick(now))
                self._tell_answers(stream)
            if stream.ends_at <= now:
                stream.end()

    def is_serving(self, node: str, host: str) -> bool:
        """Whether an Envoy of this id has a stream from that host."""
        return (node, host) in self._nodes

    def _count(self, node: Node, host: str, more: int) -> None:
        key = node.id, host
        self._nodes[key] += more
        if not self._nodes[key]:
            del self._nodes[key]

    def status(self) -> list[ledger.Row]:
        """One JSON-able row per Envoy, connected ones first; `ledger` has the shape."""
        known = [stream for stream in self._streams if stream.node is not None]
        rows = sorted(map(self._row, known), key=lambda row: (row["node"], row["address"]))
        return rows + self._departed.rows(frozenset(row["node"] for row in rows))

    def _row(self, stream: Stream) -> ledger.Row:
        return stream.row(connected=True) | {"left_out": list(self._left_out(stream.node)) if stream.node else []}

    def _methods(self) -> dict[str, Any]:
        async def sotw(requests: AsyncIterator[bytes], context: Any) -> None:
            session = Session[SotwRequest](SotwDialect(), self._past)
            await self._serve(session, self._reader.read_sotw, requests, context)

        async def delta(requests: AsyncIterator[bytes], context: Any) -> None:
            session = Session[DeltaRequest](DeltaDialect(), self._past)
            await self._serve(session, self._reader.read_delta, requests, context)

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
        address = address_of(context.peer())
        host, identity = host_of(address), identity_of(context)
        if len(self._streams) >= MAX_STREAMS or not self._hosts.enter(host):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many streams, here or from this host")
        stream = Stream(address, session, self._clock() + MAX_AGE_S * self._rng.uniform(1.0, 1.5), identity)
        self._streams.add(stream)
        reading = asyncio.create_task(self._read(stream, read, requests), name=f"xds-read {address}")
        try:
            await self._write(stream, context)
        finally:
            # Without an await up to here: gRPC may cancel a handler a second time while it cleans up.
            reading.cancel()
            self._forget(stream, host)
            [outcome] = await asyncio.gather(reading, return_exceptions=True)
        if stream.refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, stream.refusal)
        if isinstance(outcome, RefusedRequestError):
            await context.abort(grpc.StatusCode[outcome.code], str(outcome))
        if isinstance(outcome, Exception) and not isinstance(outcome, grpc.RpcError | grpc.aio.UsageError):
            _log.error("%s: its requests cannot be handled", address, exc_info=outcome)
            await context.abort(grpc.StatusCode.INTERNAL, "the control plane failed on a request")

    def _forget(self, stream: Stream, host: str) -> None:
        self._streams.discard(stream)
        self._slices.drop(stream)
        self._hosts.leave(host)
        if stream.node is not None:
            self._count(stream.node, host, -1)
            self._departed.left(stream.row(connected=False))
            self._tell(self._observer.disconnected, stream.node)

    async def _write(self, stream: Stream, context: Any) -> None:
        dialect = stream.session.dialect.name
        try:
            while (push := await stream.next_push()) is not None:
                assert stream.node is not None, "nobody is answered before it is known"
                identifier = self._identifier(stream.node)
                async with asyncio.timeout(STUCK_S):
                    # Without a name for the bytes: they would be kept for as long as the stream is idle.
                    await context.write(self._writer.write(dialect, push, identifier))
        except TimeoutError:
            _log.warning("%s takes nothing; its stream ends", stream.address)
            async with asyncio.timeout(PARTING_S):
                await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"a response was not taken within {STUCK_S:g} s")

    async def _read(self, stream: Stream, read: _Read, requests: AsyncIterator[bytes]) -> None:
        try:
            async for data in requests:
                node, request = read(data)
                if stream.node is None:
                    await self._admit(stream, node)
                await stream.room()
                self._receive(stream, request)
        finally:
            stream.end()

    async def _admit(self, stream: Stream, node: Node | None) -> None:
        # Only the first message is sure to carry the node.
        if node is None or not node.id:
            raise RefusedRequestError("INVALID_ARGUMENT", "the first discovery request of a stream needs a node.id")
        wait_s = self._admission.wait_s(self._clock())
        if wait_s is None:
            raise RefusedRequestError("UNAVAILABLE", "too many Envoys at once; come back")
        if wait_s:
            await asyncio.sleep(wait_s)
        refusal = self._observer.connected(node, stream.identity)
        if refusal:
            _log.error("%s refused from %s: %s", node.id, stream.address, refusal)
            raise RefusedRequestError("PERMISSION_DENIED", refusal)
        stream.node = node
        self._count(node, host_of(stream.address), 1)
        _log.info("%s connected from %s (%s)", node.id, stream.address, stream.session.dialect.name)
        snapshot = self._wanted(stream)
        if snapshot is not None:
            self._give(stream, snapshot)

    def _receive(self, stream: Stream, request: Any) -> None:
        stream.push(stream.session.on_request(request, self._clock()))
        self._tell_answers(stream)

    def _wanted(self, stream: Stream) -> Snapshot | None:
        """What it is to have; None for one that keeps what it has."""
        if stream.node is None:
            return None
        try:
            return self._snapshot_for(stream.node)
        except Exception:
            # One Envoy that nothing can be compiled for must not keep the others from their update.
            _log.exception("no snapshot for %s; it keeps what it has", stream.node.id)
            return None

    def _give(self, stream: Stream, snapshot: Snapshot) -> None:
        if stream.ended:
            return  # while it waited for its turn
        self._past.remember(snapshot)
        stream.push(stream.session.on_snapshot(snapshot, self._clock()))
        self._tell_answers(stream)

    def _tell_answers(self, stream: Stream) -> None:
        node = stream.node
        assert node is not None, "nobody is answered before it is known"
        for type_url, answer in stream.session.take_answers():
            if answer.error is None:
                self._tell(self._observer.acked, node, type_url, answer.resources)
            else:
                self._log_rejection(stream, type_url)
                self._tell(self._observer.rejected, node, type_url, answer.resources, answer.named, answer.error)

    @staticmethod
    def _tell(told: Callable[..., None], *what: object) -> None:
        try:
            told(*what)
        except Exception:
            # Whoever watches must not harm those that are watched.
            _log.exception("what an Envoy answered could not be taken in")

    def _log_rejection(self, stream: Stream, type_url: str) -> None:
        rejection = stream.session.status()[type_url].rejection
        if rejection is not None and stream.node is not None:
            kind = short_name(type_url)
            _log.error("%s rejected %s version %s: %s", stream.node.id, kind, rejection.version, rejection.text)
            for resource in rejection.resources:
                for place in self._places(resource):
                    _log.error("%s: `%s` comes from here", place, resource)
