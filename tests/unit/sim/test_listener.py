"""Ports that vanish and come back."""

import asyncio
import socket

import pytest
from aiohttp import web

from sim.listener import Listener


async def hello(request: web.BaseRequest) -> web.Response:
    """Answer anything."""
    return web.Response(text="hello")


async def connect(listener: Listener) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a raw connection."""
    host, _, port = listener.address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def test_a_closed_port_refuses_and_stays_reserved() -> None:
    """While closed, connections are refused, nobody else gets the port, and it opens again under the same number."""
    listener = Listener("127.0.0.1", 0)
    await listener.open(web.Server(hello))
    address = listener.address
    _, writer = await connect(listener)
    writer.close()
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        await connect(listener)
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
    await listener.end()
    await listener.open(web.Server(hello))
    assert listener.address == address
    _, writer = await connect(listener)
    writer.close()
    await listener.end()
    listener.release()


async def test_open_connections_are_reset() -> None:
    """Closing the port does not leave idle connections behind: they end with a reset."""
    listener = Listener("127.0.0.1", 0)
    await listener.open(web.Server(hello))
    reader, writer = await connect(listener)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"hello")
    listener.close()
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    await listener.end()
    listener.release()


async def test_a_taken_port_is_an_error() -> None:
    """A second listener on one port fails and leaves nothing open."""
    first = Listener("127.0.0.1", 0)
    await first.open(web.Server(hello))
    second = Listener("127.0.0.1", int(first.address.rpartition(":")[2]))
    with pytest.raises(OSError, match="in use"):
        await second.open(web.Server(hello))
    assert not second.is_open
    await first.end()
    first.release()


async def test_ipv6_addresses_have_brackets() -> None:
    """`[::1]:port`, as Envoy and URLs want it."""
    assert Listener("::1", 80).address == "[::1]:80"
