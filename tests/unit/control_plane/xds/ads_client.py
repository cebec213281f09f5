"""A real gRPC client of the ADS server, one message at a time."""

import asyncio
from typing import Any

import grpc

from control_plane.xds.server import SERVICE
from protos.messages import load

WAIT_S = 10.0
"""For an answer that must come; it only bounds how long a failing test takes."""

_DISCOVERY = "envoy.service.discovery.v3."


class AdsClient:
    """One stream. Requests are given in Envoy's JSON, responses come as messages."""

    def __init__(self, address: str, *, delta: bool = False, node: str | None = "envoy-1") -> None:
        self._node = node
        self._prefix = "Delta" if delta else ""
        self._response: Any = load()[f"{_DISCOVERY}{self._prefix}DiscoveryResponse"]
        # A channel of its own: else two clients in a test would share one connection and its flow control.
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        method = "DeltaAggregatedResources" if delta else "StreamAggregatedResources"
        self.call: Any = self._channel.stream_stream(f"/{SERVICE}/{method}")()

    async def send(self, type_url: str, **fields: object) -> None:
        """Sends a request; the first carries the node."""
        if self._node is not None:
            fields["node"], self._node = {"id": self._node}, None
        name = f"{_DISCOVERY}{self._prefix}DiscoveryRequest"
        request = load().parse_json(name, {"typeUrl": type_url, **fields})
        await self.send_bytes(request.SerializeToString())

    async def send_bytes(self, data: bytes) -> None:
        """Sends whatever it is."""
        async with asyncio.timeout(WAIT_S):
            await self.call.write(data)

    async def receive(self) -> Any:
        """The next response; fails if the stream ends instead."""
        async with asyncio.timeout(WAIT_S):
            data = await self.call.read()
        assert data is not grpc.aio.EOF, "the stream has ended"
        return self._response.FromString(data)

    async def end(self) -> tuple[grpc.StatusCode, str]:
        """Waits for the server to end the stream; the status and its text."""
        async with asyncio.timeout(WAIT_S):
            return await self.call.code(), await self.call.details()

    async def close(self) -> None:
        """Ends the stream from this side."""
        self.call.cancel()
        await self._channel.close()
