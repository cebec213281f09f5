"""One ADS stream in the server: what waits to be written, when it is to end, and who is at the other end."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from control_plane.compile.node import Node
from control_plane.xds import ledger
from control_plane.xds.identity import Identity
from control_plane.xds.requests import Push
from control_plane.xds.session import Session

MAX_OUTBOX = 16
"""Pushes that wait for a slow client before its next request is read. A session has one in flight per type, and a
client that reads nothing but goes on asking gets no further than this."""


class Stream:
    """Mutable: all; written by its handler's tasks and by the server's methods, on one event loop.

    What changes while a client does not read is not queued here: the session holds it back, and writes the newest once
    the client has answered. `ends_at` is in seconds of the server's clock.
    """

    def __init__(self, address: str, session: "Session[Any]", ends_at: float, identity: Identity | None = None) -> None:
        self.address = address
        self.identity = identity
        self.session = session
        self.ends_at = ends_at
        self.node: Node | None = None
        self.outbox: deque[Push] = deque()
        self.ended = False
        self.refusal = ""
        self._changed = asyncio.Event()
        self._room = asyncio.Event()

    def push(self, pushes: Iterable[Push]) -> None:
        """Queues what is to be written."""
        self.outbox.extend(pushes)
        if self.outbox:
            self._changed.set()

    def end(self) -> None:
        """Has the handler return once the outbox is written."""
        self.ended = True
        self._changed.set()

    def expel(self, refusal: str) -> None:
        """Has the handler return at once, with this word to the client; nothing more is written."""
        self.refusal = refusal
        self.outbox.clear()
        self.end()

    async def room(self) -> None:
        """Waits until the client has taken enough of what it was sent."""
        while len(self.outbox) >= MAX_OUTBOX:
            self._room.clear()
            await self._room.wait()

    async def next_push(self) -> Push | None:
        """Waits for what is to be written next; None when the stream has ended."""
        while not self.outbox or self.refusal:
            if self.ended:
                return None
            self._changed.clear()
            await self._changed.wait()
        push = self.outbox.popleft()
        self._room.set()
        return push

    def row(self, *, connected: bool) -> ledger.Row:
        """Its row in the status; only for a stream whose node is known."""
        assert self.node is not None
        protocol = self.session.dialect.name
        return ledger.row(self.node, self.address, protocol, self.session.status(), connected=connected)


def address_of(peer: str) -> str:
    """`127.0.0.1:40000` from gRPC's `ipv4:127.0.0.1:40000`; a Unix peer stays `unix:`."""
    scheme, _, rest = unquote(peer).partition(":")
    return rest if scheme in ("ipv4", "ipv6") else peer


def host_of(address: str) -> str:
    """The address without its port; all Unix peers are one host."""
    return "unix:" if address.startswith("unix:") else address.rpartition(":")[0]
