"""The gRPC server with a real client: every way in which a stream can end, and how the server itself ends."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from ext_proc.core.exchange import Code, ExchangeError
from ext_proc.transport.grpcio import MAX_MESSAGE_BYTES, GrpcTransport
from ext_proc.transport.interface import AddressInUseError
from ext_proc.wire_health import HealthWire, ServingStatus
from protos.messages import load

PATIENCE_S = 20.0
"""No test waits this long unless it has failed."""
POLL_S = 0.001

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"
HEALTH = HealthWire(load())
READINESS = b"\x0a\x09readiness"


class Stream:
    """Echoes; `error` ends the stream in error, `twice` is answered twice, `silence` not at all, `hold` is told to wait
    and answered when the test says so."""

    def __init__(self, handler: "Handler") -> None:
        self.handler = handler
        self.is_answered = False
        self.later: asyncio.Future[list[bytes]] | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Answers one message."""
        self.handler.fed.append(data)
        if data == b"error":
            raise ExchangeError(Code.UNIMPLEMENTED, "not here")
        if data == b"bug":
            raise RuntimeError("a bug")
        if data == b"silence":
            return []
        if data == b"hold":
            self.later = asyncio.get_running_loop().create_future()
            self.handler.held.put_nowait(self)
            return [b"wait"]
        self.is_answered = True
        return [data, data] if data == b"twice" else [data]

    def decide(self, *answers: bytes) -> None:
        """What was waited for has come."""
        assert self.later is not None
        self.is_answered = True
        self.later.set_result(list(answers))

    def ended(self, *, by_us: bool) -> None:
        """Notes the end."""
        self.handler.ends.put_nowait(by_us)


class Handler:
    """Stands for the picker, both for streams and for logs. Mutable: what it saw."""

    answer = b"thanks"

    def __init__(self) -> None:
        self.fed: list[bytes] = []
        self.logged: asyncio.Queue[bytes] = asyncio.Queue()
        self.ends: asyncio.Queue[bool] = asyncio.Queue()
        self.held: asyncio.Queue[Stream] = asyncio.Queue()

    def open(self) -> Stream:
        """A new stream."""
        return Stream(self)

    async def hold(self) -> Stream:
        """The next stream that was told to wait."""
        return await asyncio.wait_for(self.held.get(), PATIENCE_S)

    def feed(self, data: bytes) -> None:
        """Takes a message of a log stream."""
        self.logged.put_nowait(data)

    async def end(self) -> bool:
        """Whether the next stream to end was ended by the server."""
        return await asyncio.wait_for(self.ends.get(), PATIENCE_S)


@asynccontextmanager
async def serving(address: str = "127.0.0.1:0") -> AsyncIterator[tuple[GrpcTransport, Handler, Any]]:
    """A running transport, its handler, and a channel to it."""
    handler = Handler()
    transport = GrpcTransport(handler, handler, HEALTH)
    (bound,) = await transport.start([address])
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(bound, options=options) as channel:
            yield transport, handler, channel
    finally:
        await transport.stop(0.0)


async def exchange(call: Any, data: bytes) -> bytes:
    """Sends one message and waits for its answer."""
    await call.write(data)
    return bytes(await asyncio.wait_for(call.read(), PATIENCE_S))


async def status(call: Any) -> Any:
    """The gRPC status with which a call ended."""
    return await asyncio.wait_for(call.code(), PATIENCE_S)


async def settled(check: Callable[[], bool]) -> None:
    """Waits until `check` is true."""
    for _ in range(int(PATIENCE_S / POLL_S)):
        if check():
            return
        await asyncio.sleep(POLL_S)
    raise AssertionError("it never became true")


