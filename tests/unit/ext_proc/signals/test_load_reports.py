"""The server of load reports with a real client: what it takes, and everything for which it ends a stream."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from ext_proc.core.events import LoadReported
from ext_proc.counters import Counters
from ext_proc.signals import load_reports
from ext_proc.signals.load_reports import LoadReports
from ext_proc.wire_loads import LoadWire
from protos.messages import load
from tests.kit.waiting import eventually

POD = "127.0.0.1:8000"
FAR = "10.0.0.1:8000"
PATIENCE_S = 10.0
"""No test waits this long unless it has failed."""


def heartbeat(address: str = POD, **fields: Any) -> bytes:
    """A heartbeat in bytes."""
    return load().parse_json("kvpilot.load.v1.Heartbeat", {"address": address, **fields}).SerializeToString()


@dataclass(slots=True)
class Lab:
    """A server that knows two endpoints, and a channel to it."""

    server: LoadReports
    channel: grpc.aio.Channel
    counters: Counters
    told: list[LoadReported] = field(default_factory=list)
    now: float = 0.0

    def stream(self) -> Any:
        """A new stream."""
        return self.channel.stream_stream("/kvpilot.load.v1.LoadReports/Report")()

    async def say(self, stream: Any, data: bytes) -> int:
        """Sends one heartbeat and gives the acknowledged number."""
        await stream.write(data)
        answer: Any = load()["kvpilot.load.v1.Ack"].FromString(await asyncio.wait_for(stream.read(), PATIENCE_S))
        return int(answer.sequence)

    async def refusal(self, data: bytes) -> tuple[str, str]:
        """With which status and text a stream with this message ends."""
        stream = self.stream()
        await stream.write(data)
        return await self.end(stream)

    async def end(self, stream: Any) -> tuple[str, str]:
        """Its status and text."""
        code = await asyncio.wait_for(stream.code(), PATIENCE_S)
        return code.name, str(await stream.details())


@asynccontextmanager
async def running() -> AsyncIterator[Lab]:
    """A server on a free port."""
    told: list[LoadReported] = []
    counters = Counters()
    labs: list[Lab] = []
    server = LoadReports(
        LoadWire(load()),
        on_event=told.append,
        is_known=lambda address: address in (POD, FAR),
        clock=lambda: labs[0].now if labs else 0.0,
        counters=counters,
    )
    (bound,) = await server.start(["127.0.0.1:0"])
    try:
        async with grpc.aio.insecure_channel(bound) as channel:
            labs.append(Lab(server, channel, counters, told))
            yield labs[0]
    finally:
        await server.stop(0)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    """A running server."""
    async with running() as it:
        yield it


async def test_heartbeats_are_told_and_acknowledged(lab: Lab) -> None:
    """In order, dated by the server's clock; the stream's end is no error."""
    stream = lab.stream()
    assert [await lab.say(stream, heartbeat(sequence=n, running=n)) for n in (4, 5)] == [4, 5]
    assert [(told.address, told.running, told.at) for told in lab.told] == [(POD, 4, 0.0), (POD, 5, 0.0)]
    assert (lab.server.open_streams, lab.counters.load_reports) == (1, 2)
    await stream.done_writing()
    assert await lab.end(stream) == ("OK", "")
    await eventually(lambda: lab.server.open_streams == 0)


async def test_strangers(lab: Lab) -> None:
    """Addresses of no pool, garbage, and others' endpoints: each is told what is wrong, and counted."""
    assert await lab.refusal(heartbeat("127.0.0.1:9")) == ("NOT_FOUND", "127.0.0.1:9 is an endpoint of no pool")
    status, text = await lab.refusal(b"\xff\xff")
    assert (status, text.startswith("not a Heartbeat")) == ("INVALID_ARGUMENT", True)
    status, text = await lab.refusal(heartbeat(FAR))
    assert (status, "is not reported from 127.0.0.1" in text) == ("PERMISSION_DENIED", True)
    assert lab.told == []
    assert lab.counters.load_reports_refused == {"NOT_FOUND": 1, "INVALID_ARGUMENT": 1, "PERMISSION_DENIED": 1}


async def test_any_reporter(lab: Lab) -> None:
    """Where the policy allows it, an agent of a machine speaks for others."""
    lab.server.any_reporter = True
    await lab.say(lab.stream(), heartbeat(FAR))
    assert [told.address for told in lab.told] == [FAR]


async def test_a_large_message_ends_its_stream(lab: Lab) -> None:
    """gRPC itself refuses it."""
    names = {"name": ["m" * 250] * 1_000}
    assert (await lab.refusal(heartbeat(models=names)))[0] == "RESOURCE_EXHAUSTED"


async def test_too_many_heartbeats(lab: Lab) -> None:
    """A burst is taken, more is not; after a while there is room again."""
    stream = lab.stream()
    for _ in range(load_reports.MAX_BURST):
        await lab.say(stream, heartbeat())
    lab.now += 1 / load_reports.MAX_RATE_PER_S
    await lab.say(stream, heartbeat())
    await stream.write(heartbeat())
    assert await lab.end(stream) == ("RESOURCE_EXHAUSTED", "more than 20 heartbeats a second")


async def test_silence_ends_a_stream(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """From its beginning and after heartbeats."""
    stream = lab.stream()
    await lab.say(stream, heartbeat())
    monkeypatch.setattr(load_reports, "SILENCE_S", 0.2)  # counts from the next heartbeat on, which so cannot be late
    silent = lab.stream()
    await lab.say(stream, heartbeat())
    assert await lab.end(stream) == ("DEADLINE_EXCEEDED", "no heartbeat for 0.2 s")
    assert (await lab.end(silent))[0] == "DEADLINE_EXCEEDED"
    await eventually(lambda: lab.server.open_streams == 0)


async def test_too_many_streams(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one host and altogether; those that are open go on, and when one ends another may come."""
    monkeypatch.setattr(load_reports, "MAX_STREAMS_OF_HOST", 1)
    stream = lab.stream()
    await lab.say(stream, heartbeat())
    assert await lab.refusal(heartbeat()) == ("RESOURCE_EXHAUSTED", "too many streams of reporters")
    monkeypatch.setattr(load_reports, "MAX_STREAMS_OF_HOST", 9)
    monkeypatch.setattr(load_reports, "MAX_STREAMS", 1)
    assert (await lab.refusal(heartbeat()))[0] == "RESOURCE_EXHAUSTED"
    await lab.say(stream, heartbeat())
    stream.cancel()
    await eventually(lambda: lab.server.open_streams == 0)
    await lab.say(lab.stream(), heartbeat())


async def test_stopping_ends_streams() -> None:
    """Reporters see it and come back; nothing hangs, and twice is harmless."""
    async with running() as lab:
        stream = lab.stream()
        await lab.say(stream, heartbeat())
        await lab.server.stop(0)
        assert (await lab.end(stream))[0] in ("UNAVAILABLE", "CANCELLED")
        assert lab.server.open_streams == 0


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.1:4711", "10.0.0.1"),
        ("ipv6:%5B::1%5D:4711", "::1"),
        ("ipv6:[::1]:4711", "::1"),
        ("ipv6:%5B::ffff:10.0.0.1%5D:4711", "10.0.0.1"),
        ("unix:", ""),
        ("unix:/run/x", ""),
        ("ipv4:x", ""),
    ],
)
def test_hosts_of_peers(peer: str, host: str) -> None:
    """In the form that addresses of endpoints have."""
    assert load_reports._host_of(peer) == host
