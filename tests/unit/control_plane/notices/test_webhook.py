"""A webhook and its receiver: alive, dead, slow, unwilling."""

import asyncio
import random
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
import trustme

from control_plane.notices import pace, webhook
from control_plane.notices.webhook import Target, Webhook
from control_plane.policy.notifications import Webhook as Declared
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually
from tests.unit.control_plane.notices.making import notice
from tests.unit.control_plane.notices.receiver import receiving


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of milliseconds."""
    monkeypatch.setattr(pace, "FIRST_RETRY_S", 0.01)
    monkeypatch.setattr(pace, "MAX_RETRY_S", 0.05)
    monkeypatch.setattr(webhook, "SLACK_GAP_S", 0.0)


@asynccontextmanager
async def told(url: str = "", target: Target | None = None, **more: Any) -> AsyncIterator[Webhook]:
    """A webhook that sends."""
    async with aiohttp.ClientSession() as session:
        made = Webhook(
            declared=Declared(name="a", url=url, **more),
            target=lambda declared: target or Target(url=declared.url),
            session=session,
            source=lambda: "host-1",
            clock=time.monotonic,
            wall_clock=lambda: 1_795_132_800.0,
            rng=random.Random(1),
        )
        task = asyncio.create_task(made.follow())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_delivered() -> None:
    """In order, as JSON, with the policy's headers and the token; our own headers are ours."""
    headers = {"x-team": "gpu", "content-type": "text/plain"}
    async with receiving() as receiver:
        target = Target(url=receiver.url, token="secret")
        async with told(receiver.url, target, headers=headers) as hook:
            hook.put([notice("a"), notice("b"), replace(notice("a"), ended_at=1060.0)], ())
            bodies = await receiver.took(3)
            assert [(body["subject"], body["state"]) for body in bodies] == [
                ("a", "open"), ("b", "open"), ("a", "recovered"),
            ]  # fmt: skip
            await eventually(lambda: hook.tally.sent == 3)
            assert hook.status() == {
                "name": "a", "format": "json", "pending": 0, "sent": 3, "refused": 0, "dropped": 0,
                "failed_tries": 0, "error": "",
            }  # fmt: skip
        path, sent = receiver.asked[0]
        assert path == "/hook?key=1"
        assert (sent["content-type"], sent["x-team"], sent["authorization"]) == (
            "application/json", "gpu", "Bearer secret",
        )  # fmt: skip


@pytest.mark.parametrize("status", [500, 503, 429, 408])
async def test_it_is_tried_again(status: int) -> None:
    """Until the receiver takes it: once then, and the word of the failure is gone."""
    async with receiving(status=status, text="not now") as receiver, told(receiver.url) as hook:
        hook.put([notice("a")], ())
        await receiver.tried(3)
        assert hook.error == f"it answers {status}: not now"
        receiver.status = 200
        await receiver.took(1)
        await eventually(lambda: not hook.error)
        hook.put([notice("b")], ())
        assert [body["subject"] for body in await receiver.took(2)] == ["a", "b"]
        await eventually(lambda: hook.tally.sent == 2)
        assert hook.tally.failed_tries >= 3


async def test_retry_after_is_obeyed() -> None:
    """Nothing comes before the time that the receiver asked for; another declaration is tried at once."""
    async with receiving(status=429, headers={"retry-after": "60"}) as receiver, told(receiver.url) as hook:
        hook.put([notice("a")], ())
        await receiver.tried(1)
        await eventually(lambda: hook.error)
        hook.put([notice("b")], ())
        await asyncio.sleep(0.3)  # six times the longest wait of its own
        assert len(receiver.asked) == 1
        receiver.status = 200
        hook.declare(Declared(name="a", url=receiver.url, timeout_s=4.0))
        await receiver.took(2)


@pytest.mark.parametrize("status", [400, 403, 404, 302])
async def test_what_is_refused_is_given_up(status: int) -> None:
    """It is not sent again, nor followed elsewhere; what comes after is tried."""
    more = {"location": "http://127.0.0.1:9/"} if status == 302 else {}
    async with receiving(status=status, text="no_service", headers=more) as receiver, told(receiver.url) as hook:
        hook.put([notice("a")], ())
        await eventually(lambda: hook.tally.refused == 1)
        receiver.status = 200
        hook.put([replace(notice("a"), ended_at=1060.0), notice("b")], ())
        assert [body["subject"] for body in await receiver.took(1)] == ["b"]
        assert len(receiver.asked) == 2


