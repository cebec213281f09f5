"""The small pieces of Envoy's JSON."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compile.typed import any_of, duration, extension, from_ads, set_header, socket_address
from ext_proc.core.address import SocketAddress, UnixAddress
from protos.messages import load


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, "0s"), (1.0, "1s"), (0.25, "0.25s"), (600.0, "600s"), (1e-7, "0.0000001s"), (100000000.0, "100000000s")],
)
def test_duration_is_written_plainly(seconds: float, expected: str) -> None:
    """Whole seconds have no point, fractions no exponent."""
    assert expected == duration(seconds)


@given(st.floats(min_value=0, max_value=86400))
def test_every_duration_is_read_back(seconds: float) -> None:
    """Protobuf reads what is written, to the nanosecond."""
    message = load().parse_json("envoy.config.cluster.v3.Cluster", {"connectTimeout": duration(seconds)})
    timeout = message.connect_timeout  # type: ignore[attr-defined]
    assert timeout.seconds + timeout.nanos / 1e9 == pytest.approx(seconds, abs=1e-9)


def test_any_carries_its_type() -> None:
    """An `Any` has its type URL beside its fields."""
    assert any_of("a.b.C", {"x": 1}) == {"@type": "type.googleapis.com/a.b.C", "x": 1}


def test_extension_has_name_and_configuration() -> None:
    """An extension is a name and a typed configuration."""
    expected = {"name": "n", "typedConfig": {"@type": "type.googleapis.com/a.b.C"}}
    assert expected == extension("n", "a.b.C")


def test_addresses_in_envoys_words() -> None:
    """Sockets and Unix sockets have a form each."""
    assert socket_address(SocketAddress("::1", 80)) == {"socketAddress": {"address": "::1", "portValue": 80}}
    assert socket_address(UnixAddress("/run/k.sock")) == {"pipe": {"path": "/run/k.sock"}}


def test_headers_are_set_whatever_was_there() -> None:
    """An option for responses, health checks and mutations alike."""
    assert set_header("a", "b") == {"header": {"key": "a", "value": "b"}, "appendAction": "OVERWRITE_IF_EXISTS_OR_ADD"}


def test_sources_are_values_of_their_own() -> None:
    """Who gets one may change it."""
    assert from_ads() == {"ads": {}, "resourceApiVersion": "V3"}
    assert from_ads() is not from_ads()
