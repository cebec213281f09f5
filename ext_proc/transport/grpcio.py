"""ext_proc, access logs and health on one `grpc.aio` server.

    transport = GrpcTransport(exchanges, logs, HealthWire(messages))
    (bound,) = await transport.start(["127.0.0.1:9002"])
    ...
    await transport.stop(grace_s=2.0)

A stream may end by the client's half-close, its reset, the connection's loss, an error of ours or our shutdown; grpc
reports these as end of file, `CancelledError` or `GeneratorExit`, at random. So all bookkeeping is in one `finally`,
synchronous, and harmless when repeated.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import grpc

from ext_proc.core.exchange import Code, ExchangeError
from ext_proc.transport.binding import listen
from ext_proc.transport.health import Health
from ext_proc.transport.interface import ExchangeHandler, LogHandler, StreamHandler
from ext_proc.wire_health import HealthWire, ServingStatus

MAX_MESSAGE_BYTES: Final = 64 << 20
"""The largest request that is looked at: four times the policy's default limit on bodies. A larger one ends the stream
with RESOURCE_EXHAUSTED, and Envoy goes on without a pick."""

LINGER_S: Final = 0.5
"""How long new streams are still answered after health says NOT_SERVING: one interval of Envoy's health check."""

# What the last status of calls that we end may take, also where no grace is left. gRPC sends it after our handler has
# returned, and a server that is stopped before that ends them as UNAVAILABLE.
_FAREWELL_S: Final = 0.2

# Who called within this time is taken to be still there when we stop: several intervals of a health check.
_PEER_MEMORY_S: Final = 2.0

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", -1),
    # With the default, two servers would share one port in silence.
    ("grpc.so_reuseport", 0),
    # A stream stays open as long as its HTTP request: minutes, thousands at a time.
    ("grpc.max_concurrent_streams", 0x7FFFFFFF),
    # Envoy may ping as often as its operator likes.
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 0),
)

_STATUS: Final = {
    Code.INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    Code.UNIMPLEMENTED: grpc.StatusCode.UNIMPLEMENTED,
}


class _OpenStream:
    """One ext_proc stream. Mutable: `is_busy`, `is_closed_by_us`; written by its own task and by `close`."""

    __slots__ = ("handler", "is_busy", "is_closed_by_us", "task")

    def __init__(self, handler: StreamHandler, task: "asyncio.Task[Any]") -> None:
        self.handler = handler
        self.task = task
        self.is_busy = False
        self.is_closed_by_us = False

    def close_if_answered(self) -> None:
        """Ends the stream with status OK, unless an answer is still owed or being written."""
        if self.handler.is_answered and not self.is_busy:
            self.is_closed_by_us = True
            self.task.cancel()


