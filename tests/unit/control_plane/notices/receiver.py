"""Somebody who is told: a real HTTP server on a port of the system's choice."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.kit.waiting import eventually


@dataclass(slots=True)
class Receiver:
    """Mutable: how it answers, and what it got."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: str = "ok"
    hangs: bool = False
    """Takes requests and never answers."""
    taken: list[Any] = field(default_factory=list)
    """Bodies of requests that were answered 200."""
    asked: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Path and headers of all requests."""
    port: int = 0
    scheme: str = "http"
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        """Where it is, with a path."""
        return f"{self.scheme}://{self.host}:{self.port}/hook?key=1"

    async def handle(self, request: web.Request) -> web.Response:
        """Any request."""
        body = json.loads(await request.read())
        self.asked.append((request.path_qs, {name.lower(): value for name, value in request.headers.items()}))
        while self.hangs:
            await asyncio.sleep(0.01)
        if self.status == 200:
            self.taken.append(body)
        return web.Response(status=self.status, text=self.text, headers=self.headers)

    async def took(self, count: int) -> list[Any]:
        """The first so many bodies, when they have come."""
        await eventually(lambda: len(self.taken) >= count, f"{count} notices, not {len(self.taken)}")
        return self.taken[:count]

    async def tried(self, count: int) -> None:
        """Waits for so many requests."""
        await eventually(lambda: len(self.asked) >= count, f"{count} requests, not {len(self.asked)}")


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None, **how: Any) -> AsyncIterator[Receiver]:
    """A receiver that runs."""
    receiver = Receiver(**how, scheme="https" if tls else "http")
    app = web.Application()
    app.add_routes([web.route("*", "/{rest:.*}", receiver.handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    receiver.port = runner.addresses[0][1]
    try:
        yield receiver
    finally:
        receiver.hangs = False
        await runner.cleanup()
