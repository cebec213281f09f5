"""Bytes in both directions, read back by the same messages and by another codec."""

from typing import Any

import pytest

from bench.push import nonce_of
from control_plane.compile.node import Node
from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.kinds import CLUSTERS
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from control_plane.xds.snapshot import Resource, build_snapshot
from control_plane.xds.wire import IDENTIFIER, RequestReader, ResponseWriter
from protos.messages import load

READER = RequestReader(load())
NODE = {
    "id": "envoy-1",
    "cluster": "edge",
    "locality": {"region": "eu", "zone": "eu-1"},
    "userAgentBuildVersion": {"version": {"majorNumber": 1, "minorNumber": 40, "patch": 2}},
    "extensions": [
        {"name": "envoy.filters.http.router", "typeUrls": ["envoy.extensions.filters.http.router.v3.Router"]},
        {"name": "old", "typeUrls": ["type.googleapis.com/envoy.x.Y"]},
    ],
}


def encode(name: str, **fields: object) -> bytes:
    """A request as Envoy would send it."""
    return load().parse_json(f"envoy.service.discovery.v3.{name}", fields).SerializeToString()


class TestReading:
    """Requests."""

    def test_a_sotw_request(self) -> None:
        """Every field that the session needs."""
        data = encode(
            "DiscoveryRequest",
            typeUrl=CLUSTERS,
            versionInfo="v",
            responseNonce="n",
            resourceNames=["a", "b"],
            errorDetail={"code": 3, "message": "bad"},
        )
        expected = SotwRequest(type_url=CLUSTERS, version="v", nonce="n", names=("a", "b"), error="bad")
        assert READER.read_sotw(data) == (None, expected)

    def test_a_delta_request(self) -> None:
        """Every field that the session needs."""
        data = encode(
            "DeltaDiscoveryRequest",
            typeUrl=CLUSTERS,
            responseNonce="n",
            resourceNamesSubscribe=["a"],
            resourceNamesUnsubscribe=["b"],
            initialResourceVersions={"a": "1"},
        )
        expected = DeltaRequest(
            type_url=CLUSTERS, nonce="n", subscribe=("a",), unsubscribe=("b",), initial_versions={"a": "1"}
        )
        assert READER.read_delta(data) == (None, expected)

    def test_an_error_without_a_text_is_still_an_error(self) -> None:
        """The presence of the field rejects, whatever is in it."""
        _, request = READER.read_sotw(encode("DiscoveryRequest", typeUrl=CLUSTERS, errorDetail={}))
        assert request.error == "rejected without a text, status code 0"

    @pytest.mark.parametrize("name", ["DiscoveryRequest", "DeltaDiscoveryRequest"])
    def test_the_node(self, name: str) -> None:
        """Who it is, where, how old, and what it knows."""
        read: Any = READER.read_sotw if name == "DiscoveryRequest" else READER.read_delta
        node, _ = read(encode(name, typeUrl=CLUSTERS, node=NODE))
        assert node == Node(
            id="envoy-1",
            cluster="edge",
            region="eu",
            zone="eu-1",
            version=(1, 40, 2),
            extensions=frozenset(
                {"envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", "old", "envoy.x.Y"}
            ),
        )

    def test_the_node_s_metadata(self) -> None:
        """Every kind of value as Python has it."""
        metadata = {"env": "canary", "shard": 3, "on": True, "none": None, "list": ["a", {"b": 1.5}], "deep": {"a": {}}}
        node, _ = READER.read_sotw(encode("DiscoveryRequest", node={"id": "x", "metadata": metadata}))
        assert node is not None
        assert node.metadata == metadata
        assert hash(node) == hash(Node(id="x"))

    def test_numbers_that_json_cannot_say(self) -> None:
        """They come over the wire all the same, and harm nothing."""
        request = load().parse_json("envoy.service.discovery.v3.DiscoveryRequest", {"node": {"id": "x"}})
        request.node.metadata.fields["n"].number_value = float("inf")  # type: ignore[attr-defined]
        node, _ = READER.read_sotw(request.SerializeToString())
        assert node is not None
        assert node.metadata == {"n": float("inf")}

    def test_a_node_that_tells_little(self) -> None:
        """Not told is None, not empty."""
        node, _ = READER.read_sotw(encode("DiscoveryRequest", node={"id": "x"}))
        assert node == Node(id="x")

    @pytest.mark.parametrize("read", [READER.read_sotw, READER.read_delta])
    def test_garbage_is_refused(self, read: Any) -> None:
        """Bytes that are no request end the stream with a reason."""
        with pytest.raises(RefusedRequestError) as refused:
            read(b"\xff\xff\xff")
        assert refused.value.code == "INVALID_ARGUMENT"


SNAPSHOT = build_snapshot({CLUSTERS: {name: {"name": name, "type": "STATIC"} for name in ("a", "b")}}, load())
PUSH = Push(
    type_url=CLUSTERS,
    nonce="7",
    version="v1",
    resources=tuple(SNAPSHOT.types[CLUSTERS].values()),
)


