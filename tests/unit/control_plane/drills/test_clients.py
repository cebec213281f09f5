"""The load of a drill."""

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from control_plane.drills import clients
from control_plane.drills.clients import Clients
from control_plane.drills.facts import Sent
from control_plane.drills.model import Load, Step

GOOD = {"choices": [{"message": {"content": "a"}}], "usage": {}}

PATIENCE_S = 20.0
"""Nobody who is answered waits this long unless the test has failed."""


class Somewhere:
    """A ground of which only the URL matters here."""

    def __init__(self, url: str) -> None:
        """`url` is what requests are sent to."""
        self.url = self.admin = url

    def declared(self, address: str) -> str:
        """As it is."""
        return address

    async def begin(self, step: Step) -> None:
        """Nothing."""

    async def end(self, step: Step) -> None:
        """Nothing."""


@pytest.mark.parametrize("hangs", [True, False])
async def test_some_leave(monkeypatch: pytest.MonkeyPatch, *, hangs: bool) -> None:
    """Half of the clients go away from a server that hangs, the others wait; who is answered in time has not left."""
    monkeypatch.setattr(clients, "LEAVES_S", 0.1 if hangs else PATIENCE_S)
    forever = asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        if hangs:
            await forever.wait()
        return web.json_response(GOOD)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told: list[Sent] = []
    try:
        async with aiohttp.ClientSession() as session:
            load = Load(rate=80, streamed=0, leaving=50, timeout_s=1.0 if hangs else PATIENCE_S)
            sending = Clients(
                session, Somewhere(f"http://127.0.0.1:{runner.addresses[0][1]}"), load, ("m",), told.append
            )
            await sending.send(time.monotonic(), 0.1)
    finally:
        forever.set()
        await runner.cleanup()
    assert len(told) == 8
    assert [sum(one.is_left for one in told), sum(one.is_timed_out for one in told)] == ([4, 4] if hangs else [0, 0])
    assert not any(one.is_lost or one.is_cut for one in told)
    assert sorted(told, key=id) == sorted(sending.sent, key=id)
