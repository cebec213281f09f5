"""Addresses that kvpilot listens on or names to Envoy: an IP with a port, or a Unix socket.

    >>> parse_address("[::1]:9002")
    SocketAddress(host='::1', port=9002)
    >>> str(parse_address("unix:/run/kvpilot.sock"))
    'unix:/run/kvpilot.sock'

Host names are refused on purpose: Envoy wants literals in a socket address, and a name that resolves differently in
two processes is worse than an error. Pure: nothing is resolved or opened.
"""

import ipaddress
from dataclasses import dataclass

UNIX_SCHEME = "unix:"

MAX_PORT = 65_535

# sockaddr_un.sun_path holds 108 bytes on Linux, one of them for the closing NUL.
MAX_UNIX_PATH_BYTES = 107


@dataclass(frozen=True, slots=True)
class SocketAddress:
    """An IP literal (without brackets, in its shortest form) and a port; port 0 asks the system for a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """An absolute path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        return f"{UNIX_SCHEME}{self.path}"


def parse_address(text: str) -> SocketAddress | UnixAddress:
    """Reads `ip:port`, `[v6]:port` or `unix:/path`; raises ValueError with a text for the operator."""
    if text.startswith(UNIX_SCHEME):
        return _unix(text.removeprefix(UNIX_SCHEME))
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} has no port: write ip:port, such as 127.0.0.1:9002, or unix:/path")
    if host.startswith("[") and host.endswith("]"):
        return SocketAddress(_ip(host[1:-1], ipaddress.IPv6Address), _port(port))
    if ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets, such as [::1]:9002")
    return SocketAddress(_ip(host, ipaddress.IPv4Address), _port(port))


def _unix(path: str) -> UnixAddress:
    if not path.startswith("/"):
        raise ValueError(f"unix:{path}: the path of a Unix socket must be absolute, such as unix:/run/kvpilot.sock")
    if "\0" in path:
        raise ValueError("the path of a Unix socket must not contain a NUL character")
    if len(path.encode()) > MAX_UNIX_PATH_BYTES:
        raise ValueError(
            f"unix:{path}: the path is longer than {MAX_UNIX_PATH_BYTES} bytes, more than a socket can have"
        )
    return UnixAddress(path)


def _port(text: str) -> int:
    # isdecimal alone also takes digits of other scripts.
    if not (text.isascii() and text.isdecimal()) or int(text) > MAX_PORT:
        raise ValueError(f"{text!r} is not a port: use a number from 0 to {MAX_PORT}")
    return int(text)


def _ip(text: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> str:
    try:
        address = kind(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not an IP address: host names are not accepted here, write the literal"
        ) from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise ValueError(f"{text!r}: Envoy's addresses have no zone (the part after %)")
        if address.ipv4_mapped is not None:  # the text that Envoy prints
            return f"::ffff:{address.ipv4_mapped}"
    return str(address)
