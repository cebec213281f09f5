"""Addresses: IP literals with a port, and a useful word for everything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.addresses import EndpointAddress, ListenAddress, is_ip
from control_plane.policy.codes import Code
from control_plane.policy.kinds import ValueRefusedError
from ext_proc.core.address import SocketAddress


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1:8000", "10.0.0.1:8000"),
        ("[::1]:65535", "[::1]:65535"),
        ("[FD00:0:0::0001]:1", "[fd00::1]:1"),
        ("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.1]:80"),
    ],
)
def test_endpoints(text: str, address: str) -> None:
    """An endpoint has the text that Envoy uses for it, however it was written."""
    assert EndpointAddress().parse(text) == address


@pytest.mark.parametrize("text", ["0.0.0.0:8080", "127.0.0.1:80", "[::]:8080"])
def test_listeners(text: str) -> None:
    """A listener may listen on all addresses."""
    assert str(ListenAddress().parse(text)) == text
    assert isinstance(ListenAddress().parse(text), SocketAddress)
    assert ListenAddress().plain(ListenAddress().parse(text)) == text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("10.0.0.1", Code.BAD_PORT),
        ("10.0.0.1:", Code.BAD_PORT),
        ("10.0.0.1:0", Code.BAD_PORT),
        ("10.0.0.1:65536", Code.BAD_PORT),
        ("10.0.0.1:080", Code.BAD_PORT),
        ("10.0.0.1:http", Code.BAD_PORT),
        ("10.0.0.1:٨٠", Code.BAD_ADDRESS),
        ("[::1]", Code.BAD_PORT),
        ("localhost:80", Code.HOST_NAME),
        ("localhost", Code.HOST_NAME),
        ("vllm-0.vllm.svc.cluster.local:8000", Code.HOST_NAME),
        ("10.0.0.1.nip.io:80", Code.HOST_NAME),
        ("300.0.0.1:80", Code.BAD_ADDRESS),
        ("010.0.0.1:80", Code.BAD_ADDRESS),
        ("10.0.1:80", Code.BAD_ADDRESS),
        ("::1:80", Code.BAD_ADDRESS),
        ("fe80::1", Code.BAD_ADDRESS),
        ("[::1]80", Code.BAD_ADDRESS),
        ("[::1:80", Code.BAD_PORT),
        ("[fe80::1%eth0]:80", Code.BAD_ADDRESS),
        ("[10.0.0.1]:80", Code.BAD_ADDRESS),
        (":80", Code.BAD_ADDRESS),
        ("80", Code.BAD_ADDRESS),
        ("", Code.BAD_ADDRESS),
        ("http://10.0.0.1:80", Code.BAD_ADDRESS),
        ("10.0.0.1:80/v1", Code.BAD_ADDRESS),
        ("unix:/run/vllm.sock", Code.BAD_ADDRESS),
        ("10.0.0.1:80\n", Code.BAD_ADDRESS),
        ("1" * 1000, Code.BAD_ADDRESS),
    ],
)
def test_no_addresses(text: str, code: Code) -> None:
    """Each way to be wrong has its code, for listeners as for endpoints."""
    for kind in (ListenAddress(), EndpointAddress()):
        with pytest.raises(ValueRefusedError) as refused:
            kind.parse(text)
        assert refused.value.code == code, kind
        assert refused.value.hint or code == Code.BAD_PORT


@pytest.mark.parametrize("text", ["0.0.0.0:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80", "[ff02::1]:80"])
def test_endpoints_are_one_host(text: str) -> None:
    """What is no single host can be listened on, perhaps, but not be sent to."""
    with pytest.raises(ValueRefusedError) as refused:
        EndpointAddress().parse(text)
    assert refused.value.code == Code.BAD_ADDRESS


@given(st.text(max_size=30) | st.text("0123456789.:[]abf%/", max_size=30))
def test_any_text(text: str) -> None:
    """Any text is an address that is given back as itself, or refused."""
    try:
        address = EndpointAddress().parse(text)
    except ValueRefusedError:
        return
    assert EndpointAddress().parse(address) == address


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10.0.0.1", True), ("fd00::1", True), ("[fd00::1]", False), ("10.0.0.1:80", False), ("a.b", False), ("", False)],
)
def test_what_is_an_ip_address(text: str, expected: bool) -> None:
    """The address alone, as the host part of a URI or a name in a certificate."""
    assert is_ip(text) is expected
