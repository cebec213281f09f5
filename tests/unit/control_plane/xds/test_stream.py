"""One stream in the server: its outbox and its addresses."""

import asyncio

import pytest

from control_plane.xds.delta import DeltaDialect
from control_plane.xds.requests import DeltaRequest, Push
from control_plane.xds.session import Session
from control_plane.xds.stream import MAX_OUTBOX, Stream, address_of, host_of


def new_stream() -> Stream:
    """A stream on which nothing has happened."""
    return Stream("127.0.0.1:1", Session[DeltaRequest](DeltaDialect()), ends_at=9.0)


def push(number: int) -> Push:
    """Some push."""
    return Push(type_url="t", nonce=str(number), version="v")


@pytest.mark.parametrize(
    ("peer", "address", "host"),
    [
        ("ipv4:127.0.0.1:40000", "127.0.0.1:40000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:40000", "[::1]:40000", "[::1]"),
        ("unix:", "unix:", "unix:"),
        ("unix:/run/kvpilot.sock", "unix:/run/kvpilot.sock", "unix:"),
    ],
)
def test_addresses(peer: str, address: str, host: str) -> None:
    """As operators write them; the host is without the port."""
    assert address_of(peer) == address
    assert host_of(address) == host


async def test_pushes_come_out_in_order_and_then_the_end() -> None:
    """An ended stream is written to its last push."""
    stream = new_stream()
    stream.push([push(1), push(2)])
    stream.end()
    taken = [await stream.next_push() for _ in range(3)]
    assert [one.nonce if one else None for one in taken] == ["1", "2", None]


async def test_a_push_wakes_the_writer() -> None:
    """And nothing at all does not."""
    stream = new_stream()
    waiting = asyncio.create_task(stream.next_push())
    await asyncio.sleep(0)
    stream.push([])
    await asyncio.sleep(0)
    assert not waiting.done()
    stream.push([push(1)])
    assert await waiting == push(1)


async def test_a_full_outbox_stops_the_reader_until_there_is_room() -> None:
    """The client's next request is read when it has taken one of its responses."""
    stream = new_stream()
    stream.push(push(number) for number in range(MAX_OUTBOX))
    room = asyncio.create_task(stream.room())
    await asyncio.sleep(0)
    assert not room.done()
    await stream.next_push()
    await room
