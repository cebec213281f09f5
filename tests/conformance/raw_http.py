"""HTTP/1.1 as raw bytes, on both sides of an Envoy: scripted pods, and a client that sends exactly what a test says."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h2.config
import h2.connection
import h2.events

CLIENT_TIMEOUT_S = 30.0
"""Only bounds a failure."""

_SSE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"


@dataclass
class Received:
    """One request as a pod saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Pod:
    """An HTTP/1.1 server with scripted behaviour. Mutable: `behaviour`, set by tests, and what it `received`."""

    behaviour: str = "json"
    received: list[Received] = field(default_factory=list)
    address: str = ""
    usage: dict[str, Any] = field(
        default_factory=lambda: {
            "prompt_tokens": 12,
            "completion_tokens": 3,
            "prompt_tokens_details": {"cached_tokens": 8},
        }
    )
    extra_headers: str = ""
    plain_delay_s: float = 0.0
    hold: asyncio.Event | None = None
    """Plain answers wait for it."""
    padding: int = 0
    _server: asyncio.Server | None = None
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self._stopping.set()
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                request = await _read_request(reader)
                self.received.append(request)
                if not await self._answer(request, writer):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> bool:
        if self.behaviour == "reset":
            return False
        if self.behaviour == "hang":
            await self._stopping.wait()
            return False
        if self.behaviour == "503":
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nfull")
        elif self.behaviour == "sse":
            writer.write(_SSE_HEAD)
            events = [{"choices": [{"delta": {"content": "a"}}]}, {"choices": [], "usage": self.usage}]
            for text in [*(json.dumps(event) for event in events), "[DONE]"]:
                data = f"data: {text}\n\n".encode()
                writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            writer.write(b"0\r\n\r\n")
        elif self.behaviour == "stall":
            writer.write(_SSE_HEAD)
            await writer.drain()
            await self._stopping.wait()
            return False
        else:
            await asyncio.sleep(self.plain_delay_s)
            if self.hold is not None:
                await self.hold.wait()
            body = json.dumps(
                {"pod": self.address, "received": len(request.body), "usage": self.usage, "pad": "x" * self.padding}
            ).encode()
            head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{self.extra_headers}"
            writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        return True


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


@dataclass
class Reply:
    """What a client got."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The OpenAI-shaped error; fails when the answer is not one."""
        assert self.headers["content-type"].startswith("application/json"), (self.headers, self.body)
        error: dict[str, Any] = self.json["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


async def http1(
    address: str,
    path: str,
    body: bytes | None = None,
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    chunked: bool = False,
) -> Reply:
    """One HTTP/1.1 request with exactly these headers, as raw bytes."""
    reader, writer = await asyncio.open_connection(*_host_and_port(address))
    lines = {"host": "lab", "connection": "close", **(headers or {})}
    if body is not None:
        lines |= {"transfer-encoding": "chunked"} if chunked else {"content-length": str(len(body))}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    sender = asyncio.create_task(_send(writer, head.encode(), body, chunked))
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            return await _read_reply(reader)
    finally:
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)
        writer.close()


async def _send(writer: asyncio.StreamWriter, head: bytes, body: bytes | None, chunked: bool) -> None:
    # Beside the reading, for an answer such as 413 comes before the body has gone.
    writer.write(head)
    for start in range(0, len(body or b""), 65536):
        part = (body or b"")[start : start + 65536]
        writer.write(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)
        await writer.drain()
    if chunked:
        writer.write(b"0\r\n\r\n")
    await writer.drain()


async def _read_reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Reply(int(first.split(" ")[1]), headers, body)


async def http2(address: str, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Reply:
    """One POST over HTTP/2 with prior knowledge; an answer may come before the body has gone."""
    reader, writer = await asyncio.open_connection(*_host_and_port(address))
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    pseudo = [(":method", "POST"), (":path", path), (":authority", "lab"), (":scheme", "http")]
    connection.send_headers(1, [*pseudo, *(headers or {}).items()])
    reply = Reply(0, {}, b"")
    sent, ended = 0, False
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            while not ended:
                while sent < len(body) and (room := connection.local_flow_control_window(1)) > 0:
                    part = body[sent : sent + min(room, connection.max_outbound_frame_size)]
                    sent += len(part)
                    connection.send_data(1, part, end_stream=sent == len(body))
                writer.write(connection.data_to_send())
                data = await reader.read(65536)
                events = connection.receive_data(data) if data else [h2.events.StreamEnded(stream_id=1)]
                for event in events:
                    ended = _took(event, reply, connection) or ended
    finally:
        writer.close()
    return reply


def _took(event: h2.events.Event, reply: Reply, connection: h2.connection.H2Connection) -> bool:
    """Adds `event` to `reply`; whether it was the last one."""
    if isinstance(event, h2.events.ResponseReceived):
        reply.headers = dict(event.headers)
        reply.status = int(reply.headers[":status"])
    elif isinstance(event, h2.events.DataReceived):
        reply.body += event.data
        connection.acknowledge_received_data(event.flow_controlled_length, 1)
    return isinstance(event, h2.events.StreamEnded | h2.events.StreamReset)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def raw(address: str, data: bytes) -> Reply:
    """The answer to exactly these bytes, which need not be a request."""
    reader, writer = await asyncio.open_connection(*_host_and_port(address))
    writer.write(data)
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            return await _read_reply(reader)
    finally:
        writer.close()


class Upload:
    """A POST of JSON whose body stops in the middle until it is told to go on. Mutable: the connection."""

    def __init__(self, address: str, path: str) -> None:
        self._address, self._path = address, path
        self._rest = b""

    async def __aenter__(self) -> "Upload":
        self._reader, self._writer = await asyncio.open_connection(*_host_and_port(self._address))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def begin(self, body: bytes) -> None:
        """Sends the headers and the first half of the body."""
        half = len(body) // 2
        head = f"POST {self._path} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\ncontent-type: application/json\r\n"
        self._writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body[:half])
        self._rest = body[half:]
        await self._writer.drain()

    async def finish(self) -> Reply:
        """Sends the rest; the answer."""
        self._writer.write(self._rest)
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            return await _read_reply(self._reader)
