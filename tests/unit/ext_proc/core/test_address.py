"""Addresses: what is read, what is refused, and that the text comes back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.address import SocketAddress, UnixAddress, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9002", SocketAddress("127.0.0.1", 9002)),
        ("0.0.0.0:0", SocketAddress("0.0.0.0", 0)),
        ("[::1]:9002", SocketAddress("::1", 9002)),
        ("unix:/run/kvpilot.sock", UnixAddress("/run/kvpilot.sock")),
    ],
)
def test_reads_and_writes_the_same_text(text: str, address: SocketAddress | UnixAddress) -> None:
    """Each form is read, and `str` gives it back."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
        ("[2001:DB8::0:1]:80", "[2001:db8::1]:80"),
        ("[::ffff:102:304]:80", "[::ffff:1.2.3.4]:80"),
    ],
)
def test_writes_ipv6_as_envoy_does(text: str, canonical: str) -> None:
    """An IPv6 literal comes out in its shortest form."""
    assert str(parse_address(text)) == canonical


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("127.0.0.1", "no port"),
        ("", "no port"),
        ("localhost:80", "not an IP address"),
        ("127.0.0.01:80", "not an IP address"),
        ("::1:80", "needs brackets"),
        ("[127.0.0.1]:80", "not an IP address"),
        ("[fe80::1%eth0]:80", "no zone"),
        ("127.0.0.1:", "not a port"),
        ("127.0.0.1:65536", "not a port"),
        ("127.0.0.1:-1", "not a port"),
        ("127.0.0.1:٨٠", "not a port"),
        ("127.0.0.1:8e3", "not a port"),
        ("unix:kvpilot.sock", "absolute"),
        ("unix:/a\0b", "NUL"),
        ("unix:/" + "a" * 107, "longer than 107 bytes"),
    ],
)
def test_refuses_with_a_reason(text: str, words: str) -> None:
    """What is not an address is a ValueError that says why."""
    with pytest.raises(ValueError, match=words):
        parse_address(text)


@given(st.ip_addresses(), st.integers(0, 65_535))
def test_every_ip_and_port_round_trips(ip: object, port: int) -> None:
    """Reading what was written gives the same address."""
    host = f"[{ip}]" if ":" in str(ip) else str(ip)
    address = parse_address(f"{host}:{port}")
    assert parse_address(str(address)) == address
