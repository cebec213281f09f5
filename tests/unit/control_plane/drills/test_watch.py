"""What is seen of a picker through its admin server, and what a fleet is told, over HTTP."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from control_plane.drills.facts import Decided, State
from control_plane.drills.ground import FaultError
from control_plane.drills.reading import Place, read_drill
from control_plane.drills.target import Target, tell
from control_plane.drills.watch import Watch

A, B = "10.0.0.1:80", "10.0.0.2:80"
PLACES = (Place(A, "p", ""), Place(B, "p", ""))


@dataclass(slots=True)
class Fleet:
    """A server that is the admin server and the pods' fault URL at once. Mutable: what it answers and was told."""

    url: str = ""
    decisions: list[dict[str, Any]] = field(default_factory=list)
    health: str = "healthy"
    is_broken: bool = False
    notices: list[dict[str, str]] = field(default_factory=list)
    told: list[tuple[str, Any]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        """Any request."""
        if self.is_broken:
            return web.Response(status=500, text="broken")
        if request.path == "/decisions":
            return web.json_response({"decisions": self.decisions})
        if request.path == "/status":
            endpoints = [{"address": A, "health": self.health}, {"address": "10.0.0.9:80", "health": "healthy"}]
            return web.json_response({"pools": {"p": {"endpoints": endpoints}}, "notices": {"open": self.notices}})
        self.told.append((request.method, await request.json() if request.can_read_body else None))
        return web.Response()


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """It listens."""
    made = Fleet()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    async with TestServer(app) as server:
        made.url = str(server.make_url("")).rstrip("/")
        yield made


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client."""
    async with aiohttp.ClientSession() as made:
        yield made


def target(session: aiohttp.ClientSession, fleet: Fleet) -> Target:
    """The fleet as a target that allows A to be broken."""
    text = f'policy: p\nduration: 9s\nallow: {{"{A}": "{fleet.url}/fault"}}\n'
    file, diagnostics = read_drill(text, "d.yaml")
    assert file is not None, diagnostics
    return Target(session, file.drill, PLACES, fleet.url + "/", fleet.url + "/")


def decision(number: int, served: str | None, status: int | None, attempts: int) -> dict[str, Any]:
    """As `/decisions` shows one."""
    outcome = {"served": served, "status": status, "attempts": attempts}
    return {"id": f"d{number}", "time": 1000.0 + number, "endpoints": [A, B], "outcome": outcome, "reason": "x"}


async def test_decisions_and_states(session: aiohttp.ClientSession, fleet: Fleet) -> None:
    """What came of a decision is known from the look on that shows it; changes of state alone are kept."""
    ground = target(session, fleet)
    watch = Watch(session, ground, rate=10)
    fleet.decisions = [decision(1, None, None, 1)]
    for health in ("healthy", "healthy", "ejected"):
        fleet.health = health
        await watch.look_at_states(0.0)
    await watch.look_at_decisions(0.0, lambda _: False)
    assert watch.decided(1000.0, lambda _: False) == [Decided(at_s=1.0, named=(A, B))]
    fleet.decisions = [decision(2, A, 200, 1), decision(1, B, 200, 2)]
    await watch.look_at_decisions(0.0, lambda number: number == "d2")
    first, second = watch.decided(1000.0, lambda number: number == "d2")
    assert (first.failed, second.failed) == ((A,), (A,))
    assert first.known_s is not None
    assert (watch.served("d1"), watch.served("d2"), watch.served("d3")) == (B, A, "")
    assert [(one.pod, one.health) for one in watch.states] == [(A, "healthy"), (A, "ejected")]
    assert isinstance(watch.states[0], State)


async def test_a_picker_that_says_nothing(session: aiohttp.ClientSession, fleet: Fleet) -> None:
    """Is no error: that is what the drill may be about."""
    watch = Watch(session, target(session, fleet), rate=10)
    fleet.is_broken = True
    await watch.look_at_states(0.0)
    await watch.look_at_decisions(0.0, lambda _: False)
    assert (watch.states, watch.decided(0.0, lambda _: False)) == ([], [])


async def test_notices(session: aiohttp.ClientSession, fleet: Fleet) -> None:
    """Counted are those that begin while it looks, each once, also when they are over."""
    watch = Watch(session, target(session, fleet), rate=10)
    assert watch.notices is None
    early, late = ({"id": word, "kind": "degraded"} for word in ("early", "late"))
    for fleet.notices in ([early], [early, late], [late], [], [{"id": "other", "kind": "zone"}]):
        await watch.look_at_states(0.0)
    assert watch.notices == {"degraded": 1, "zone": 1}


async def test_a_target_is_told(session: aiohttp.ClientSession, fleet: Fleet) -> None:
    """Its fault, and that it has none any more; once."""
    ground = target(session, fleet)
    file, _ = read_drill(f'policy: p\nduration: 9s\nsteps: [{{name: s, at: 1s, fault: hang, pods: ["{A}"]}}]\n', "d")
    assert file is not None
    (step,) = file.drill.steps
    await ground.end(step)
    await ground.begin(step)
    await ground.end(step)
    await ground.end(step)
    assert fleet.told == [("POST", {"kind": "hang"}), ("DELETE", None)]
    assert (ground.url, ground.declared(A), ground.declared("10.0.0.9:80")) == (fleet.url, A, "")


@pytest.mark.parametrize("drops", [1, 2])
async def test_a_connection_that_is_closed_at_that_very_moment(session: aiohttp.ClientSession, drops: int) -> None:
    """Is no refusal, if it is one only."""
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        await reader.readuntil(b"\r\n\r\n")
        seen += 1
        if seen > drops:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        if drops == 1:
            await tell(session, f"http://{host}:{port}/fault", {"kind": "hang"})
        else:
            with pytest.raises(FaultError, match="ServerDisconnectedError"):
                await tell(session, f"http://{host}:{port}/fault", {"kind": "hang"})
    assert seen == 2


async def test_a_target_that_refuses(session: aiohttp.ClientSession, fleet: Fleet) -> None:
    """Is a step that could not be done."""
    ground = target(session, fleet)
    file, _ = read_drill(f'policy: p\nduration: 9s\nsteps: [{{name: s, at: 1s, fault: hang, pods: ["{A}"]}}]\n', "d")
    assert file is not None
    fleet.is_broken = True
    with pytest.raises(FaultError, match="answered 500: broken"):
        await ground.begin(file.drill.steps[0])
    with pytest.raises(FaultError, match="answered 500"):
        await ground.end(file.drill.steps[0])
