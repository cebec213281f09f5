"""A small laboratory round one real Envoy: a throw-away picker, an access log sink, and the process itself.

Everything listens on 127.0.0.1 with ports from the system. The picker speaks ext_proc, access logs and health checks as
bytes of `protos.messages`; it holds no logic of kvpilot's own, so that what is compiled is tested alone.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from google.protobuf import json_format

from control_plane.sidecar.envoy_process import find_envoy
from protos.messages import Messages, load

READY_TIMEOUT_S = 20.0
"""Envoy starts in half a second; a busy machine may take longer."""


@dataclass
class Seen:
    """One ext_proc stream as the picker saw it: which messages came, and the attributes of the first."""

    kinds: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    body: bytes = b""


Answer = dict[str, Any]
"""A ProcessingResponse in Envoy's JSON, or {} for an empty answer to the message."""


@dataclass
class LabPicker:
    """Answers what `answer` says, at `address` or, without one, where the system says. Mutable: `answer`, set by tests,
    `streams` seen, `logs` received."""

    messages: Messages
    answer: Callable[[Seen], Answer] = lambda seen: {}
    streams: list[Seen] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    hung: bool = False
    address: str = ""
    _server: Any = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)])
        handlers = {
            ("envoy.service.ext_proc.v3.ExternalProcessor", "Process"): grpc.stream_stream_rpc_method_handler(
                self._process
            ),
            ("envoy.service.accesslog.v3.AccessLogService", "StreamAccessLogs"): grpc.stream_unary_rpc_method_handler(
                self._access_logs
            ),
            # HealthCheckResponse{status: SERVING}
            ("grpc.health.v1.Health", "Check"): grpc.unary_unary_rpc_method_handler(self._check),
        }
        for (service, method), handler in handlers.items():
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    async def _check(self, data: bytes, context: object) -> bytes:
        if self.hung:
            await asyncio.Event().wait()
        return b"\x08\x01"

    async def _process(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        seen = Seen()
        self.streams.append(seen)
        request_class = self.messages["envoy.service.ext_proc.v3.ProcessingRequest"]
        async for data in requests:
            request = request_class.FromString(data)
            kind = request.WhichOneof("request") or ""
            seen.kinds.append(kind)
            for values in request.attributes.values():  # type: ignore[attr-defined]
                seen.attributes |= json_format.MessageToDict(values)
            if self.hung:
                await asyncio.Event().wait()
            if kind == "request_body":
                seen.body = request.request_body.body  # type: ignore[attr-defined]
                answer = self.answer(seen)
            else:
                answer = {}
            if not {"immediateResponse"} & set(answer):
                answer = {{"request_body": "requestBody", "request_headers": "requestHeaders"}[kind]: {}, **answer}
            yield self.messages.parse_json("envoy.service.ext_proc.v3.ProcessingResponse", answer).SerializeToString()

    async def _access_logs(self, requests: AsyncIterator[bytes], context: object) -> bytes:
        log_class = self.messages["envoy.service.accesslog.v3.StreamAccessLogsMessage"]
        name = ""
        try:
            async for data in requests:
                message = self.messages.to_json(log_class.FromString(data))
                identifier: Any = message.get("identifier", {})
                name = identifier.get("logName", name)
                entries: Any = message.get("httpLogs", {})
                self.logs += [{"log": name, **entry} for entry in entries.get("logEntry", [])]
        except asyncio.CancelledError:
            pass
        return b""


def pick(*addresses: str, decision: str = "d-1", first_byte_ms: int | None = None) -> Answer:
    """An answer that names `addresses` in this order."""
    metadata: dict[str, Any] = {"x-gateway-destination-endpoint": ",".join(addresses), "kvpilot-decision": decision}
    if first_byte_ms is not None:
        metadata["kvpilot-first-byte-ms"] = str(first_byte_ms)
    return {"dynamicMetadata": {"envoy.lb": metadata}}


class Envoy:
    """One Envoy process on a static configuration. Mutable: the process."""

    def __init__(self, directory: Path, bootstrap: Mapping[str, object], executable: str = "") -> None:
        self._directory = directory
        self._bootstrap = bootstrap
        self._executable = executable or find_envoy()
        self._process: asyncio.subprocess.Process | None = None
        self.admin = ""

    async def start(self) -> None:
        """Starts it and waits until it listens; fails with its log."""
        config = self._directory / "envoy.json"
        config.write_text(json.dumps(self._bootstrap))
        admin = self._directory / "admin"
        log = (self._directory / "envoy.log").open("wb")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._executable, "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1"),
                *("--admin-address-path", str(admin), "-l", "warning"),
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not await self._ready(admin):
                assert self._process.returncode is None, (self._directory / "envoy.log").read_text()[-3000:]
                await asyncio.sleep(0.02)

    async def _ready(self, admin: Path) -> bool:
        self.admin = _text_of(admin)
        if not self.admin:
            return False
        try:
            async with aiohttp.ClientSession() as session, session.get(f"http://{self.admin}/ready") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def get(self, path: str) -> Any:
        """The JSON of an admin page."""
        async with aiohttp.ClientSession() as session, session.get(f"http://{self.admin}{path}") as response:
            return await response.json(content_type=None)

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose name matches."""
        found = await self.get(f"/stats?format=json&filter={pattern}")
        return {stat["name"]: stat["value"] for stat in found["stats"] if "name" in stat}

    async def stop(self) -> None:
        """Ends the process."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


def _text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@asynccontextmanager
async def running(*things: Any) -> AsyncIterator[None]:
    """Starts all in order and stops them in the other."""
    try:
        for thing in things:
            await thing.start()
        yield
    finally:
        for thing in reversed(things):
            await thing.stop()


def lab_picker() -> LabPicker:
    """A picker that answers nothing yet."""
    return LabPicker(load())