async def test_answers() -> None:
    """Each message gets its answers in order, and a half-close ends the stream with OK."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"one") == b"one"
        assert transport.open_streams == 1
        assert await exchange(call, b"twice") == b"twice"
        assert await call.read() == b"twice"
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await status(call) is grpc.StatusCode.OK
        assert await handler.end() is False
        assert transport.open_streams == 0


async def test_an_answer_that_comes_later() -> None:
    """Others are served while one waits; its answer comes when it is there, and the stream goes on as any other."""
    async with serving() as (_, handler, channel):
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"hold") == b"wait"
        held = await handler.hold()
        assert await exchange(channel.stream_stream(PROCESS)(), b"one") == b"one"
        held.decide(b"at last", b"and more")
        assert await asyncio.wait_for(call.read(), PATIENCE_S) == b"at last"
        assert await asyncio.wait_for(call.read(), PATIENCE_S) == b"and more"
        assert await exchange(call, b"one") == b"one"
        await call.done_writing()
        assert await status(call) is grpc.StatusCode.OK


async def test_a_wait_after_a_wait() -> None:
    """What comes later may be that it comes later still."""
    async with serving() as (_, handler, channel):
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"hold") == b"wait"
        held = await handler.hold()
        first, held.later = held.later, asyncio.get_running_loop().create_future()
        assert first is not None
        first.set_result([b"wait on"])
        assert await asyncio.wait_for(call.read(), PATIENCE_S) == b"wait on"
        held.decide(b"at last")
        assert await asyncio.wait_for(call.read(), PATIENCE_S) == b"at last"
        assert await exchange(call, b"one") == b"one"


async def test_a_message_while_another_one_waits() -> None:
    """It is answered at once, and the wait goes on."""
    async with serving() as (_, handler, channel):
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"hold") == b"wait"
        held = await handler.hold()
        assert await exchange(call, b"twice") == b"twice"
        assert await call.read() == b"twice"
        held.decide(b"at last")
        assert await asyncio.wait_for(call.read(), PATIENCE_S) == b"at last"


@pytest.mark.parametrize("is_polite", [True, False], ids=["half-close", "reset"])
async def test_a_client_that_leaves_while_it_waits(is_polite: bool) -> None:
    """The handler is told at once, whichever way the stream ends; nothing of it stays open."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"hold") == b"wait"
        await handler.hold()
        if is_polite:
            await call.done_writing()
        else:
            call.cancel()
        assert await handler.end() is False
        await settled(lambda: transport.open_streams == 0)


async def test_stop_while_an_answer_is_decided() -> None:
    """An answer that is there but not yet written is written before the stream is closed."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"hold") == b"wait"
        (await handler.hold()).decide(b"at last")
        stopping = asyncio.create_task(transport.stop(1.0))
        assert await asyncio.wait_for(call.read(), PATIENCE_S) == b"at last"
        assert await handler.end() is True
        assert await status(call) is grpc.StatusCode.OK
        await stopping


async def test_half_close_with_the_message() -> None:
    """A client that half-closes right after its message still gets the answer (T27)."""
    async with serving() as (_, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.write(b"one")
        await call.done_writing()
        assert await call.read() == b"one"
        assert await status(call) is grpc.StatusCode.OK
        assert await handler.end() is False


@pytest.mark.parametrize("messages", [[], [b"silence"], [b"one"], [b"one", b"silence"]])
async def test_client_cancels(messages: list[bytes], caplog: pytest.LogCaptureFixture) -> None:
    """A reset at any stage ends the stream once, and nobody hears an error (T26)."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.wait_for_connection()
        for message in messages:
            await call.write(message)
        await settled(lambda: transport.open_streams == 1 and handler.fed == messages)
        call.cancel()
        assert await handler.end() is False
        await settled(lambda: transport.open_streams == 0)
        assert handler.ends.empty()
    assert caplog.records == []


async def test_connection_lost() -> None:
    """A connection that goes away ends all its streams."""
    async with serving() as (transport, handler, channel):
        calls = [channel.stream_stream(PROCESS)() for _ in range(5)]
        for call in calls:
            await exchange(call, b"one")
        assert transport.open_streams == 5
        await channel.close()
        assert [await handler.end() for _ in calls] == [False] * 5
        await settled(lambda: transport.open_streams == 0)


