"""What a real Envoy reports over LRS, endpoint by endpoint: the facts that `control_plane.xds.load_stats` goes by."""

import asyncio
import time
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from aiohttp import web

from control_plane.xds.load_stats import EndpointLoad, LoadReport, LoadStatsWire
from control_plane.xds.load_stats_server import LoadStatsService
from protos.messages import load
from tests.conformance.envoy_lab import Envoy, running
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually

pytestmark = pytest.mark.e2e

_HTTP = "type.googleapis.com/envoy.extensions"


def _endpoint(port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": port}}}}


def _cluster(name: str, *ports: int, **fields: Any) -> dict[str, Any]:
    group = {"locality": {"zone": "z"}, "lbEndpoints": [_endpoint(port) for port in ports]}
    assignment = {"clusterName": name, "endpoints": [group]}
    return {"name": name, "type": "STATIC", "connectTimeout": "1s", "loadAssignment": assignment, **fields}


def bootstrap(reports: int, listen: int, alive: int, dead: int) -> dict[str, Any]:
    """Each model of one pool by a path of its own: `/alive/…` has one pod, `/dead/…` one where nobody listens."""
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": f"{_HTTP}.upstreams.http.v3.HttpProtocolOptions",
            "explicitHttpConfig": {"http2ProtocolOptions": {}},
        }
    }
    routes = [{"match": {"prefix": f"/{name}/"}, "route": {"cluster": name}} for name in ("alive", "dead", "other")]
    manager = {
        "@type": f"{_HTTP}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": "lab",
        "routeConfig": {"virtualHosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "httpFilters": [{"name": "router", "typedConfig": {"@type": f"{_HTTP}.filters.http.router.v3.Router"}}],
    }
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 0}}},
        "clusterManager": {
            "loadStatsConfig": {
                "apiType": "GRPC",
                "transportApiVersion": "V3",
                "grpcServices": [{"envoyGrpc": {"clusterName": "kvpilot-xds"}}],
            }
        },
        "staticResources": {
            "listeners": [
                {
                    "name": "lab",
                    "address": {"socketAddress": {"address": "127.0.0.1", "portValue": listen}},
                    "filterChains": [{"filters": [{"name": "http", "typedConfig": manager}]}],
                }
            ],
            "clusters": [
                _cluster("kvpilot-xds", reports, typedExtensionProtocolOptions=http2),
                _cluster("alive", alive),
                _cluster("dead", dead),
                _cluster("other", alive),
            ],
        },
    }


class Pod:
    """Answers what the path says: `/…/429` with that status, `/…/stream` with headers at once and no end."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.address = 0

    async def start(self) -> None:
        """Listens."""
        application = web.Application()
        application.router.add_get("/{pool}/{word}", self._answer)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        (self.address,) = free_ports(1)
        await web.TCPSite(self._runner, "127.0.0.1", self.address).start()

    async def stop(self) -> None:
        """Ends."""
        self.let_go.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        word = request.match_info["word"]
        if word.isdigit():
            return web.Response(status=int(word))
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data")
        await self.let_go.wait()
        return response


class Quick(LoadStatsWire):
    """Asks for reports five times a second, and notes what comes. Mutable: the reports."""

    def __init__(self) -> None:
        super().__init__(load())
        self.reports: list[LoadReport] = []

    def read(self, data: bytes) -> LoadReport:
        """As the other, noted."""
        self.reports.append(super().read(data))
        return self.reports[-1]

    def answer(self, clusters: Set[str], interval_s: int) -> bytes:
        """As the other, in another interval."""
        answer: Any = load()["envoy.service.load_stats.v3.LoadStatsResponse"]()
        answer.MergeFromString(super().answer(clusters, interval_s))
        answer.load_reporting_interval.FromMilliseconds(200)
        data: bytes = answer.SerializeToString()
        return data


class Server:
    """The service on a port of its own."""

    def __init__(self) -> None:
        self.wire = Quick()
        self.service = LoadStatsService(load(), time.monotonic)
        self.service._wire = self.wire
        self.port = 0

    async def start(self) -> None:
        """Listens."""
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((self.service.handler(),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        """Ends."""
        self.service.stop()
        await self._server.stop(0)


async def test_what_envoy_reports(tmp_path: Path) -> None:
    """Nothing before it is asked, and then of the clusters that it is asked for: each answer without 5xx as a success
    when its headers come, 5xx and failed connections as errors, what runs at each report, and who it is."""
    (listen, dead), pod, server = free_ports(2), Pod(), Server()
    async with running(pod, server):
        envoy = Envoy(tmp_path, bootstrap(server.port, listen, pod.address, dead))
        async with running(envoy), aiohttp.ClientSession() as client:

            async def ask(path: str) -> int:
                async with client.get(f"http://127.0.0.1:{listen}/{path}") as answer:
                    return answer.status

            async def has(reports: int) -> bool:
                return len(server.wire.reports) >= reports

            assert await ask("alive/200") == 200
            await eventually(lambda: has(1), "Envoy to come")
            await asyncio.sleep(0.5)
            assert server.wire.reports == [LoadReport("lab", ())], "it has only said who it is"
            server.service.want({"alive"}, 1)
            await eventually(lambda: has(2), "the first report")
            server.service.want({"alive", "dead"}, 2)
            await eventually(lambda: has(5), "reports after another answer")
            server.wire.reports.clear()
            codes = [await ask(path) for path in ("alive/200", "alive/429", "alive/404", "alive/500", "other/200")]
            assert codes == [200, 429, 404, 500, 200]
            assert await ask("dead/200") == 503
            stream = await client.get(f"http://127.0.0.1:{listen}/alive/stream")
            before = len(server.wire.reports)
            await eventually(lambda: has(before + 4), "reports of intervals in which nothing began")
            assert server.wire.reports[-1].endpoints == (
                EndpointLoad("alive", f"127.0.0.1:{pod.address}", succeeded=0, failed=0, in_progress=1),
            )
            stream.close()

            assert {report.node for report in server.wire.reports} == {"lab"}
            done: Counter[tuple[str, str]] = Counter()
            for report in server.wire.reports:
                for endpoint in report.endpoints:
                    done[endpoint.cluster, "succeeded"] += endpoint.succeeded
                    done[endpoint.cluster, "failed"] += endpoint.failed
            assert done == {
                ("alive", "succeeded"): 4,  # 200, 429, 404 and the headers of the stream
                ("alive", "failed"): 1,
                ("dead", "succeeded"): 0,
                ("dead", "failed"): 1,
            }
            server.service.want(set(), 0)

            async def is_quiet() -> bool:
                return server.service.reporters == 0

            await eventually(is_quiet, "the stream to end")