class TestWriting:
    """Responses."""

    def test_a_sotw_response(self) -> None:
        """Version, nonce, type and whole resources."""
        message: Any = load()["envoy.service.discovery.v3.DiscoveryResponse"].FromString(
            ResponseWriter(load()).write("sotw", PUSH)
        )
        assert load().to_json(message) == {
            "versionInfo": "v1",
            "nonce": "7",
            "typeUrl": CLUSTERS,
            "controlPlane": {"identifier": IDENTIFIER},
            "resources": [{"@type": CLUSTERS, "name": name, "type": "STATIC"} for name in ("a", "b")],
        }

    def test_a_delta_response(self) -> None:
        """Each resource with its own name and version, and what is removed."""
        push = Push(type_url=CLUSTERS, nonce="8", version="v2", resources=PUSH.resources[:1], removed=("c",))
        message: Any = load()["envoy.service.discovery.v3.DeltaDiscoveryResponse"].FromString(
            ResponseWriter(load()).write("delta", push)
        )
        assert (message.nonce, message.type_url, message.system_version_info) == ("8", CLUSTERS, "v2")
        assert list(message.removed_resources) == ["c"]
        [entry] = message.resources
        assert (entry.name, entry.version, entry.resource.type_url) == ("a", push.resources[0].version, CLUSTERS)
        assert entry.resource.value == push.resources[0].body

    @pytest.mark.parametrize("dialect", ["sotw", "delta"])
    def test_another_codec_reads_the_same(self, dialect: str) -> None:
        """The bytes are put together by hand; a second implementation of protobuf must agree."""
        import envoy_data_plane.envoy.service.discovery.v3 as discovery

        data = ResponseWriter(load()).write(dialect, PUSH)
        if dialect == "sotw":
            sotw = discovery.DiscoveryResponse.parse(data)
            assert (sotw.nonce, sotw.version_info, len(sotw.resources)) == ("7", "v1", 2)
        else:
            delta = discovery.DeltaDiscoveryResponse.parse(data)
            assert (delta.nonce, delta.system_version_info, len(delta.resources)) == ("7", "v1", 2)

    def test_the_same_content_is_serialised_once(self) -> None:
        """Streams differ in the nonce only."""
        writer = ResponseWriter(load())
        first = writer.write("sotw", PUSH)
        second = writer.write("sotw", Push(type_url=CLUSTERS, nonce="9", version="v1", resources=PUSH.resources))
        assert writer.serialised == 1
        assert first != second
        assert len(first) == len(second)

    def test_different_content_is_not_mixed_up(self) -> None:
        """A part, another version, another variant: each has its own bytes."""
        writer = ResponseWriter(load())
        writer.write("sotw", PUSH)
        writer.write("delta", PUSH)
        writer.write("sotw", Push(type_url=CLUSTERS, nonce="7", version="v2", resources=PUSH.resources))
        writer.write("sotw", Push(type_url=CLUSTERS, nonce="7", version="v1", resources=PUSH.resources[:1]))
        changed = Resource("a", "other", b"")
        writer.write("sotw", Push(type_url=CLUSTERS, nonce="7", version="v1", resources=(changed,)))
        assert writer.serialised == 5

    def test_the_memory_is_bounded(self) -> None:
        """The least recently used bytes go first; everything is still written."""
        one = len(ResponseWriter(load()).write("sotw", PUSH))
        writer = ResponseWriter(load(), max_cached_bytes=2 * one)
        pushes = [Push(type_url=CLUSTERS, nonce="7", version=f"v{n}", resources=PUSH.resources) for n in range(3)]
        for push in (pushes[0], pushes[1], pushes[0], pushes[2], pushes[0]):
            assert writer.write("sotw", push)
        assert writer.serialised == 3
        writer.write("sotw", pushes[1])
        assert writer.serialised == 4

    def test_the_sender_is_said_per_stream(self) -> None:
        """The body is remembered once, whoever is said to send it."""
        writer = ResponseWriter(load())
        found = [writer.write("delta", PUSH, identifier) for identifier in ("kvpilot/1", "kvpilot/2")]
        message: Any = load()["envoy.service.discovery.v3.DeltaDiscoveryResponse"]
        assert [message.FromString(data).control_plane.identifier for data in found] == ["kvpilot/1", "kvpilot/2"]
        assert writer.serialised == 1

    @pytest.mark.parametrize("nonce", ["7", "123456"])
    def test_the_nonce_is_where_the_benchmark_looks_for_it(self, nonce: str) -> None:
        """`bench.push` takes it from the end of the bytes, since reading all of them would be what it measures."""
        push = Push(type_url=CLUSTERS, nonce=nonce, version="v1", resources=PUSH.resources)
        for identifier in (IDENTIFIER, f"{IDENTIFIER}/0123456789abcdef"):
            assert nonce_of(ResponseWriter(load()).write("delta", push, identifier)) == nonce