async def test_dead_then_alive() -> None:
    """Nobody listens; what happened meanwhile is told when somebody does. `put` never waits."""
    (port,) = free_ports(1)
    async with told(f"http://127.0.0.1:{port}/") as hook:
        started = time.monotonic()
        for number in range(1000):
            hook.put([notice(str(number))], ())
        assert time.monotonic() - started < 1.0, "a thousand notices for a dead receiver cost next to nothing"
        await eventually(lambda: hook.tally.failed_tries >= 2)
        assert hook.outbox.pending == 200
        assert hook.outbox.dropped == 800
        assert "Cannot connect" in hook.error
        async with receiving() as receiver:
            hook.declare(Declared(name="a", url=receiver.url))
            assert [body["subject"] for body in await receiver.took(200)] == [str(n) for n in range(800, 1000)]


async def test_a_receiver_that_hangs() -> None:
    """It is left when its time is over."""
    async with receiving(hangs=True) as receiver, told(receiver.url, timeout_s=0.1) as hook:
        hook.put([notice("a")], ())
        await eventually(lambda: hook.error == "no answer within 0.1 s")
        receiver.hangs = False
        await receiver.took(1)


async def test_a_receiver_that_talks_without_end() -> None:
    """Only the beginning of an answer is read."""
    async with receiving(status=500, text="x" * 10_000_000) as receiver, told(receiver.url) as hook:
        hook.put([notice("a")], ())
        await eventually(lambda: hook.error)
        assert len(hook.error) < 300


async def test_garbage_in_the_place_of_http() -> None:
    """Whatever listens there, it is a failed try."""

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\xff SSH-2.0 hello\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, told(f"http://127.0.0.1:{port}/") as hook:
        hook.put([notice("a")], ())
        await eventually(lambda: hook.tally.failed_tries >= 2)
        assert hook.outbox.pending == 1


async def test_a_missing_file() -> None:
    """There is nowhere to send to: it waits, and says why."""
    async with told("http://127.0.0.1:9/", Target(fault="url.txt is missing")) as hook:
        hook.put([notice("a")], ())
        await eventually(lambda: hook.error == "url.txt is missing")
        assert hook.outbox.pending == 1


async def test_tls() -> None:
    """A certificate of the authorities is taken, one of nobody's is not."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    async with receiving(server) as receiver:
        async with told(receiver.url, Target(url=receiver.url, context=client)) as hook:
            hook.put([notice("a")], ())
            await receiver.took(1)
        async with told(receiver.url) as hook:
            hook.put([notice("b")], ())
            await eventually(lambda: "certificate" in hook.error.lower())
        assert len(receiver.taken) == 1


async def test_alertmanager_takes_many_at_once_and_again() -> None:
    """All that waits in one request, at the path of its API; what is open is sent again."""
    async with receiving() as receiver:
        url = f"http://127.0.0.1:{receiver.port}"
        async with told(url, format="alertmanager", resend_s=0.05) as hook:
            some = [notice("a"), notice("b")]
            hook.put(some, some)
            first = (await receiver.took(1))[0]
            assert [alert["labels"]["subject"] for alert in first] == ["a", "b"]
            assert receiver.asked[0][0] == "/api/v2/alerts"

            def again() -> bool:
                hook.put([], some)
                return len(receiver.taken) >= 2

            await eventually(again)
            assert [alert["labels"]["subject"] for alert in receiver.taken[1]] == ["a", "b"]


async def test_slack() -> None:
    """One message for each notice."""
    async with receiving() as receiver, told(receiver.url, format="slack") as hook:
        hook.put([notice("a"), notice("b")], ())
        assert [body["text"] for body in await receiver.took(2)] == [
            "[WARNING] trouble of a", "[WARNING] trouble of b",
        ]  # fmt: skip
