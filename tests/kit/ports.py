"""Free TCP ports for processes that must be told one."""

import os
import socket
from collections import deque

MOST_HELD = 200
"""Ports of the latest tests; an older one is over, and descriptors are bounded."""

_held: deque[int] = deque()


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on, from the OS.

    Bound and never listened on: meanwhile the OS gives them to nobody by itself, neither to another test that runs at
    the same time nor to a connection, and who is told one can listen there if it sets SO_REUSEADDR or SO_REUSEPORT, as
    every server here does.
    """
    return [_reserve() for _ in range(count)]


def _reserve() -> int:
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(("127.0.0.1", 0))
    port = int(reserved.getsockname()[1])
    _held.append(reserved.detach())
    while len(_held) > MOST_HELD:
        os.close(_held.popleft())
    return port


def quiet_ports(count: int) -> list[int]:
    """`count` different free ports that the OS gives out to nobody by itself, for programs that take long to start.

    Below the usual range of such ports on Linux (32768 and up) and away from those that services use.
    """
    found: list[int] = []
    port = 20_000 + os.getpid() % 10_000
    while len(found) < count:
        port += 1
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                found.append(port)
    return found
