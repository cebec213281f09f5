"""What we push, read back twice: by another codec, and by Envoy itself."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.compile import AdsVariant, cluster_name
from protos.derive import root_class
from protos.messages import load
from tests.kit.fleet import quick_fleet
from tests.kit.mesh import PolicyText, mesh
from tests.kit.waiting import eventually

PREFIX = "type.googleapis.com/"
TYPES = {
    "clusters": "envoy.config.cluster.v3.Cluster",
    "endpoints": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "listeners": "envoy.config.listener.v3.Listener",
    "routes": "envoy.config.route.v3.RouteConfiguration",
}


async def first_answer(address: str, method: str, request: Any, response: str) -> Any:
    """The first response of an ADS stream to one request."""
    request.node.id = "reader"
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.stream_stream(
            f"/envoy.service.discovery.v3.AggregatedDiscoveryService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=load()[f"envoy.service.discovery.v3.{response}"].FromString,
        )()
        await call.write(request)
        answer = await call.read()
        call.cancel()
    return answer


async def fetch_sotw(address: str, kind: str, names: list[str]) -> list[bytes]:
    """The resources of one type as a state-of-the-world client gets them."""
    request: Any = load()["envoy.service.discovery.v3.DiscoveryRequest"]()
    request.type_url = PREFIX + TYPES[kind]
    request.resource_names.extend(names)
    answer = await first_answer(address, "StreamAggregatedResources", request, "DiscoveryResponse")
    return [resource.value for resource in answer.resources]


async def fetch_delta(address: str, kind: str, names: list[str]) -> list[bytes]:
    """The resources of one type as a delta client gets them."""
    request: Any = load()["envoy.service.discovery.v3.DeltaDiscoveryRequest"]()
    request.type_url = PREFIX + TYPES[kind]
    request.resource_names_subscribe.extend(names)
    answer = await first_answer(address, "DeltaAggregatedResources", request, "DeltaDiscoveryResponse")
    return [resource.resource.value for resource in answer.resources]


@pytest.mark.parametrize("ads", ["delta", "sotw"])
async def test_a_second_codec_and_envoy_agree_on_what_is_pushed(tmp_path: Path, ads: AdsVariant) -> None:
    """envoy-data-plane reads the bytes to the expected values, and Envoy's /config_dump shows the same."""
    async with quick_fleet(3) as fleet:
        one, two, three = fleet.addresses
        policy = PolicyText(
            pools={"a": [one, two], "b": [three]}, models={"llama": "a", "qwen": "b"}, weights={one: 70, two: 30}
        )
        async with mesh(tmp_path, policy, ads=ads) as running:
            await eventually(running.is_synced, "the first synchronisation")
            fetch = fetch_sotw if ads == "sotw" else fetch_delta
            pool = cluster_name("a")
            pushed = {
                kind: [
                    root_class(TYPES[kind])().parse(body)
                    for body in await fetch(
                        running.kvpilot.xds,
                        kind,
                        {"endpoints": [pool], "routes": ["openai"]}.get(kind, []),
                    )
                ]
                for kind in TYPES
            }
            assert {cluster.name for cluster in pushed["clusters"]} == {pool, cluster_name("b"), "kvpilot"}
            (assignment,) = pushed["endpoints"]
            weights = {
                f"{host.endpoint.address.socket_address.address}:{host.endpoint.address.socket_address.port_value}": (
                    host.load_balancing_weight
                )
                for locality in assignment.endpoints
                for host in locality.lb_endpoints
            }
            assert weights == {one: 70, two: 30}
            (listener,) = pushed["listeners"]
            assert listener.name == "openai"
            (routes,) = pushed["routes"]
            names = [route.name for route in routes.virtual_hosts[0].routes]
            assert {"model/llama", "model/qwen"} <= set(names)

            dump = json.loads(await running.envoy_admin("/config_dump?include_eds=on"))
            shown = json.dumps(dump)
            assert pool in {
                cluster["cluster"]["name"]
                for part in dump["configs"]
                for cluster in part.get("dynamic_active_clusters", [])
            }
            assert {
                host["load_balancing_weight"]
                for part in dump["configs"]
                for found in part.get("dynamic_endpoint_configs", [])
                if found["endpoint_config"]["cluster_name"] == pool
                for locality in found["endpoint_config"]["endpoints"]
                for host in locality["lb_endpoints"]
            } == {70, 30}
            for name in names:
                assert f'"name": "{name}"' in shown
            assert "error_state" not in shown
