"""Makes a gRPC server listen, with errors that an operator can read.

gRPC itself says only "failed to bind", and takes over a Unix socket that somebody else is serving on.
"""

import errno
import os
import socket
import stat
from collections.abc import Iterable
from typing import Any

from ext_proc.core.address import SocketAddress, UnixAddress, parse_address
from ext_proc.transport.interface import AddressInUseError, BindError

PROBE_TIMEOUT_S = 1.0
"""A server on this machine accepts a connection at once; one that does not is in the way all the same."""


async def listen(server: Any, addresses: Iterable[str], credentials: Any = None) -> list[str]:
    """Starts a `grpc.aio` server on all `addresses`, and gives what `bind` does; where that raises, it is stopped."""
    try:
        bound = bind(server, addresses, credentials)
    except BaseException:
        await server.stop(None)
        raise
    await server.start()
    return bound


def bind(server: Any, addresses: Iterable[str], credentials: Any = None) -> list[str]:
    """Lets a `grpc.aio` server listen on all `addresses` and gives the bound ones, ports filled in.

    With `credentials` (`grpc.ServerCredentials`) it speaks TLS, without them plaintext.
    Raises `AddressInUseError` or another `BindError`, and `ValueError` for a text that is no address.
    """
    return [_bind(server, parse_address(address), credentials) for address in addresses]


def _bind(server: Any, address: SocketAddress | UnixAddress, credentials: Any) -> str:
    check_free(address)
    try:
        if credentials is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), credentials)
    except RuntimeError as error:  # taken between the probe and now
        raise BindError(f"cannot listen on {address}: {error}") from None
    return str(address) if isinstance(address, UnixAddress) else str(SocketAddress(address.host, port))


def check_free(address: SocketAddress | UnixAddress) -> None:
    """Raises the `BindError` that listening on `address` would give now."""
    try:
        if isinstance(address, UnixAddress):
            _probe_unix(address)
        else:
            _probe_tcp(address)
    except OSError as error:
        raise bind_error(address, error) from None


def bind_error(address: SocketAddress | UnixAddress, error: OSError) -> BindError:
    """`error`, which listening on `address` gave, in an operator's words."""
    if error.errno == errno.EADDRINUSE:
        return AddressInUseError(f"cannot listen on {address}: another process listens there already")
    return BindError(f"cannot listen on {address}: {error.strerror or error}")


def _probe_tcp(address: SocketAddress) -> None:
    """Raises the `OSError` that listening there would give."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As gRPC does: a port in TIME_WAIT is free, one that is listened on is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((address.host, address.port))


def _probe_unix(address: UnixAddress) -> None:
    """Raises an `OSError` when a server lives on that socket or something else lies there; a dead socket is fine."""
    directory = os.path.dirname(address.path)
    if not os.path.isdir(directory):
        raise OSError(errno.ENOENT, f"there is no directory {directory}")
    try:
        mode = os.lstat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file which is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT_S)
        try:
            probe.connect(address.path)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