class GrpcTransport:
    """Mutable: the server, what is open on it, how far its end has come. All on one event loop."""

    def __init__(self, exchanges: ExchangeHandler, logs: LogHandler, health_wire: HealthWire) -> None:
        """Serves these two handlers; health is kept here."""
        self.health = Health()
        self._exchanges = exchanges
        self._logs = logs
        self._health_wire = health_wire
        self._server: Any = None
        self._streams: set[_OpenStream] = set()
        self._sidelines: set[asyncio.Task[Any]] = set()
        self._is_closing = False
        self._is_ending = False
        self._last_call = float("-inf")

    @property
    def open_streams(self) -> int:
        """How many ext_proc streams are open now."""
        return len(self._streams)

    async def start(self, addresses: Sequence[str], credentials: Any = None) -> list[str]:
        """Listens on `addresses` and gives the bound ones; raises `BindError` or `ValueError`.

        With `credentials` (`grpc.ServerCredentials`) it speaks TLS, without them plaintext.
        """
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(self._handlers())
        bound = await listen(server, addresses, credentials)
        self._server = server
        self.health.set_serving(True)
        return bound

    async def stop(self, grace_s: float) -> None:
        """Stops within `grace_s`: says NOT_SERVING, closes who is answered, answers who comes, then ends.

        What it ends by itself ends with status OK, for which there is a moment beyond `grace_s` if need be. Harmless
        when called twice or before `start`.
        """
        server, self._server = self._server, None
        if server is None:
            return
        now = asyncio.get_running_loop().time
        deadline = now() + grace_s
        self.health.set_serving(False)
        self._is_closing = True
        for stream in list(self._streams):
            stream.close_if_answered()
        if self._streams or self._sidelines or now() - self._last_call < _PEER_MEMORY_S:
            await asyncio.sleep(min(LINGER_S, grace_s / 2))
        self._is_ending = True
        ended = set(self._sidelines)
        for task in ended:
            task.cancel()
        ended |= {stream.task for stream in self._streams if stream.is_closed_by_us}
        if ended:
            await asyncio.wait(ended, timeout=max(_FAREWELL_S, deadline - now()))
        await server.stop(max(0.0, deadline - now()))

    def _handlers(self) -> tuple[Any, ...]:
        return (
            grpc.method_handlers_generic_handler(
                "envoy.service.ext_proc.v3.ExternalProcessor",
                {"Process": grpc.stream_stream_rpc_method_handler(self._process)},
            ),
            grpc.method_handlers_generic_handler(
                "envoy.service.accesslog.v3.AccessLogService",
                {"StreamAccessLogs": grpc.stream_unary_rpc_method_handler(self._log)},
            ),
            grpc.method_handlers_generic_handler(
                "grpc.health.v1.Health",
                {
                    "Check": grpc.unary_unary_rpc_method_handler(self._check),
                    "Watch": grpc.unary_stream_rpc_method_handler(self._watch),
                },
            ),
        )

    def _note_call(self) -> None:
        self._last_call = asyncio.get_running_loop().time()

    async def _process(self, _requests: object, context: Any) -> None:
        self._note_call()
        task = asyncio.current_task()
        assert task is not None
        stream = _OpenStream(self._exchanges.open(), task)
        self._streams.add(stream)
        try:
            await self._exchange(stream, context)
        except ExchangeError as error:
            await context.abort(_STATUS[error.code], str(error))
        except asyncio.CancelledError:
            if not stream.is_closed_by_us:
                raise
            # Returning normally is what makes the status OK; the cancellation was ours and is dealt with.
            stream.task.uncancel()
        finally:
            self._streams.discard(stream)
            stream.handler.ended(by_us=stream.is_closed_by_us)

    async def _exchange(self, stream: _OpenStream, context: Any) -> None:
        handler = stream.handler
        reading: asyncio.Task[Any] | None = None
        sent: asyncio.Future[list[bytes]] | None = None
        try:
            while (data := await (context.read() if reading is None else reading)) is not grpc.aio.EOF:
                reading = None
                stream.is_busy = True
                for answer in handler.feed(data):
                    await context.write(answer)
                while (later := handler.later) is not None and later is not sent:
                    # Meanwhile Envoy may say that the client went away, by ending the stream. A read cannot be taken
                    # back, so it goes on after the answer.
                    reading = reading or asyncio.ensure_future(context.read())
                    await asyncio.wait({reading, later}, return_when=asyncio.FIRST_COMPLETED)
                    if not later.done():
                        break
                    sent = later
                    for answer in later.result():
                        await context.write(answer)
                else:
                    stream.is_busy = False
                if self._is_closing and handler.is_answered:
                    stream.is_closed_by_us = True
                    return
        finally:
            if reading is not None and not reading.cancel() and not reading.cancelled():
                reading.exception()  # fetched, so that nobody reports it: the stream is over

    async def _log(self, requests: AsyncIterator[bytes], _context: object) -> bytes:
        with self._sideline():
            async for data in requests:
                self._logs.feed(data)
        return self._logs.answer

    async def _check(self, data: bytes, context: Any) -> bytes:
        self._note_call()
        status = self.health.check(await self._service(data, context))
        if status is ServingStatus.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self._health_wire.encode(status)

    async def _watch(self, data: bytes, context: Any) -> None:
        with self._sideline():
            async for status in self.health.watch(await self._service(data, context)):
                await context.write(self._health_wire.encode(status))

    async def _service(self, data: bytes, context: Any) -> str:
        try:
            return self._health_wire.decode(data)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise AssertionError("abort raises") from None

    @contextmanager
    def _sideline(self) -> Iterator[None]:
        """A call that lives until the peer or `stop` ends it; then it ends with status OK."""
        task = asyncio.current_task()
        assert task is not None
        self._sidelines.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._is_ending:
                raise
            task.uncancel()
        finally:
            self._sidelines.discard(task)
            self._note_call()
