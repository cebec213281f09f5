"""gRPC health messages in bytes (`grpc.health.v1`): two fields, known by heart."""

import pytest

from ext_proc.wire_health import HealthWire, ServingStatus
from protos.messages import load

WIRE = HealthWire(load())


def test_requests() -> None:
    """Field 1 names the service; an empty message asks for the server."""
    assert WIRE.decode(b"") == ""
    assert WIRE.decode(b"\x0a\x08liveness") == "liveness"


def test_garbage() -> None:
    """Bytes that are no request say so."""
    with pytest.raises(ValueError, match="not a HealthCheckRequest"):
        WIRE.decode(b"\x0a\xff")


@pytest.mark.parametrize("status", list(ServingStatus))
def test_responses(status: ServingStatus) -> None:
    """Field 1 is the status as a varint."""
    assert WIRE.encode(status) == bytes([8, status])
