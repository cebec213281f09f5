"""Heartbeats in bytes: which report they are."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import LoadReported
from ext_proc.core.loaded_models import MAX_NAMES
from ext_proc.wire_loads import MAX_NAME, LoadWire
from protos.messages import load

WIRE = LoadWire(load())
HEARTBEAT = "kvpilot.load.v1.Heartbeat"


def heartbeat(**fields: Any) -> bytes:
    """A heartbeat of 10.0.0.1:8000."""
    return load().parse_json(HEARTBEAT, {"address": "10.0.0.1:8000", **fields}).SerializeToString()


def test_all_fields() -> None:
    """Each number arrives under the name that scraped ones have."""
    data = heartbeat(
        sequence=7,
        interval_ms=500,
        running=3,
        waiting=0,
        waiting_tokens=100,
        max_running=256,
        kv_usage=0.5,
        kv_tokens=100_000,
        block_size=16,
        draining=True,
        models={"name": ["m", "l", "m", ""]},
        adapters={"name": ["l"]},
    )
    assert WIRE.decode(data, 5.0) == (
        7,
        LoadReported(
            address="10.0.0.1:8000",
            at=5.0,
            source="report",
            interval_s=0.5,
            running=3,
            waiting=0,
            waiting_tokens=100,
            max_running=256,
            kv_usage=0.5,
            kv_tokens=100_000,
            block_size=16,
            models=("m", "l"),
            adapters=("l",),
            draining=True,
        ),
    )


def test_what_is_absent_is_not_told() -> None:
    """No running requests and no models are something else than no word about them."""
    assert WIRE.decode(heartbeat(), 5.0) == (0, LoadReported(address="10.0.0.1:8000", at=5.0))
    _, told = WIRE.decode(heartbeat(running=0, models={}, draining=False), 5.0)
    assert (told.running, told.models, told.draining, told.waiting, told.adapters) == (0, (), False, None, None)


def test_numbers_that_no_engine_can_mean() -> None:
    """They are not told, per cent are."""
    _, told = WIRE.decode(heartbeat(running=2**60, kv_usage="NaN"), 5.0)
    assert (told.running, told.kv_usage) == (None, None)
    assert WIRE.decode(heartbeat(kv_usage=50), 5.0)[1].kv_usage == 0.5


def test_addresses_are_in_the_form_of_the_fleet() -> None:
    """As Envoy writes them."""
    assert WIRE.decode(heartbeat(address="[0:0::1]:80"), 5.0)[1].address == "[::1]:80"


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff",
        heartbeat(address=""),
        heartbeat(address="pod-1:8000"),
        heartbeat(address="unix:/run/engine"),
        heartbeat(address="x" * 10_000),
        heartbeat(models={"name": ["m"] * (MAX_NAMES + 1)}),
        heartbeat(adapters={"name": ["m" * (MAX_NAME + 1)]}),
    ],
)
def test_no_heartbeat(data: bytes) -> None:
    """An error of one line."""
    with pytest.raises(ValueError, match=r"^.{1,300}$"):
        WIRE.decode(data, 5.0)


@given(st.binary(max_size=100))
def test_any_bytes(data: bytes) -> None:
    """A report or that error."""
    with suppress(ValueError):
        WIRE.decode(data, 5.0)


def test_acknowledgement() -> None:
    """The sender's own number."""
    assert load()["kvpilot.load.v1.Ack"].FromString(WIRE.acknowledgement(7)).sequence == 7  # type: ignore[attr-defined]
