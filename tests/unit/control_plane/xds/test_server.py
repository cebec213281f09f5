"""The server with real gRPC streams: what the sessions decide arrives, and no client harms another."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import pytest

from control_plane.compile.node import Node
from control_plane.xds import admission, server, slices
from control_plane.xds.identity import Identity
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, short_name
from control_plane.xds.server import MAX_AGE_S, XdsServer
from control_plane.xds.snapshot import Snapshot, build_snapshot
from control_plane.xds.stream import MAX_OUTBOX
from control_plane.xds.transition import REMOVAL_WAIT_S
from ext_proc.transport.interface import AddressInUseError
from protos.messages import load
from tests.kit.waiting import eventually
from tests.unit.control_plane.xds.ads_client import AdsClient


def snapshot(*clusters: str, note: str = "") -> Snapshot:
    """Static clusters of these names, with `note` in each, and no listeners."""
    made = {name: {"name": name, "type": "STATIC", "altStatName": note} for name in clusters}
    return build_snapshot({CLUSTERS: made, ENDPOINTS: {}, LISTENERS: {}}, load())


class Notes:
    """An observer that writes down what it is told, and refuses whom it is told to."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.refused: set[str] = set()
        self.fails = False

    def has(self, text: str) -> bool:
        """Whether the last line ends with this."""
        return self.lines[-1].endswith(text)

    def connected(self, node: Node, identity: Identity | None) -> str | None:
        """Noted, or refused."""
        self.lines.append(f"{node.id} connected, {identity}")
        return f"{node.id} may not" if node.id in self.refused else None

    def acked(self, node: Node, type_url: str, resources: Mapping[str, str]) -> None:
        """Noted."""
        if self.fails:
            raise RuntimeError("cannot note this")
        self.lines.append(f"{node.id} acked {short_name(type_url)} {' '.join(sorted(resources))}".strip())

    def rejected(self, node: Node, type_url: str, resources: Mapping[str, str], named: bool, text: str) -> None:
        """Noted."""
        who = "named" if named else "all of"
        self.lines.append(f"{node.id} rejected {short_name(type_url)}: {who} {' '.join(sorted(resources))}: {text}")

    def disconnected(self, node: Node) -> None:
        """Noted."""
        self.lines.append(f"{node.id} disconnected")


