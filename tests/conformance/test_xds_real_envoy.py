"""The xDS server and a real Envoy, in both variants: it comes up, follows changes, says no, and survives a restart."""

import asyncio
import contextlib
import json
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from control_plane.compile.node import Node
from control_plane.sidecar.envoy_process import find_envoy
from control_plane.xds.kinds import ASKED_BY_ALL, CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, short_name
from control_plane.xds.server import MAX_AGE_S, XdsServer
from control_plane.xds.snapshot import Snapshot, build_snapshot
from control_plane.xds.transition import REMOVAL_GRACE_S
from protos.messages import load
from tests.kit import waiting
from tests.kit.ports import free_ports

WAIT_S = 12.0
"""For what must happen. Below the 15 s after which Envoy gives up waiting for endpoints: a server that leaves clusters
warming does not pass by Envoy's patience."""

eventually = partial(waiting.eventually, timeout_s=WAIT_S)

pytestmark = pytest.mark.e2e

TYPE = "type.googleapis.com/envoy.extensions"
ADS = {"ads": {}, "resourceApiVersion": "V3"}
_HTTP2 = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicitHttpConfig": {"http2ProtocolOptions": {}},
    }
}


def address(port: int) -> dict[str, object]:
    """A loopback address in Envoy's JSON."""
    return {"socketAddress": {"address": "127.0.0.1", "portValue": port}}


