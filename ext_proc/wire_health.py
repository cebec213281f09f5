"""gRPC health checking in protobuf (`grpc.health.v1`, gRPC's health-checking document). No I/O."""

from enum import IntEnum
from typing import Any

from google.protobuf.message import DecodeError

from protos.messages import Messages


class ServingStatus(IntEnum):
    """`HealthCheckResponse.ServingStatus`."""

    SERVING = 1
    NOT_SERVING = 2
    SERVICE_UNKNOWN = 3


class HealthWire:
    """The codec of `grpc.health.v1`. Immutable after construction."""

    def __init__(self, messages: Messages) -> None:
        """`messages` gives the message classes."""
        self._request: Any = messages["grpc.health.v1.HealthCheckRequest"]
        self._response: Any = messages["grpc.health.v1.HealthCheckResponse"]

    def decode(self, data: bytes) -> str:
        """The service asked for; empty for the server as a whole. Raises `ValueError` for garbage."""
        try:
            return str(self._request.FromString(data).service)
        except DecodeError as error:
            raise ValueError(f"not a HealthCheckRequest: {error}") from None

    def encode(self, status: ServingStatus) -> bytes:
        """A response with this `ServingStatus`."""
        return bytes(self._response(status=status).SerializeToString())