async def test_errors() -> None:
    """An error of the exchange is the stream's gRPC status and text; the stream ends once."""
    async with serving() as (_, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.write(b"error")
        assert await status(call) is grpc.StatusCode.UNIMPLEMENTED
        assert await call.details() == "not here"
        assert await handler.end() is False
        assert handler.ends.empty()


async def test_bug() -> None:
    """An exception of our own ends that stream only, and its end is still told."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.write(b"bug")
        assert await status(call) is grpc.StatusCode.UNKNOWN
        await handler.end()
        other = channel.stream_stream(PROCESS)()
        assert await exchange(other, b"one") == b"one"
        assert transport.open_streams == 1


async def test_four_megabytes() -> None:
    """Prompts of megabytes pass in both directions."""
    data = b"x" * (4 << 20)
    async with serving() as (_, _, channel):
        assert await exchange(channel.stream_stream(PROCESS)(), data) == data


async def test_too_large() -> None:
    """A message over the limit ends the stream, not the server (T23)."""
    async with serving() as (_, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.write(b"x" * (MAX_MESSAGE_BYTES + 1))
        assert await status(call) is grpc.StatusCode.RESOURCE_EXHAUSTED
        await handler.end()
        assert await exchange(channel.stream_stream(PROCESS)(), b"one") == b"one"


async def test_many_streams() -> None:
    """Far more streams than gRPC's usual hundred are open at once on one connection."""
    async with serving() as (transport, handler, channel):
        calls = [channel.stream_stream(PROCESS)() for _ in range(300)]
        await asyncio.gather(*(exchange(call, b"one") for call in calls))
        assert transport.open_streams == 300
        for call in calls:
            await call.done_writing()
        assert [await handler.end() for _ in calls] == [False] * 300


async def test_logs() -> None:
    """Messages of a log stream are taken as they come; its end is answered."""
    async with serving() as (_, handler, channel):
        call = channel.stream_unary(LOGS)()
        await call.write(b"one")
        assert await asyncio.wait_for(handler.logged.get(), PATIENCE_S) == b"one"
        await call.write(b"two")
        await call.done_writing()
        assert await call == b"thanks"
        assert handler.logged.get_nowait() == b"two"


@pytest.mark.parametrize("request_", [b"", READINESS, b"\x0a\x08liveness"])
async def test_check(request_: bytes) -> None:
    """The known services serve while the server runs."""
    async with serving() as (_, _, channel):
        assert await channel.unary_unary(CHECK)(request_) == HEALTH.encode(ServingStatus.SERVING)


@pytest.mark.parametrize(
    ("request_", "code"), [(b"\x0a\x01x", grpc.StatusCode.NOT_FOUND), (b"\xff", grpc.StatusCode.INVALID_ARGUMENT)]
)
async def test_check_errors(request_: bytes, code: Any) -> None:
    """An unknown service and garbage get the status that the health protocol gives them."""
    async with serving() as (_, _, channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(CHECK)(request_)
        assert raised.value.code() is code


async def test_watch() -> None:
    """A watcher hears the status now, and hears of the end before the stream ends with OK."""
    async with serving() as (transport, _, channel):
        call = channel.unary_stream(WATCH)(READINESS)
        assert await call.read() == HEALTH.encode(ServingStatus.SERVING)
        stopping = asyncio.create_task(transport.stop(0.2))
        assert await call.read() == HEALTH.encode(ServingStatus.NOT_SERVING)
        assert await call.read() is grpc.aio.EOF
        assert await status(call) is grpc.StatusCode.OK
        await stopping


@pytest.mark.parametrize("grace_s", [0.0, 0.1])
async def test_the_end_of_a_watch_in_a_hurry(grace_s: float) -> None:
    """Its status is OK also where no time is left: none was given, or the machine was too busy for it."""
    async with serving() as (transport, _, channel):
        call = channel.unary_stream(WATCH)(READINESS)
        assert await call.read() == HEALTH.encode(ServingStatus.SERVING)
        stopping = asyncio.create_task(transport.stop(grace_s))
        await asyncio.sleep(0)
        time.sleep(grace_s)  # noqa: ASYNC251 - the event loop is busy until the deadline
        while await asyncio.wait_for(call.read(), PATIENCE_S) is not grpc.aio.EOF:
            pass
        assert await status(call) is grpc.StatusCode.OK
        await stopping


async def test_watch_garbage() -> None:
    """A watcher that sends garbage is told so."""
    async with serving() as (_, _, channel):
        assert await status(channel.unary_stream(WATCH)(b"\xff")) is grpc.StatusCode.INVALID_ARGUMENT


async def test_unix_socket(tmp_path: Path) -> None:
    """A Unix socket serves like a port."""
    async with serving(f"unix:{tmp_path}/s") as (_, _, channel):
        assert await exchange(channel.stream_stream(PROCESS)(), b"one") == b"one"


async def test_several_addresses(tmp_path: Path) -> None:
    """One server listens on several addresses."""
    handler = Handler()
    transport = GrpcTransport(handler, handler, HEALTH)
    bound = await transport.start(["127.0.0.1:0", f"unix:{tmp_path}/s"])
    for address in bound:
        async with grpc.aio.insecure_channel(address) as channel:
            assert await exchange(channel.stream_stream(PROCESS)(), b"one") == b"one"
    await transport.stop(0.0)


async def test_address_in_use() -> None:
    """A second server on the same port is refused, and the first one serves on."""
    handler = Handler()
    first, second = (GrpcTransport(handler, handler, HEALTH) for _ in range(2))
    (bound,) = await first.start(["127.0.0.1:0"])
    with pytest.raises(AddressInUseError, match=bound):
        await second.start([bound])
    async with grpc.aio.insecure_channel(bound) as channel:
        assert await exchange(channel.stream_stream(PROCESS)(), b"one") == b"one"
    await second.stop(0.0)
    await first.stop(0.0)


async def test_stop_closes_who_is_answered() -> None:
    """At the end, streams that have their answer are closed with OK, by us."""
    async with serving() as (transport, handler, channel):
        calls = [channel.stream_stream(PROCESS)() for _ in range(3)]
        for call in calls:
            await exchange(call, b"one")
        stopping = asyncio.create_task(transport.stop(5.0))
        for call in calls:
            assert await call.read() is grpc.aio.EOF
            assert await status(call) is grpc.StatusCode.OK
        assert [await handler.end() for _ in calls] == [True] * 3
        await stopping


async def test_stop_answers_who_waits() -> None:
    """A stream without its answer gets it during the grace, and is closed with OK right after."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.write(b"silence")
        await settled(lambda: handler.fed == [b"silence"])
        stopping = asyncio.create_task(transport.stop(PATIENCE_S))
        assert await exchange(call, b"one") == b"one"
        assert await call.read() is grpc.aio.EOF
        assert await status(call) is grpc.StatusCode.OK
        assert await handler.end() is True
        await stopping


async def test_stop_answers_who_still_comes() -> None:
    """Health says NOT_SERVING first, while new streams are still answered."""
    async with serving() as (transport, handler, channel):
        watch = channel.unary_stream(WATCH)(READINESS)
        await watch.read()
        stopping = asyncio.create_task(transport.stop(PATIENCE_S))
        assert await watch.read() == HEALTH.encode(ServingStatus.NOT_SERVING)
        call = channel.stream_stream(PROCESS)()
        assert await exchange(call, b"one") == b"one"
        assert await status(call) is grpc.StatusCode.OK
        assert await handler.end() is True
        await stopping


async def test_stop_ends_logs() -> None:
    """Log streams are ended with their answer, though Envoy would never end them."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_unary(LOGS)()
        await call.write(b"one")
        await asyncio.wait_for(handler.logged.get(), PATIENCE_S)
        stopping = asyncio.create_task(transport.stop(0.2))
        assert await asyncio.wait_for(call, PATIENCE_S) == b"thanks"
        await stopping


async def test_stop_does_not_wait_for_ever() -> None:
    """A stream that never asks is cut when the grace is over."""
    async with serving() as (transport, handler, channel):
        call = channel.stream_stream(PROCESS)()
        await call.write(b"silence")
        await settled(lambda: handler.fed == [b"silence"])
        await asyncio.wait_for(transport.stop(0.2), PATIENCE_S)
        assert await status(call) is not grpc.StatusCode.OK
        assert await handler.end() is False


async def test_stop_without_anybody() -> None:
    """A server that nobody called stops at once; stopping again, or before the start, is harmless."""
    handler = Handler()
    transport = GrpcTransport(handler, handler, HEALTH)
    await transport.stop(PATIENCE_S)
    await transport.start(["127.0.0.1:0"])
    await transport.stop(PATIENCE_S)
    await transport.stop(PATIENCE_S)


async def test_close_races_with_the_client() -> None:
    """Whoever ends the streams first, each ends once and none is left over."""
    async with serving() as (transport, handler, channel):
        calls = [channel.stream_stream(PROCESS)() for _ in range(60)]
        await asyncio.gather(*(exchange(call, b"one") for call in calls))
        for call in calls[::3]:
            call.cancel()
        for call in calls[1::3]:
            await call.done_writing()
        await asyncio.wait_for(transport.stop(PATIENCE_S), 2 * PATIENCE_S)
        ends = [await handler.end() for _ in calls]
        assert ends.count(True) >= len(calls[2::3])
        assert handler.ends.empty()
        assert transport.open_streams == 0
