"""Who is asked for load reports, when, and whose are believed: over real gRPC streams."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from control_plane.xds import load_stats_server, server
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS
from control_plane.xds.load_stats import ENDPOINTS_PER_S, EndpointWork
from control_plane.xds.load_stats_server import AT_ONCE, SERVICE, STRANGER_S, LoadStatsService
from control_plane.xds.server import XdsServer
from control_plane.xds.snapshot import build_snapshot
from protos.messages import load
from tests.kit.waiting import eventually
from tests.unit.control_plane.xds.ads_client import AdsClient
from tests.unit.control_plane.xds.test_load_stats import endpoint, request

WAIT_S = 5.0
"""No answer takes as long unless a test has failed."""


class Reporting:
    """An Envoy's stream of reports."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def say(self, data: bytes) -> None:
        """Sends one message."""
        await self.call.write(data)

    async def asked(self) -> dict[str, Any]:
        """The next answer."""
        async with asyncio.timeout(WAIT_S):
            data = await self.call.read()
        assert data is not grpc.aio.EOF, await self.call.code()
        return load().to_json(load()["envoy.service.load_stats.v3.LoadStatsResponse"].FromString(data))

    async def ended(self) -> str:
        """The status with which the stream ends."""
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(grpc.aio.AioRpcError):
                while await self.call.read() is not grpc.aio.EOF:
                    pass
            return str((await self.call.code()).name)


