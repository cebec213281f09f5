"""Addresses of endpoints in Envoy's JSON."""

import pytest

from control_plane.compile.addresses import pod_address
from control_plane.compile.typed import socket_address
from ext_proc.core.address import parse_address


@pytest.mark.parametrize("text", ["10.0.0.1:8000", "[::1]:1", "[fd00::1]:65535", "[::ffff:10.0.0.1]:80"])
def test_the_same_as_of_a_parsed_address(text: str) -> None:
    """The quick way and the careful one agree on every address that a policy or a source can give."""
    assert pod_address(text) == socket_address(parse_address(text))
