"""Free TCP ports for processes that must be told one."""

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