class Desk:
    """A server with both services. Mutable: its clock, and what was reported."""

    def __init__(self) -> None:
        self.now = 0.0
        self.told: list[tuple[EndpointWork, ...]] = []
        self.service = LoadStatsService(load(), lambda: self.now, told=self.told.append)
        snapshot = build_snapshot({CLUSTERS: {}, ENDPOINTS: {}, LISTENERS: {}}, load())
        self.server = XdsServer(load(), lambda node: snapshot, lambda: self.now, load_stats=self.service)
        self.address = ""

    @asynccontextmanager
    async def envoy(self, node: str = "envoy-1", *, serves: bool = True) -> AsyncIterator[Reporting]:
        """An Envoy that has said who it is on both streams, or only on that of reports."""
        ads = AdsClient(self.address, node=node)
        async with grpc.aio.insecure_channel(self.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            try:
                if serves:
                    await ads.send(CLUSTERS)
                    await self._until(lambda: self.server.is_serving(node, "127.0.0.1"))
                reporting = Reporting(channel.stream_stream(f"/{SERVICE}/StreamLoadStats")())
                before = self.service.reporters
                await reporting.say(request(node=node))
                await self._until(lambda: self.service.reporters > before)
                yield reporting
            finally:
                await ads.close()

    async def report(self, stream: Reporting, *loads: dict[str, Any], node: str = "envoy-1") -> None:
        """Sends a report a second after the last one, and waits until it was read."""
        self.now += 1
        before = self.service.reports + self.service.ignored
        await stream.say(request(*loads, node=node))
        await self._until(lambda: self.service.reports + self.service.ignored > before)

    @staticmethod
    async def _until(holds: Any) -> None:
        async def held() -> bool:
            return bool(holds())

        await eventually(held, "the server to have noticed")


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A server that listens."""
    made = Desk()
    [made.address] = await made.server.start(["127.0.0.1:0"])
    yield made
    await made.server.stop()


async def test_nobody_is_asked_before_it_is_wanted(desk: Desk) -> None:
    """Then those are who are there, and those who come later; and again when something else is wanted."""
    async with desk.envoy() as first:
        desk.service.want({"pool/chat"}, 2)
        assert (await first.asked())["clusters"] == ["pool/chat"]
        async with desk.envoy() as second:
            assert (await second.asked())["clusters"] == ["pool/chat"]
            desk.service.want({"pool/chat", "pool/code"}, 2)
            assert (await first.asked())["clusters"] == ["pool/chat", "pool/code"]
            assert (await second.asked())["loadReportingInterval"] == "1s"


async def test_what_is_told(desk: Desk) -> None:
    """What was done since the last report, in seconds of our own clock."""
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy() as stream:
        await stream.asked()
        await desk.report(stream, endpoint("10.0.0.1", 80, totalRequestsInProgress=2))
        await desk.report(stream, endpoint("10.0.0.1", 80, totalSuccessfulRequests=3, totalRequestsInProgress=4))
        assert desk.told == [(EndpointWork("pool/chat", "10.0.0.1:80", 3, 0, 3.0, 4),)]


async def test_reports_that_nobody_asked_for(desk: Desk) -> None:
    """Are not looked at."""
    async with desk.envoy() as stream:
        for _ in range(3):
            desk.now += 1
            await stream.say(request(endpoint("10.0.0.1", 80, totalSuccessfulRequests=3)))
        await desk._until(lambda: desk.service.ignored == 3)
        desk.service.want({"pool/chat"}, 2)
        await stream.asked()
        await desk.report(stream)
        assert (desk.told, desk.service.reports) == ([], 1)


async def test_when_nothing_is_wanted_any_more(desk: Desk) -> None:
    """The stream ends, for an Envoy that was asked once does not stop; who comes again is asked nothing."""
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy() as stream:
        await stream.asked()
        desk.service.want(set(), 0)
        assert await stream.ended() == "OK"
        async with desk.envoy() as again:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await again.call.read()


async def test_strangers(desk: Desk) -> None:
    """Whoever is not served here is not believed, nor whoever calls itself otherwise than there; after a while its
    stream ends, so that it goes where it is served."""
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy("other", serves=False) as stream:
        await stream.asked()
        await desk.report(stream, node="other")
        await desk.report(stream, endpoint("10.0.0.1", 80, totalSuccessfulRequests=3), node="other")
        assert (desk.told, desk.service.ignored, desk.service.reports) == ([], 2, 0)
        desk.now += STRANGER_S
        await stream.say(request(node="other"))
        assert await stream.ended() == "OK"


async def test_an_envoy_that_leaves(desk: Desk) -> None:
    """Is forgotten on both sides: its last reports are not believed."""
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy() as stream:
        await stream.asked()
    await desk._until(lambda: not desk.server.is_serving("envoy-1", "127.0.0.1"))
    await desk._until(lambda: desk.service.reporters == 0)


async def test_garbage(desk: Desk) -> None:
    """Ends the stream, with the reason."""
    async with desk.envoy() as stream:
        await stream.say(b"\xff\xff")
        assert await stream.ended() == "INVALID_ARGUMENT"


async def test_many_reporters(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Report less often, those as well that were there before, and more often again when most of them have left;
    beyond as many as may be none is let in."""
    monkeypatch.setattr(load_stats_server, "interval_s", lambda reporters, endpoints, now_s: max(1, 2 * reporters - 2))
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy() as first:
        assert (await first.asked())["loadReportingInterval"] == "1s"
        async with desk.envoy() as second:
            assert (await second.asked())["loadReportingInterval"] == "2s"
            assert (await first.asked())["loadReportingInterval"] == "2s"
            monkeypatch.setattr(load_stats_server, "MAX_REPORTERS", 2)
            async with grpc.aio.insecure_channel(desk.address) as channel:
                third = Reporting(channel.stream_stream(f"/{SERVICE}/StreamLoadStats")())
                assert await third.ended() == "RESOURCE_EXHAUSTED"
        assert (await first.asked())["loadReportingInterval"] == "1s"


async def test_many_endpoints(desk: Desk) -> None:
    """Are reported less often, too, also when it is later that they become so many."""
    desk.service.want({"pool/chat"}, ENDPOINTS_PER_S)
    async with desk.envoy() as stream:
        assert (await stream.asked())["loadReportingInterval"] == "1s"
        desk.service.want({"pool/chat"}, 2 * ENDPOINTS_PER_S)
        assert (await stream.asked())["loadReportingInterval"] == "2s"


async def test_a_large_report(desk: Desk) -> None:
    """Is told in parts, all of it, so that others are served meanwhile."""
    desk.service.want({"pool/chat"}, 2)
    many = [endpoint("10.0.0.1", port, totalSuccessfulRequests=1) for port in range(1, 2 * AT_ONCE + 2)]
    async with desk.envoy() as stream:
        await stream.asked()
        await desk.report(stream)
        await desk.report(stream, *many)
        await desk._until(lambda: len(desk.told) == 3)
        assert [len(work) for work in desk.told] == [AT_ONCE, AT_ONCE, 1]
        assert len({each.address for work in desk.told for each in work}) == len(many)


async def test_who_floods(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is read one report at a time, with a pause after each: the rest waits on its side."""
    monkeypatch.setattr(load_stats_server, "PAUSE_S", 60.0)
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy() as stream:
        await stream.asked()
        for _ in range(5):
            await stream.say(request())
        async with desk.envoy("envoy-2") as other:
            await other.asked()
            await desk.report(other, node="envoy-2")
        assert desk.service.reports == 2, "one of each"


async def test_the_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that stops ends its streams by itself, and is not held up by them."""
    monkeypatch.setattr(server, "STOP_GRACE_S", 20 * WAIT_S)
    desk.service.want({"pool/chat"}, 2)
    async with desk.envoy() as stream:
        await stream.asked()
        async with asyncio.timeout(WAIT_S):
            await desk.server.stop()
