"""Addresses in the policy: where a listener listens, where an endpoint is.

Both are IP literals with a port. Names would be resolved by every Envoy for itself, and the picker would name hosts
that Envoy does not know: `override_host` compares the text `ip:port`.
"""

import ipaddress
import re
from dataclasses import dataclass

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError
from ext_proc.core.address import MAX_PORT, SocketAddress, parse_address

_PATTERN = r"(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}"
"""The outer form, for editors; the loader knows better."""

_LONGEST = 100
"""Longer than any IP address with its port, and short enough to be worth looking at."""


@dataclass(frozen=True, slots=True)
class ListenAddress(ScalarKind[SocketAddress]):
    """Where a listener listens: `ip:port`, `[v6]:port`; `0.0.0.0` and `[::]` mean all of the machine's addresses."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "an address such as 0.0.0.0:8080"

    def parse(self, text: str) -> SocketAddress:
        """The address; raises ValueRefusedError."""
        return _parse(text, "this machine's: 127.0.0.1, or 0.0.0.0 for all")

    def schema(self) -> Json:
        """Its outer form."""
        return {"type": "string", "pattern": f"^{_PATTERN}$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "`ip:port` or `[v6]:port`"

    def plain(self, value: SocketAddress) -> str:
        """Its text."""
        return str(value)


@dataclass(frozen=True, slots=True)
class EndpointAddress(ScalarKind[str]):
    """Where an endpoint is: `ip:port`, `[v6]:port`, given back in the text that Envoy uses for it."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "an address such as 10.0.0.1:8000"

    def parse(self, text: str) -> str:
        """The address in Envoy's form; raises ValueRefusedError."""
        address = _parse(text, "a name to look up goes to `dns`")
        ip = ipaddress.ip_address(address.host)
        if ip.is_unspecified or ip.is_multicast or ip == ipaddress.ip_address("255.255.255.255"):
            raise ValueRefusedError(f"{quoted(text)} is not the address of one host", code=Code.BAD_ADDRESS)
        return str(address)

    def schema(self) -> Json:
        """Its outer form."""
        return {"type": "string", "pattern": f"^{_PATTERN}$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "`ip:port` or `[v6]:port`"


def is_ip(text: str) -> bool:
    """Whether `text` is an IP address, without a port and without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _parse(text: str, host_name_hint: str) -> SocketAddress:
    if "://" in text:
        raise _refused(f"{quoted(text)} is a URL", "write only ip:port")
    if text.startswith("unix:"):
        raise _refused(f"{quoted(text)}: Unix sockets are not supported here", "write ip:port")
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable() or "/" in text:
        raise _refused(f"{quoted(text)} is not an address", "write ip:port, such as 10.0.0.1:8000")
    host, port = _split(text)
    if not host or text.isdigit():
        raise _refused(f"{quoted(text)} has no IP address", "write ip:port, such as 10.0.0.1:8000")
    if _is_host_name(host):
        raise ValueRefusedError(
            f"{quoted(host)} is a host name", f"write an IP address; {host_name_hint}", Code.HOST_NAME
        )
    if not port:
        raise ValueRefusedError(f"{quoted(text)} has no port", "write ip:port, such as 10.0.0.1:8000", Code.BAD_PORT)
    if re.fullmatch("[1-9][0-9]{0,4}", port) is None or int(port) > MAX_PORT:
        raise ValueRefusedError(f"{quoted(port)} is not a port (1..{MAX_PORT})", code=Code.BAD_PORT)
    try:
        address = parse_address(text)
    except ValueError:
        raise _refused(f"{quoted(host)} is not an IP address", "write ip:port, such as 10.0.0.1:8000") from None
    assert isinstance(address, SocketAddress), "the other form is refused above"
    return address


def _split(text: str) -> tuple[str, str]:
    """Host and port; a whole IPv6 address without brackets is refused, its last group could be either."""
    if text.startswith("["):
        host, _, rest = text.partition("]")
        return f"{host}]", rest.removeprefix(":")
    if text.count(":") > 1:
        raise _refused(f"{quoted(text)}: an IPv6 address needs brackets", "write [v6]:port, such as [::1]:8000")
    host, _, port = text.partition(":")
    return host, port


def _is_host_name(host: str) -> bool:
    return not host.startswith("[") and any(char.isalpha() for char in host)


def _refused(message: str, hint: str) -> ValueRefusedError:
    return ValueRefusedError(message, hint, Code.BAD_ADDRESS)
