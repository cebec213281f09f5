"""Asks the admin server of a sidecar, and asks its picker as Envoy does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import grpc

from control_plane.sidecar.sidecar import Sidecar
from tests.unit.ext_proc import envoy_messages as envoy

PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LOGS = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


@asynccontextmanager
async def admin_of(sidecar: Sidecar) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of the sidecar's admin server; paths are relative to it."""
    connector, host = None, sidecar.admin_address
    if host.startswith("unix:"):
        connector, host = aiohttp.UnixConnector(host.removeprefix("unix:")), "socket"
    async with aiohttp.ClientSession(
        f"http://{host}", connector=connector, timeout=aiohttp.ClientTimeout(10)
    ) as session:
        yield session


async def get(session: aiohttp.ClientSession, path: str, status: int = 200) -> Any:
    """The JSON value at `path`, which must come with `status`."""
    async with session.get(path) as response:
        assert response.status == status, await response.text()
        assert response.content_type == "application/json"
        return await response.json()


async def text(session: aiohttp.ClientSession, path: str, status: int = 200) -> str:
    """The text at `path`, which must come with `status`."""
    async with session.get(path) as response:
        assert response.status == status
        return await response.text()


async def pick(sidecar: Sidecar) -> str:
    """One request of an Envoy, ended at once; the decision's id."""
    async with asyncio.timeout(10), grpc.aio.insecure_channel(sidecar.ext_proc_address) as channel:
        call = channel.stream_stream(PROCESS)()
        await call.write(envoy.body())
        decision = str(envoy.metadata(bytes(await call.read()))["kvpilot-decision"])
        await call.done_writing()
        await call.code()
    return decision


async def log(sidecar: Sidecar, *entries: Any) -> None:
    """Access log records, as Envoy sends them."""
    async with asyncio.timeout(10), grpc.aio.insecure_channel(sidecar.ext_proc_address) as channel:
        call = channel.stream_unary(LOGS)()
        await call.write(envoy.log_message(*entries))
        await call.done_writing()
        await call