def endpoints(name: str, port: int) -> dict[str, object]:
    """An endpoint set of one."""
    return {"clusterName": name, "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address(port)}}]}]}


def cluster(name: str, **fields: object) -> dict[str, object]:
    """An EDS cluster."""
    return {"name": name, "type": "EDS", "edsClusterConfig": {"edsConfig": ADS}, "connectTimeout": "1s", **fields}


def listener() -> dict[str, object]:
    """A listener on a port from the system, with its routes from RDS."""
    manager = {
        "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": "web",
        "rds": {"routeConfigName": "web", "configSource": ADS},
        "httpFilters": [
            {
                "name": "envoy.filters.http.router",
                "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typedConfig": manager}]
    return {"name": "web", "address": address(0), "filterChains": [{"filters": filters}]}


def routes(to: str, greeting: str) -> dict[str, object]:
    """`/` answers with a greeting by itself, anything else goes to a cluster."""
    own = {"match": {"path": "/"}, "directResponse": {"status": 200, "body": {"inlineString": greeting}}}
    rest = {"match": {"prefix": "/"}, "route": {"cluster": to}}
    return {"name": "web", "virtualHosts": [{"name": "all", "domains": ["*"], "routes": [own, rest]}]}


def fleet(ports: Mapping[str, int], to: str, greeting: str = "hello", **changes: Mapping[str, object]) -> Snapshot:
    """Clusters of one endpoint each, and a listener whose routes lead to one of them; `changes` are cluster fields."""
    return build_snapshot(
        {
            CLUSTERS: {name: cluster(name, **changes.get(name, {})) for name in ports},
            ENDPOINTS: {name: endpoints(name, port) for name, port in ports.items()},
            LISTENERS: {"web": listener()},
            ROUTES: {"web": routes(to, greeting)},
        },
        load(),
    )


class Upstream:
    """A server that says its name to everybody."""

    def __init__(self, name: str) -> None:
        self._answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(name)}\r\n\r\n{name}".encode()
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listens; the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(self._answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def stop(self) -> None:
        """Stops listening."""
        if self._server is not None:
            self._server.close()


class Scene:
    """An Envoy, our server, and two upstreams called `a` and `b`."""

    def __init__(self, folder: Path, variant: str) -> None:
        self.variant = variant
        self.ports: dict[str, int] = {}
        self.served: Snapshot | None = None
        self.nodes: list[Node] = []
        self.skipped_s = 0.0
        self.xds = ""
        self._folder = folder
        self._upstreams = {name: Upstream(name) for name in ("a", "b")}

    async def __aenter__(self) -> "Scene":
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S))
        self.ports = {name: await upstream.start() for name, upstream in self._upstreams.items()}
        self.server = self._new_server()
        # A port that nobody else gets while the server is away.
        [self.xds] = await self.server.start([f"127.0.0.1:{free_ports(1)[0]}"])
        self.envoy = await self._start_envoy()
        await eventually((self._folder / "admin").exists)
        await eventually(lambda: (self._folder / "admin").read_text() != "")
        self.admin = (self._folder / "admin").read_text()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.envoy.kill()
        await self.envoy.wait()
        await self.server.stop()
        for upstream in self._upstreams.values():
            upstream.stop()
        await self.http.close()

    def _new_server(self) -> XdsServer:
        def snapshot_for(node: Node) -> Snapshot | None:
            self.nodes.append(node)
            return self.served

        return XdsServer(load(), snapshot_for, lambda: time.monotonic() + self.skipped_s)

    async def _start_envoy(self) -> Process:
        (self._folder / "bootstrap.json").write_text(json.dumps(self._bootstrap()))
        arguments = ["-c", str(self._folder / "bootstrap.json"), "--use-dynamic-base-id", "--concurrency", "1"]
        arguments += ["--admin-address-path", str(self._folder / "admin"), "--log-path", str(self._folder / "log")]
        return await asyncio.create_subprocess_exec(find_envoy(), *arguments)

    def _bootstrap(self) -> dict[str, object]:
        ads = {
            "apiType": "DELTA_GRPC" if self.variant == "delta" else "GRPC",
            "transportApiVersion": "V3",
            "setNodeOnFirstMessageOnly": True,
            "grpcServices": [{"envoyGrpc": {"clusterName": "xds"}}],
        }
        port = int(self.xds.rpartition(":")[2])
        return {
            "node": {"id": "envoy-1", "cluster": "test", "locality": {"region": "eu", "zone": "eu-1"}},
            "admin": {"address": address(0)},
            "dynamicResources": {"ldsConfig": ADS, "cdsConfig": ADS, "adsConfig": ads},
            "staticResources": {
                "clusters": [
                    {
                        "name": "xds",
                        "type": "STATIC",
                        "connectTimeout": "1s",
                        "typedExtensionProtocolOptions": _HTTP2,
                        "loadAssignment": endpoints("xds", port),
                    }
                ]
            },
        }

    def publish(self, served: Snapshot) -> None:
        """Serves this from now on."""
        self.served = served
        self.server.publish()

    async def pass_grace(self) -> None:
        """Waits until Envoy has confirmed all but the removal of clusters, and puts the clock forward to that."""
        assert self.served is not None
        wanted = {"LDS": self.served.versions[LISTENERS], "RDS": self.served.versions[ROUTES]}
        await eventually(lambda: {kind: self.type_status(kind)["version_acked"] for kind in wanted} == wanted)
        self.skipped_s += REMOVAL_GRACE_S

    async def restart(self, served: Snapshot) -> None:
        """The control plane goes away and comes back, with this to serve."""
        await self.server.stop()
        self.served = served
        self.server = self._new_server()
        await self.server.start([self.xds])
        await eventually(self.server.status)

    def type_status(self, kind: str) -> dict[str, Any]:
        """What the server's status says of one type."""
        [row] = self.server.status()
        told: dict[str, Any] = row["types"][kind]
        return told

    def is_synced(self) -> bool:
        """Whether Envoy has confirmed what is served, in every type."""
        rows = self.server.status()
        return len(rows) == 1 and all(
            rows[0]["types"][short_name(type_url)]["version_acked"] == self.served.versions[type_url]
            and rows[0]["types"][short_name(type_url)]["state"] == "SYNCED"
            for type_url in ASKED_BY_ALL
            if self.served is not None
        )

    async def admin_json(self, path: str) -> Any:
        """A page of Envoy's admin."""
        async with self.http.get(f"http://{self.admin}{path}") as response:
            return json.loads(await response.text())

    async def versions(self) -> dict[str, str]:
        """The versions of clusters and listeners that Envoy says it has, by name; in SotW those of the type."""
        found = {}
        for config in (await self.admin_json("/config_dump"))["configs"]:
            for entry in config.get("dynamic_active_clusters", []):
                found[f"cluster {entry['cluster']['name']}"] = entry.get("version_info", "")
            for entry in config.get("dynamic_listeners", []):
                found[f"listener {entry['name']}"] = entry["active_state"].get("version_info", "")
        return found

    async def get(self, path: str) -> tuple[int, str]:
        """A request through Envoy: status and body."""
        listeners = (await self.admin_json("/listeners?format=json"))["listener_statuses"]
        local = listeners[0]["local_address"]["socket_address"]
        async with self.http.get(f"http://{local['address']}:{local['port_value']}{path}") as response:
            return response.status, await response.text()


