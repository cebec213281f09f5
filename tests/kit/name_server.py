"""A small name server on loopback, over UDP and TCP, whose records a test changes while it runs."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from ext_proc.core.address import SocketAddress

BIND_TRIES = 20
"""UDP and TCP are wanted at one port; the one that the OS gives for the first may be taken for the other."""


@dataclass(slots=True)
class Zone:
    """What there is to know. Mutable: a test writes all of it, at any time; `questions` is written by the server."""

    records: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """(name, type) → records as text."""
    ttl_s: int = 30
    rcode: dict[tuple[str, str], str] = field(default_factory=dict)
    """(name, type) → an error to answer with, such as SERVFAIL."""
    silent: set[str] = field(default_factory=set)
    """Names that are never answered."""
    truncate_udp: bool = False
    """Every answer over UDP says: ask again over TCP."""
    questions: list[tuple[str, str, str]] = field(default_factory=list)
    """(transport, name, type), in their order."""

    def answer(self, data: bytes, transport: str) -> bytes | None:
        """The answer to a question; None for silence."""
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text().rstrip("."), dns.rdatatype.to_text(question.rdtype)
        self.questions.append((transport, name, kind))
        if name in self.silent:
            return None
        response = dns.message.make_response(query)
        if transport == "udp" and self.truncate_udp:
            response.flags |= dns.flags.TC
        elif (name, kind) in self.rcode:
            response.set_rcode(dns.rcode.from_text(self.rcode[name, kind]))
        elif any(known == name for known, _ in self.records):
            for record_kind in ("CNAME", kind):
                self._add(response, name, record_kind)
        else:
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    def _add(self, response: dns.message.Message, name: str, kind: str) -> None:
        texts = self.records.get((name, kind))
        if texts:
            response.answer.append(dns.rrset.from_text_list(f"{name}.", self.ttl_s, "IN", kind, texts))
            if kind == "CNAME":
                target = texts[0].rstrip(".")
                for other in ("A", "AAAA"):
                    if response.question[0].rdtype == dns.rdatatype.from_text(other):
                        self._add(response, target, other)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        answer = self._zone.answer(data, "udp")
        if answer is not None and self._transport is not None:
            self._transport.sendto(answer, addr)


@asynccontextmanager
async def name_server(zone: Zone) -> AsyncIterator[SocketAddress]:
    """Answers from `zone` at the address that it gives, until the block ends."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = zone.answer(await reader.readexactly(length), "tcp")
            if answer is not None:
                writer.write(struct.pack("!H", len(answer)) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    loop = asyncio.get_running_loop()
    for _ in range(BIND_TRIES):
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(zone), local_addr=("127.0.0.1", port))
            break
        except OSError:
            server.close()
            await server.wait_closed()
    else:
        raise AssertionError("no port is free for both UDP and TCP")
    try:
        yield SocketAddress("127.0.0.1", port)
    finally:
        transport.close()
        server.close()
        await server.wait_closed()
