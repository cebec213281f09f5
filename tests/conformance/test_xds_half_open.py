"""A client that is gone without a word: its machine has lost power, or its process is stopped. The connection stays
open and nobody answers on it."""

import asyncio
import signal
import sys
import time
from asyncio.subprocess import PIPE

import pytest

from control_plane.compile.node import Node
from control_plane.xds import server
from control_plane.xds.kinds import CLUSTERS
from control_plane.xds.server import XdsServer
from control_plane.xds.snapshot import Snapshot, build_snapshot
from protos.messages import load
from tests.unit.control_plane.xds.ads_client import AdsClient

pytestmark = pytest.mark.e2e

WAIT_S = 20.0
"""For what must happen; it only bounds how long a failing test takes."""

CLIENT = """
import sys, threading, grpc
channel = grpc.insecure_channel(sys.argv[1])
method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

def requests():
    yield bytes.fromhex(sys.argv[2])
    threading.Event().wait()

call = channel.stream_stream(method)(requests())
next(call)
print("served", flush=True)
threading.Event().wait()
"""


def snapshot(*clusters: str) -> Snapshot:
    """Static clusters of these names."""
    return build_snapshot({CLUSTERS: {name: {"name": name, "type": "STATIC"} for name in clusters}}, load())


async def test_it_is_noticed_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another client gets its changes all the time, and the stream of the silent one ends when it answers no ping."""
    quick = {"grpc.keepalive_time_ms": 1_000, "grpc.keepalive_timeout_ms": 500, "grpc.http2.ping_timeout_ms": 500}
    monkeypatch.setattr(server, "_OPTIONS", tuple((dict(server._OPTIONS) | quick).items()))
    serves = {"now": snapshot("a")}

    def snapshot_for(node: Node) -> Snapshot:
        return serves["now"]

    running = XdsServer(load(), snapshot_for, time.monotonic)
    [address] = await running.start(["127.0.0.1:0"])
    request = {"typeUrl": CLUSTERS, "node": {"id": "silent"}}
    data = load().parse_json("envoy.service.discovery.v3.DeltaDiscoveryRequest", request).SerializeToString()
    client = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, address, data.hex(), stdout=PIPE)
    try:
        assert client.stdout is not None
        async with asyncio.timeout(WAIT_S):
            assert await client.stdout.readline() == b"served\n"
        client.send_signal(signal.SIGSTOP)
        quick_client = AdsClient(address, delta=True, node="lively")
        await quick_client.send(CLUSTERS)
        nonce, number = (await quick_client.receive()).nonce, 0
        async with asyncio.timeout(WAIT_S):
            while any(row["node"] == "silent" and row["connected"] for row in running.status()):
                number += 1
                await quick_client.send(CLUSTERS, responseNonce=nonce)
                serves["now"] = snapshot("a", f"b{number}")
                running.publish()
                nonce = (await quick_client.receive()).nonce
                await asyncio.sleep(0.05)
        assert number > 0
        await quick_client.close()
    finally:
        client.kill()
        await client.communicate()
        await running.stop()