@pytest.fixture(params=["sotw", "delta"])
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Scene]:
    """A running Envoy that has been sent nothing yet."""
    async with Scene(tmp_path, request.param) as scene:
        yield scene


@pytest.fixture
async def serving(scene: Scene) -> Scene:
    """An Envoy that has confirmed its first snapshot, whose routes lead to `a`."""
    scene.publish(fleet({"a": scene.ports["a"]}, "a"))
    await eventually(scene.is_synced)
    return scene


async def test_it_comes_up(serving: Scene) -> None:
    """The listener works, endpoints are reached, and Envoy shows our versions."""
    assert await serving.get("/") == (200, "hello")
    assert await serving.get("/x") == (200, "a")
    assert serving.served is not None
    versions = await serving.versions()
    if serving.variant == "sotw":
        assert versions == {
            "cluster a": serving.served.versions[CLUSTERS],
            "listener web": serving.served.versions[LISTENERS],
        }
    else:
        assert versions == {
            "cluster a": serving.served.types[CLUSTERS]["a"].version,
            "listener web": serving.served.types[LISTENERS]["web"].version,
        }


async def test_it_says_who_it_is(serving: Scene) -> None:
    """Id, place, version, and the extensions that it knows."""
    node = serving.nodes[0]
    assert (node.id, node.cluster, node.region, node.zone) == ("envoy-1", "test", "eu", "eu-1")
    assert node.version is not None
    assert node.version >= (1, 30, 0)
    assert node.extensions is not None
    assert "envoy.extensions.filters.http.router.v3.Router" in node.extensions


async def test_each_type_is_sent_once(serving: Scene) -> None:
    """A start needs one push per type, and nothing follows."""
    assert [serving.type_status(kind)["pushes"] for kind in ("CDS", "EDS", "LDS", "RDS")] == [1, 1, 1, 1]


async def test_a_change_is_applied(serving: Scene) -> None:
    """Routes, and endpoints that move to another pod; clusters and listeners are not sent again."""
    serving.publish(fleet({"a": serving.ports["b"]}, "a", greeting="bye"))
    await eventually(serving.is_synced)
    assert await serving.get("/") == (200, "bye")
    assert await serving.get("/x") == (200, "b")
    assert [serving.type_status(kind)["pushes"] for kind in ("CDS", "EDS", "LDS", "RDS")] == [1, 2, 1, 2]


async def test_a_changed_cluster_does_not_stall(serving: Scene) -> None:
    """Its endpoints are unchanged and yet sent, else Envoy would warm it for 15 s."""
    serving.publish(fleet({"a": serving.ports["a"]}, "a", a={"connectTimeout": "2s"}))
    await eventually(serving.is_synced)
    assert serving.type_status("EDS")["pushes"] == 2
    assert await serving.get("/x") == (200, "a")


async def test_a_new_cluster_replaces_an_old_one_without_an_error(serving: Scene) -> None:
    """Requests flow all the time; at the end the old cluster is gone from Envoy."""
    statuses: list[int] = []

    async def load_on() -> None:
        while True:
            statuses.append((await serving.get("/x"))[0])

    requests = asyncio.create_task(load_on())
    for to in ("b", "a", "b"):
        serving.publish(fleet({to: serving.ports[to]}, to))
        await serving.pass_grace()
        await eventually(serving.is_synced)
    requests.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await requests
    assert set(statuses) == {200}
    assert await serving.get("/x") == (200, "b")
    assert {name for name in await serving.versions() if name.startswith("cluster")} == {"cluster b"}


async def test_a_bad_cluster_is_parked_and_spoils_nothing(serving: Scene) -> None:
    """Envoy's words are in the status; it is not sent again; the rest of the snapshot and later changes apply."""
    ports = {"a": serving.ports["a"], "bad": 1}
    broken: dict[str, object] = {"edsClusterConfig": {}}
    serving.publish(fleet(ports, "a", greeting="with bad", bad=broken))
    await eventually(lambda: serving.type_status("CDS")["state"] == "ERROR")
    told = serving.type_status("CDS")
    assert "bad" in told["error"]
    assert told["resources"] == ["bad"]
    await eventually(lambda: serving.type_status("RDS")["state"] == "SYNCED")
    assert await serving.get("/") == (200, "with bad")
    pushes = told["pushes"]
    for greeting in ("one", "two", "three"):
        serving.publish(fleet(ports, "a", greeting=greeting, bad=broken))
        await eventually(lambda: serving.type_status("RDS")["state"] == "SYNCED")
    assert await serving.get("/") == (200, "three")
    assert (serving.type_status("CDS")["pushes"], serving.type_status("CDS")["nacks"]) == (pushes, 1)
    serving.publish(fleet({"a": serving.ports["a"]}, "a", greeting="fixed"))
    await eventually(serving.is_synced)
    assert await serving.get("/x") == (200, "a")


