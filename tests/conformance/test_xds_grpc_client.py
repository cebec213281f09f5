"""The xDS server and gRPC's own xDS client: a second, independent client, which names what it wants in every type.

It runs in a process of its own, because it reads its bootstrap from the environment once.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.server import XdsServer
from control_plane.xds.snapshot import Snapshot, build_snapshot
from protos.messages import load
from tests.kit import waiting

WAIT_S = 20.0
"""For what must happen; it only bounds how long a failing test takes."""

eventually = partial(waiting.eventually, timeout_s=WAIT_S)

pytestmark = pytest.mark.e2e

CLIENT = """
import sys, grpc
channel = grpc.insecure_channel("xds:///svc")
call = channel.unary_unary("/test.Name/Tell")
for _ in sys.stdin:
    print(call(b"", wait_for_ready=True, timeout=15).decode(), flush=True)
"""

TYPE = "type.googleapis.com/envoy.extensions"
ADS = {"ads": {}, "resourceApiVersion": "V3"}


def fleet(port: int, **cluster: object) -> Snapshot:
    """A service of one endpoint, as gRPC wants it: a listener by name, a route, an EDS cluster."""
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "rds": {"routeConfigName": "route", "configSource": ADS},
        "httpFilters": [{"name": "router", "typedConfig": {"@type": f"{TYPE}.filters.http.router.v3.Router"}}],
    }
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": ""}, "route": {"cluster": "c"}}]}
    address = {"socketAddress": {"address": "127.0.0.1", "portValue": port}}
    locality = {
        "locality": {"zone": "z"},
        "loadBalancingWeight": 1,
        "lbEndpoints": [{"endpoint": {"address": address}}],
    }
    eds = {"edsConfig": ADS}
    return build_snapshot(
        {
            CLUSTERS: {"c": {"name": "c", "type": "EDS", "edsClusterConfig": eds, **cluster}},
            ENDPOINTS: {"c": {"clusterName": "c", "endpoints": [locality]}},
            LISTENERS: {"svc": {"name": "svc", "apiListener": {"apiListener": manager}}},
            ROUTES: {"route": {"name": "route", "virtualHosts": [host]}},
        },
        load(),
    )


async def backend(name: str) -> tuple[Any, int]:
    """A gRPC server that tells its name, and its port."""

    async def tell(_: bytes, __: Any) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    handlers = {"Tell": grpc.unary_unary_rpc_method_handler(tell)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Name", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


class Scene:
    """Two backends, our server, and the client's process."""

    async def __aenter__(self) -> "Scene":
        (self._one, self.one), (self._two, self.two) = await backend("one"), await backend("two")
        self.served = fleet(self.one)
        self.server = XdsServer(load(), lambda node: self.served, time.monotonic)
        [address] = await self.server.start(["127.0.0.1:0"])
        bootstrap = {
            "xds_servers": [
                {"server_uri": address, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
            ],
            "node": {"id": "grpc-1", "locality": {"zone": "z"}},
        }
        self._client: Process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CLIENT,
            stdin=PIPE,
            stdout=PIPE,
            env=os.environ | {"GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
            cwd=Path(__file__).parent,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._client.kill()
        await self._client.communicate()
        for server in (self._one, self._two):
            await server.stop(None)
        await self.server.stop()

    async def call(self) -> str:
        """One call of the client: which backend answered."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        self._client.stdin.write(b"\n")
        async with asyncio.timeout(WAIT_S):
            return (await self._client.stdout.readline()).decode().strip()

    def states(self) -> list[str]:
        """The state of each type, in push order."""
        return [told["state"] for row in self.server.status() for told in row["types"].values()]

    def publish(self, served: Snapshot) -> None:
        """Serves this from now on."""
        self.served = served
        self.server.publish()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    """A client that has called once."""
    async with Scene() as scene:
        assert await scene.call() == "one"
        yield scene


async def test_it_finds_its_way(scene: Scene) -> None:
    """Listener, route, cluster and endpoints, each asked for by name, each confirmed."""
    await eventually(lambda: scene.states() == ["SYNCED"] * 4)
    assert scene.server.status()[0]["node"] == "grpc-1"


async def test_it_follows_a_move(scene: Scene) -> None:
    """The endpoint is another; calls go there."""
    scene.publish(fleet(scene.two))
    await eventually(lambda: scene.server.status()[0]["types"]["EDS"]["acks"] == 2)
    async with asyncio.timeout(WAIT_S):
        while await scene.call() != "two":
            pass


async def test_it_rejects_what_it_cannot_use(scene: Scene) -> None:
    """Its words are in the status, it goes on with what it had, and a fix is taken."""
    await eventually(lambda: scene.states() == ["SYNCED"] * 4)
    scene.publish(fleet(scene.one, lbPolicy="MAGLEV"))
    await eventually(lambda: scene.states()[0] == "ERROR")
    told = scene.server.status()[0]["types"]["CDS"]
    assert "c" in told["resources"]
    assert (told["pushes"], told["nacks"]) == (2, 1)
    assert await scene.call() == "one"
    scene.publish(fleet(scene.one, lbPolicy="RING_HASH"))
    await eventually(lambda: scene.states() == ["SYNCED"] * 4)
