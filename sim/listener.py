"""A listening port that can vanish and come back, as that of a process that dies and is started again.

While it is closed the port stays bound by a socket that does not listen: connections are refused, and nobody else can
take the port in the meantime.
"""

import asyncio
import contextlib
import socket
import struct

from aiohttp import web

_LINGER_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: closing sends a reset, not a farewell

_HANDLER_END_S = 1.0
"""How long handlers may take to end after their connection was reset; they only clean up."""

_BACKLOG = 512
"""Connections that may wait to be accepted; a whole load test connecting at once."""


class Listener:
    """One TCP port for one aiohttp server."""

    # What changes: the sockets behind the port. Single writer: the pod.
    def __init__(self, host: str, port: int) -> None:
        """Name the port; 0 lets the OS choose one when it is first reserved, for good."""
        self._host = host
        self._port = port
        self._reserved: socket.socket | None = None
        self._listening: asyncio.Server | None = None
        self._server: web.Server | None = None

    @property
    def address(self) -> str:
        """`host:port`; the port is 0 before the first start."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self._port}"

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._listening is not None

    async def open(self, server: web.Server) -> None:
        """Listen. Raises OSError when the port is taken."""
        reserved, self._reserved = self._reserved or self._bind(), None
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(server, sock=reserved, backlog=_BACKLOG)
        self._server = server

    def close(self, spare: object | None = None) -> None:
        """Stop listening and reset all connections, except that of the protocol `spare`."""
        if self._listening is None:
            return
        self._listening.close()
        self._listening = None
        self._reserved = self._bind()
        self.reset_connections(spare)

    def reset_connections(self, spare: object | None = None) -> None:
        """Reset all connections, except that of the protocol `spare`."""
        for connection in self._server.connections if self._server is not None else ():
            if connection is not spare and connection.transport is not None:
                reset(connection.transport)

    async def end(self) -> None:
        """Close, and wait until no handler runs any more; the port stays reserved."""
        self.close()
        if self._server is not None:
            self.reset_connections()
            await asyncio.sleep(0)  # lets the resets cancel the handlers
            await self._server.shutdown(_HANDLER_END_S)
            self._server = None

    def release(self) -> None:
        """Give the port back to the OS."""
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    def _bind(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        bound = socket.socket(family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind((self._host, self._port))
            bound.setblocking(False)
        except OSError:
            bound.close()
            raise
        self._port = bound.getsockname()[1]
        return bound


def reset(transport: asyncio.Transport) -> None:
    """Close a connection with a TCP reset."""
    connection = transport.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):  # the peer may have closed it already
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()