async def test_a_bad_route_keeps_the_old_ones(serving: Scene) -> None:
    """What Envoy refuses changes nothing, the cluster of the old routes stays, and a fix goes through."""
    changed = fleet({"b": serving.ports["b"]}, "b")
    bad = build_snapshot(
        {
            CLUSTERS: {"b": cluster("b")},
            ENDPOINTS: {"b": endpoints("b", serving.ports["b"])},
            LISTENERS: {"web": listener()},
            ROUTES: {"web": {"name": "web", "virtualHosts": [{"name": "", "domains": ["*"]}]}},
        },
        load(),
    )
    serving.publish(bad)
    await eventually(lambda: serving.type_status("RDS")["state"] == "ERROR")
    assert await serving.get("/x") == (200, "a")
    serving.publish(changed)
    await serving.pass_grace()
    await eventually(serving.is_synced)
    assert await serving.get("/x") == (200, "b")


async def test_a_restarted_server_sends_nothing(serving: Scene) -> None:
    """Envoy serves on while it is away, and is left alone when it is back; a change then still arrives."""
    served = serving.served
    assert served is not None
    await serving.server.stop()
    assert await serving.get("/x") == (200, "a")
    await serving.restart(served)
    await eventually(serving.is_synced)
    assert [serving.type_status(kind)["pushes"] for kind in ("CDS", "EDS", "LDS", "RDS")] == [0, 0, 0, 0]
    serving.publish(fleet({"a": serving.ports["b"]}, "a", greeting="changed"))
    await eventually(serving.is_synced)
    assert await serving.get("/") == (200, "changed")
    assert await serving.get("/x") == (200, "b")


async def test_an_old_stream_is_ended_and_comes_back_to_silence(serving: Scene) -> None:
    """Envoy opens a new one, says what it holds, and is sent nothing; requests are answered all the time."""
    opened = len(serving.nodes)
    serving.skipped_s += 1.5 * MAX_AGE_S
    assert await serving.get("/x") == (200, "a")
    # Not "until it is gone": Envoy waits up to half a second before it comes back, and now and then not at all.
    await eventually(lambda: len(serving.nodes) > opened and serving.is_synced())
    assert await serving.get("/x") == (200, "a")
    assert [serving.type_status(kind)["pushes"] for kind in ("CDS", "EDS", "LDS", "RDS")] == [0, 0, 0, 0]


async def test_what_was_dropped_while_the_server_was_away_breaks_no_route(serving: Scene) -> None:
    """It comes back with another policy and remembers the last one: the old cluster goes when nothing leads to it."""
    served = serving.served
    assert served is not None
    await serving.server.stop()
    serving.served = fleet({"b": serving.ports["b"]}, "b")
    serving.server = serving._new_server()
    serving.server.remember(served)
    statuses: list[int] = []

    async def load_on() -> None:
        while True:
            statuses.append((await serving.get("/x"))[0])

    async def only_b_is_left() -> bool:
        return {name for name in await serving.versions() if name.startswith("cluster")} == {"cluster b"}

    requests = asyncio.create_task(load_on())
    await serving.server.start([serving.xds])
    await eventually(lambda: any(row["connected"] for row in serving.server.status()))
    await serving.pass_grace()
    await eventually(only_b_is_left)
    await eventually(serving.is_synced)
    requests.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await requests
    assert set(statuses) == {200}


async def test_a_server_that_comes_back_without_a_snapshot_wipes_nothing(serving: Scene) -> None:
    """It has nothing to say yet, and says nothing: Envoy serves on."""
    served = serving.served
    assert served is not None
    await serving.server.stop()
    serving.served = None
    serving.server = serving._new_server()
    await serving.server.start([serving.xds])
    await eventually(serving.server.status)
    assert await serving.get("/x") == (200, "a")
    serving.publish(served)
    await eventually(serving.is_synced)
    assert serving.type_status("CDS")["pushes"] == 0
    assert await serving.get("/x") == (200, "a")
