"""Free TCP ports for processes that must be told one."""

import os
import socket
from contextlib import ExitStack


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on, from the OS.

    They are reserved together and released together. A port of an ended listener is not given out again soon by the OS,
    so the moment between the release here and the bind there is safe in practice.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for reserved in sockets:
            reserved.bind(("127.0.0.1", 0))
        return [int(reserved.getsockname()[1]) for reserved in sockets]


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
