"""The publisher of simulated pods, frame by frame."""

import asyncio

import pytest
import zmq
import zmq.asyncio

from ext_proc.signals.kv_wire import Batch, Message, decode_batch, message_of
from sim import tokens
from sim.events import Removed, Stored
from sim.kv_publisher import KvPorts, KvPublisher, KvTeller
from sim.profile import Profile

NUMBERS = [number.to_bytes(8, "big") for number in range(4)]
END = b"\xff" * 8
PATIENCE_S = 10.0


async def replay(publisher: KvPublisher, start: int) -> list[list[bytes]]:
    """All answers to one request, the end included."""
    context = zmq.asyncio.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(f"tcp://127.0.0.1:{publisher.replay_port}")
    answers: list[list[bytes]] = []
    try:
        await dealer.send_multipart((b"no", b"such", b"request"))
        await dealer.send_multipart((b"", NUMBERS[start]))
        async with asyncio.timeout(PATIENCE_S):
            while not answers or END not in answers[-1]:
                answers.append(await dealer.recv_multipart())
    finally:
        context.destroy(linger=0)
    return answers


async def test_answers_of_newer_versions() -> None:
    """Delimiter, topic, number, payload; at the end −1 without a topic. Nonsense is not answered."""
    async with KvPublisher(KvPorts(topic="kv")) as publisher:
        for payload in (b"a", b"b", b"c"):
            publisher.publish(payload)
        assert await replay(publisher, 1) == [
            [b"", b"kv", NUMBERS[1], b"b"],
            [b"", b"kv", NUMBERS[2], b"c"],
            [b"", b"", END, b""],
        ]
        assert await replay(publisher, 3) == [[b"", b"", END, b""]]


async def test_answers_of_older_versions() -> None:
    """Without a topic; what is older than the buffer is gone."""
    async with KvPublisher(KvPorts(topic="kv", shape="array", buffer_steps=1)) as publisher:
        publisher.publish(b"a")
        publisher.publish(b"b")
        assert await replay(publisher, 0) == [[b"", NUMBERS[1], b"b"], [b"", END, b""]]


async def test_another_process() -> None:
    """Stopped and started again it is on the same ports, has forgotten everything, and counts from 0."""
    async with KvPublisher(KvPorts()) as publisher:
        ports = publisher.port, publisher.replay_port
        publisher.publish(b"a")
        publisher.stop()
        publisher.start()
        publisher.publish(b"b")
        assert (publisher.port, publisher.replay_port) == ports
        assert await replay(publisher, 0) == [[b"", b"", NUMBERS[0], b"b"], [b"", b"", END, b""]]


async def test_taken_ports() -> None:
    """An OSError that names the address, and nothing is left half open."""
    async with KvPublisher(KvPorts()) as publisher:
        for ports in (KvPorts(port=publisher.port), KvPorts(replay_port=publisher.replay_port)):
            with pytest.raises(OSError, match="tcp:"):
                KvPublisher(ports).start()


async def test_without_replays() -> None:
    """Only the live port."""
    async with KvPublisher(KvPorts(replays=False)) as publisher:
        assert publisher.port
        assert publisher.replay_port == 0


async def test_a_message_for_each_step() -> None:
    """What changed at one time is one message, with the time of the wall clock."""
    context = zmq.asyncio.Context()
    sub = context.socket(zmq.SUB)
    sub.subscribe(b"")
    port = sub.bind_to_random_port("tcp://127.0.0.1")
    profile = Profile(block_size=2)
    text = tokens.encode(["some words"])
    blocks = tokens.chain("m", text, 2)
    try:
        async with KvPublisher(KvPorts(connect=f"tcp://127.0.0.1:{port}", replays=False)) as publisher:
            teller = KvTeller(publisher, profile, lambda: 7.5)
            teller.note(blocks, text)
            async with asyncio.timeout(PATIENCE_S):
                while not await sub.poll(10):  # until the connection stands, messages are for nobody
                    publisher.publish(b"")
                publisher.publish(b"the last of these")
                while (await sub.recv_multipart())[-1] != b"the last of these":
                    pass
                teller.tell([Stored(1.0, blocks[:1], None), Removed(1.0, blocks[:1]), Stored(2.0, (99,), None)])
                told = [message_of(await sub.recv_multipart()) for _ in range(2)]
    finally:
        context.destroy(linger=0)
    batches = [decode_batch(message.payload) for message in told if isinstance(message, Message)]
    assert [len(batch.events) for batch in batches if isinstance(batch, Batch)] == [2, 0]
    assert {batch.at for batch in batches if isinstance(batch, Batch)} == {7.5}