class Desk:
    """A server, its clock, and what it serves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.served: Snapshot | None = snapshot("a")
        self.broken: set[str] = set()
        self.nodes: list[Node] = []
        self.notes = Notes()
        self.objections: dict[str, str] = {}
        self.server = XdsServer(
            load(),
            self._snapshot_for,
            lambda: self.now,
            observer=self.notes,
            rng=random.Random(1),
            objection=lambda node, identity: self.objections.get(node.id),
        )
        self.address = ""

    def _snapshot_for(self, node: Node) -> Snapshot | None:
        self.nodes.append(node)
        if node.id in self.broken:
            raise RuntimeError("nothing compiles for it")
        return self.served

    def publish(self, served: Snapshot) -> None:
        """Serves something else from now on."""
        self.served = served
        self.server.publish()

    @asynccontextmanager
    async def client(self, *, delta: bool = False, node: str | None = "envoy-1") -> AsyncIterator[AdsClient]:
        """A connected client."""
        client = AdsClient(self.address, delta=delta, node=node)
        try:
            yield client
        finally:
            await client.close()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """A server that listens on a port from the system."""
    desk = Desk()
    [desk.address] = await desk.server.start(["127.0.0.1:0"])
    yield desk
    await desk.server.stop()


class TestStreams:
    """Both variants over the wire."""

    async def test_sotw(self, desk: Desk) -> None:
        """Asked, answered, confirmed, changed."""
        async with desk.client() as client:
            await client.send(CLUSTERS)
            first = await client.receive()
            assert first.version_info == snapshot("a").versions[CLUSTERS]
            await client.send(CLUSTERS, versionInfo=first.version_info, responseNonce=first.nonce)
            await eventually(lambda: desk.server.status()[0]["types"]["CDS"]["state"] == "SYNCED")
            desk.publish(snapshot("a", "b"))
            second = await client.receive()
            assert len(second.resources) == 2
            assert second.nonce != first.nonce

    async def test_delta(self, desk: Desk) -> None:
        """The same with differences only."""
        async with desk.client(delta=True) as client:
            await client.send(CLUSTERS)
            first = await client.receive()
            assert [entry.name for entry in first.resources] == ["a"]
            await client.send(CLUSTERS, responseNonce=first.nonce)
            await eventually(lambda: desk.server.status()[0]["types"]["CDS"]["state"] == "SYNCED")
            desk.publish(snapshot("a", "b"))
            assert [entry.name for entry in (await client.receive()).resources] == ["b"]

    async def test_nothing_is_sent_before_there_is_a_snapshot(self, desk: Desk) -> None:
        """The client waits, and is answered when there is something to say."""
        desk.served = None
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await eventually(lambda: bool(desk.nodes))
            assert desk.server.status()[0]["types"]["CDS"]["state"] == "NOT_SENT"
            desk.publish(snapshot("a"))
            assert len((await client.receive()).resources) == 1

    async def test_a_removal_goes_out_by_the_clock(self, desk: Desk) -> None:
        """Waits end by the server's ticks; this client never asks for listeners."""
        async with desk.client(delta=True) as client:
            await client.send(CLUSTERS)
            await client.send(CLUSTERS, responseNonce=(await client.receive()).nonce)
            desk.served = build_snapshot({CLUSTERS: {}, LISTENERS: {"web": {"name": "web"}}}, load())
            desk.server.publish()
            desk.server.tick()
            desk.now = REMOVAL_WAIT_S
            desk.server.tick()
            assert list((await client.receive()).removed_resources) == ["a"]

    async def test_an_idle_stream_keeps_no_response(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was written is let go, or a thousand idle Envoys would keep a thousand copies of everything."""
        written: list[bytes] = []
        write = desk.server._writer.write

        def noted(*push: Any) -> bytes:
            written.append(write(*push))
            return written[-1]

        monkeypatch.setattr(desk.server._writer, "write", noted)
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.receive()
            await eventually(lambda: sys.getrefcount(written[0]) == 2)  # the list here, and the question itself

    async def test_several_streams_of_one_node(self, desk: Desk) -> None:
        """Each is served, and has its row."""
        async with desk.client() as one, desk.client(delta=True) as other:
            await one.send(CLUSTERS)
            await other.send(CLUSTERS)
            await one.receive()
            await other.receive()
            assert sorted(row["protocol"] for row in desk.server.status()) == ["delta", "sotw"]

    async def test_over_a_unix_socket(self, desk: Desk, tmp_path: object) -> None:
        """The same server on another kind of address."""
        other = XdsServer(load(), lambda node: desk.served, lambda: 0.0)
        [address] = await other.start([f"unix:{tmp_path}/xds.sock"])
        client = AdsClient(address)
        await client.send(CLUSTERS)
        assert len((await client.receive()).resources) == 1
        await client.close()
        await other.stop()


class TestRefusals:
    """Requests that end their own stream and no other."""

    @pytest.mark.parametrize("delta", [False, True])
    @pytest.mark.parametrize("node", [None, ""])
    async def test_a_stream_needs_a_node_id(self, desk: Desk, delta: bool, node: str | None) -> None:
        """Nothing can be chosen for an Envoy without a name."""
        async with desk.client(delta=delta, node=node) as client:
            await client.send(CLUSTERS)
            code, text = await client.end()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "node.id" in text

    @pytest.mark.parametrize("delta", [False, True])
    async def test_a_request_needs_a_type(self, desk: Desk, delta: bool) -> None:
        """Over ADS nothing else says what is asked for."""
        async with desk.client(delta=delta) as client:
            await client.send("")
            code, text = await client.end()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert "type_url" in text

    async def test_what_the_control_plane_fails_on(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A fault of ours ends the stream with an error that says so, and is in the log; Envoy comes back."""

        def fail(*_: object) -> None:
            raise RuntimeError("a fault")

        monkeypatch.setattr(desk.notes, "connected", fail)
        async with desk.client() as client:
            await client.send(CLUSTERS)
            code, _ = await client.end()
            assert code is grpc.StatusCode.INTERNAL
        assert "a fault" in caplog.text

    async def test_garbage(self, desk: Desk) -> None:
        """Another client is served before and after."""
        async with desk.client() as good, desk.client() as bad:
            await good.send(CLUSTERS)
            await good.receive()
            await bad.send_bytes(b"\xff\xff\xff")
            code, _ = await bad.end()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            await good.send(LISTENERS)
            assert (await good.receive()).type_url == LISTENERS


class TestHarmlessness:
    """One client cannot harm the server or another client."""

    async def test_one_that_nothing_can_be_compiled_for(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """It is held and logged; the others get their update."""
        async with desk.client(node="good") as good, desk.client(node="bad") as bad:
            desk.broken.add("bad")
            await bad.send(CLUSTERS)
            await good.send(CLUSTERS)
            first = await good.receive()
            await good.send(CLUSTERS, responseNonce=first.nonce)
            desk.publish(snapshot("a", "b"))
            assert len((await good.receive()).resources) == 2
            await eventually(lambda: "no snapshot for bad" in caplog.text, "the line of the log")
            desk.broken.clear()
            desk.server.publish()
            assert len((await bad.receive()).resources) == 2

    async def test_one_that_never_reads(self, desk: Desk) -> None:
        """It forges answers to be sent ever more: what waits for it is bounded, and others do not notice."""
        big = "x" * 200_000
        desk.served = snapshot("a", "b", note=big)
        async with desk.client(node="slow") as slow, desk.client(node="quick") as quick:
            asked = 400

            async def ask_on() -> None:
                for number in range(asked):
                    await slow.send(CLUSTERS, resourceNames=["ab"[number % 2]], responseNonce=str(number or ""))

            asking = asyncio.create_task(ask_on())
            await quick.send(CLUSTERS)
            assert len((await quick.receive()).resources) == 2
            await eventually(lambda: len(desk.server.status()) == 2)
            # As soon as nothing moves any more the server has stopped reading from it.
            pushes = -1
            while pushes != (pushes := desk.server.status()[1]["types"]["CDS"]["pushes"]) or pushes == 0:
                await quick.send(LISTENERS)
                await asyncio.sleep(0.2)
            assert pushes < asked - MAX_OUTBOX
            for _ in range(asked):
                await slow.receive()
            await asking

    async def test_one_that_goes_away(self, desk: Desk) -> None:
        """Its stream is forgotten, its last row is kept until it is back."""
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.receive()
            assert desk.server.status()[0]["connected"]
        await eventually(lambda: not desk.server.status()[0]["connected"])
        desk.publish(snapshot("a", "b"))
        [row] = desk.server.status()
        assert (row["node"], row["types"]["CDS"]["pushes"]) == ("envoy-1", 1)
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.receive()
            assert [row["connected"] for row in desk.server.status()] == [True]

    async def test_one_that_says_that_it_is_done(self, desk: Desk) -> None:
        """A half-closed stream is closed, without an error."""
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.receive()
            await client.call.done_writing()
            assert await client.end() == (grpc.StatusCode.OK, "")

    async def test_a_rejection_is_logged_and_shown(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """Where the operator looks, with Envoy's own words."""
        async with desk.client() as client:
            await client.send(CLUSTERS)
            first = await client.receive()
            await client.send(CLUSTERS, responseNonce=first.nonce, errorDetail={"message": "cluster a: bad"})
            await eventually(lambda: desk.server.status()[0]["types"]["CDS"]["state"] == "ERROR")
            told = desk.server.status()[0]["types"]["CDS"]
            assert (told["error"], told["resources"]) == ("cluster a: bad", ["a"])
        assert f"envoy-1 rejected CDS version {first.version_info}: cluster a: bad" in caplog.text

    async def test_one_that_takes_nothing_at_all(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        """A client that is stopped in the middle of a response loses its stream, and the server its burden."""
        monkeypatch.setattr(server, "STUCK_S", 0.2)
        monkeypatch.setattr(server, "PARTING_S", 0.1)
        # gRPC takes about 4 MB off the wire for an application that does not read.
        desk.served = snapshot("a", note="x" * 16_000_000)
        async with desk.client() as slow:
            await slow.send(CLUSTERS)
            await eventually(lambda: desk.notes.lines == ["envoy-1 connected, None", "envoy-1 disconnected"])

    async def test_thousands_at_once_take_turns(self, desk: Desk) -> None:
        """Whoever comes when the turns of the next time are given out waits, or is told to come back."""
        desk.server._admission = admission.Admission(per_s=50.0, burst=1, max_wait_s=0.02)
        async with desk.client() as first, desk.client(node="2") as second, desk.client(node="3") as third:
            await first.send(CLUSTERS)
            await first.receive()
            await second.send(CLUSTERS)
            await second.receive()
            await third.send(CLUSTERS)
            code, text = await third.end()
            assert code is grpc.StatusCode.UNAVAILABLE
            assert "come back" in text

    async def test_one_host_cannot_take_all_the_room(self, desk: Desk) -> None:
        """One stream more than a host may have is refused; when one ends there is room again."""
        desk.server._hosts = admission.Hosts(most=1)
        async with desk.client() as first:
            await first.send(CLUSTERS)
            await first.receive()
            async with desk.client(node="2") as second:
                code, _ = await second.end()
                assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        await eventually(lambda: not desk.server.status()[0]["connected"])
        async with desk.client() as third:
            await third.send(CLUSTERS)
            await third.receive()


class TestObserver:
    """Who watches is told what streams do, and may refuse one."""

    @pytest.mark.parametrize("delta", [False, True])
    async def test_the_life_of_a_stream(self, desk: Desk, delta: bool) -> None:
        """Connected, accepted, rejected with and without a name, gone."""
        async with desk.client(delta=delta) as client:
            await client.send(CLUSTERS)
            first = await client.receive()
            await client.send(CLUSTERS, responseNonce=first.nonce)
            for text in ("cluster a2: bad", "no"):
                desk.publish(snapshot("a2", note=text))
                bad = await client.receive()
                await client.send(CLUSTERS, responseNonce=bad.nonce, errorDetail={"message": text})
                await eventually(partial(desk.notes.has, text))
        await eventually(lambda: desk.notes.lines[-1] == "envoy-1 disconnected")
        assert desk.notes.lines == [
            "envoy-1 connected, None",
            "envoy-1 acked CDS a",
            "envoy-1 rejected CDS: named a2: cluster a2: bad",
            # All that a state-of-the-world response carried is there, the cluster on its way out, too.
            f"envoy-1 rejected CDS: all of {'a2' if delta else 'a a2'}: no",
            "envoy-1 disconnected",
        ]

    @pytest.mark.parametrize("delta", [False, True])
    async def test_what_is_held_from_an_earlier_stream_counts_as_accepted(self, desk: Desk, delta: bool) -> None:
        """Nothing is sent to it, so there is no other moment at which it could be told."""
        served = snapshot("a")
        held = served.types[CLUSTERS]["a"].version
        async with desk.client(delta=delta) as client:
            if delta:
                await client.send(CLUSTERS, initialResourceVersions={"a": held})
            else:
                await client.send(CLUSTERS, versionInfo=served.versions[CLUSTERS])
            await eventually(lambda: desk.notes.lines[-1:] == ["envoy-1 acked CDS a"])

    async def test_a_refused_stream(self, desk: Desk) -> None:
        """It is told why, gets nothing, and is not said to have gone, because it never came."""
        desk.notes.refused.add("intruder")
        async with desk.client(node="intruder") as client:
            await client.send(CLUSTERS)
            assert await client.end() == (grpc.StatusCode.PERMISSION_DENIED, "intruder may not")
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.receive()
        await eventually(lambda: desk.notes.lines[-1] == "envoy-1 disconnected")
        assert desk.notes.lines == ["intruder connected, None", "envoy-1 connected, None", "envoy-1 disconnected"]
        assert [node.id for node in desk.nodes] == ["envoy-1"]

    async def test_an_open_stream_that_is_not_wanted_any_more(self, desk: Desk) -> None:
        """A policy that shuts somebody out ends its stream and says why; it is not sent what comes with that policy,
        and others are."""
        async with desk.client() as client, desk.client(delta=True, node="intruder") as intruder:
            await client.send(CLUSTERS)
            await intruder.send(CLUSTERS)
            first = await client.receive()
            await client.send(CLUSTERS, versionInfo=first.version_info, responseNonce=first.nonce)
            await intruder.send(CLUSTERS, responseNonce=(await intruder.receive()).nonce)
            await eventually(lambda: [row["types"]["CDS"]["acks"] for row in desk.server.status()] == [1, 1])
            desk.objections["intruder"] = "intruder may not"
            desk.publish(snapshot("a", "secret"))
            desk.server.publish()  # before its handler has noticed anything
            with pytest.raises(grpc.aio.AioRpcError):
                await intruder.call.read()
            assert await intruder.end() == (grpc.StatusCode.PERMISSION_DENIED, "intruder may not")
            assert len((await client.receive()).resources) == 2
            await eventually(lambda: desk.notes.lines[-1] == "intruder disconnected")

    async def test_one_that_fails_harms_nobody(self, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
        """The stream goes on, and the failure is in the log."""
        desk.notes.fails = True
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.send(CLUSTERS, responseNonce=(await client.receive()).nonce)
            desk.publish(snapshot("b"))
            await eventually(lambda: "could not be taken in" in caplog.text)
            assert (await client.receive()).type_url == CLUSTERS


class TestSlices:
    """More streams than are served in one go."""

    @pytest.fixture(autouse=True)
    def one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """One stream per turn of the event loop."""
        monkeypatch.setattr(slices, "SLICE", 1)

    async def test_all_are_given_the_newest(self, desk: Desk) -> None:
        """Asked for each at once and given it one after the other; who still waits is never given what has been
        overtaken."""
        async with desk.client(node="1") as one, desk.client(node="2") as two, desk.client(node="3") as three:
            clients = (one, two, three)
            for client in clients:
                await client.send(CLUSTERS)
                first = await client.receive()
                await client.send(CLUSTERS, versionInfo=first.version_info, responseNonce=first.nonce)
            await eventually(lambda: [row["types"]["CDS"]["acks"] for row in desk.server.status()] == [1, 1, 1])
            desk.nodes.clear()
            desk.publish(snapshot("a", "b"))
            assert len(desk.nodes) == 3
            assert sorted(row["types"]["CDS"]["pushes"] for row in desk.server.status()) == [1, 1, 2]
            newest = snapshot("a", "b", "c")
            desk.publish(newest)
            overtaken = 0
            for client in clients:
                response = await client.receive()
                if response.version_info != newest.versions[CLUSTERS]:
                    overtaken += 1
                    await client.send(CLUSTERS, versionInfo=response.version_info, responseNonce=response.nonce)
                    response = await client.receive()
                assert response.version_info == newest.versions[CLUSTERS]
            assert overtaken == 1

    async def test_one_that_is_shut_out_while_it_waits(self, desk: Desk) -> None:
        """It is not given what it had been due."""
        async with desk.client(node="1") as one, desk.client(node="2") as two:
            for client in (one, two):
                await client.send(CLUSTERS)
                first = await client.receive()
                await client.send(CLUSTERS, versionInfo=first.version_info, responseNonce=first.nonce)
            await eventually(lambda: [row["types"]["CDS"]["acks"] for row in desk.server.status()] == [1, 1])
            desk.publish(snapshot("a", "b"))
            [waiting] = [row["node"] for row in desk.server.status() if row["types"]["CDS"]["pushes"] == 1]
            desk.objections[waiting] = "may not"
            desk.publish(snapshot("a", "c"))
            client = one if waiting == "1" else two
            with pytest.raises(grpc.aio.AioRpcError):
                await client.call.read()
            assert await client.end() == (grpc.StatusCode.PERMISSION_DENIED, "may not")

    async def test_streams_that_end_while_they_wait(self, desk: Desk) -> None:
        """A stop in the middle of a round ends it, and the streams end cleanly."""
        async with desk.client(node="1") as one, desk.client(node="2") as two:
            for client in (one, two):
                await client.send(CLUSTERS)
                await client.receive()
            desk.publish(snapshot("a", "b"))
            await desk.server.stop()
            for client in (one, two):
                assert (await client.end())[0] is grpc.StatusCode.OK
            desk.server.publish()


class TestAge:
    """Streams end at a random time, and nobody notices."""

    @pytest.mark.parametrize("delta", [False, True])
    async def test_an_old_stream_ends_cleanly_and_comes_back_to_silence(self, desk: Desk, delta: bool) -> None:
        """It says what it holds and is sent nothing."""
        async with desk.client(delta=delta) as client:
            await client.send(CLUSTERS)
            first = await client.receive()
            desk.now = MAX_AGE_S - 1.0
            desk.server.tick()
            assert desk.server.status()[0]["connected"]
            desk.now = 1.5 * MAX_AGE_S
            desk.server.tick()
            assert await client.end() == (grpc.StatusCode.OK, "")
        async with desk.client(delta=delta) as client:
            if delta:
                await client.send(CLUSTERS, initialResourceVersions={"a": first.resources[0].version})
            else:
                await client.send(CLUSTERS, versionInfo=first.version_info)
            await client.send(LISTENERS)
            assert (await client.receive()).type_url == LISTENERS
            assert desk.server.status()[0]["types"]["CDS"]["pushes"] == 0

    async def test_they_do_not_all_end_at_once(self, desk: Desk) -> None:
        """Those that came together leave apart."""
        async with desk.client(node="1") as one, desk.client(node="2") as two:
            for client in (one, two):
                await client.send(CLUSTERS)
                await client.receive()
            ends = {stream.ends_at for stream in desk.server._streams}
            assert len(ends) == 2
            assert all(MAX_AGE_S <= end <= 1.5 * MAX_AGE_S for end in ends)


class TestLife:
    """Start, stop, restart."""

    async def test_a_stop_ends_streams_cleanly(self, desk: Desk) -> None:
        """Envoys keep what they have and come back."""
        async with desk.client() as client:
            await client.send(CLUSTERS)
            await client.receive()
            await desk.server.stop()
            code, _ = await client.end()
            assert code is grpc.StatusCode.OK

    async def test_after_a_restart_nothing_is_sent_that_has_not_changed(self, desk: Desk) -> None:
        """Another process, the same content, the same version: silence until something changes."""
        async with desk.client() as client:
            await client.send(CLUSTERS)
            version = (await client.receive()).version_info
        await desk.server.stop()
        again = Desk()
        await again.server.start([desk.address])
        again.address = desk.address
        async with again.client() as client:
            await client.send(CLUSTERS, versionInfo=version)
            # Answers of a stream come in order: that to listeners would come after one to clusters.
            await client.send(LISTENERS)
            assert (await client.receive()).type_url == LISTENERS
            again.publish(snapshot("a", "b"))
            assert (await client.receive()).type_url == CLUSTERS
        await again.server.stop()

    async def test_a_taken_address(self, desk: Desk) -> None:
        """A clear error, and nothing left open: the other address can be had afterwards."""
        second = XdsServer(load(), lambda node: None, lambda: 0.0)
        with pytest.raises(AddressInUseError, match=desk.address):
            await second.start(["127.0.0.1:0", desk.address])
        await second.stop()

    async def test_stopping_what_never_started(self) -> None:
        """Harmless, so that a failed start needs no special case."""
        await XdsServer(load(), lambda node: None, lambda: 0.0).stop()
