"""KV events over real ZMQ sockets: live, lost, replayed, restarted, from publishers that bind and that connect."""

import asyncio
import errno
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
import zmq
import zmq.asyncio

from ext_proc.core.events import BlocksRemoved, BlocksStored, CacheCleared, CacheEvent
from ext_proc.core.token_blocks import token_block_hashes
from ext_proc.signals import kv_events, kv_stream
from ext_proc.signals.kv_events import KvEvents
from ext_proc.signals.kv_feed import KvSource
from sim import tokens
from sim.kv_messages import SHAPES, Shape, token_ids
from sim.kv_publisher import KvPorts, KvPublisher
from sim.pod import Pod, PodSpec
from sim.profile import Profile
from tests.kit.ports import free_ports
from tests.kit.waiting import eventually
from tests.unit.ext_proc.signals.kv_samples import capture, payload, stored_map

POD = "127.0.0.1:8000"
"""What the endpoint is called; only its host is spoken to."""


@dataclass
class Listener:
    """A subscriber, and what its events add up to."""

    events: KvEvents
    held: dict[str, set[int]] = field(default_factory=dict)
    told: list[CacheEvent] = field(default_factory=list)

    def hear(self, event: CacheEvent) -> None:
        """The picker's part."""
        self.told.append(event)
        held = self.held.setdefault(event.address, set())
        match event:
            case BlocksStored():
                held.update(event.blocks)
            case BlocksRemoved():
                held.difference_update(event.blocks)
            case CacheCleared():
                held.clear()

    async def has(self, *numbers: int, pod: str = POD) -> None:
        """Waits until exactly these blocks are held."""
        wanted = {ours(number) for number in numbers}
        await eventually(lambda: self.held.get(pod, set()) == wanted, f"blocks {numbers} of {pod}")


@asynccontextmanager
async def listening(sources: dict[str, KvSource]) -> AsyncIterator[Listener]:
    """A subscriber that listens."""
    listener = Listener(KvEvents(on_event=lambda event: listener.hear(event), clock=time.monotonic))
    listener.events.start()
    try:
        listener.events.set_sources(sources)
        yield listener
    finally:
        await listener.events.stop()


def source(publisher: KvPublisher, *, replays: bool = True) -> KvSource:
    """Where a publisher is heard."""
    return KvSource(
        port=publisher.port, replay_port=publisher.replay_port if replays else None, is_exact=True, model="m"
    )


def ids(number: int) -> list[int]:
    """The tokens of a prompt of one block."""
    return [number] * 64


def ours(number: int) -> int:
    """The name of that block."""
    return token_block_hashes(ids(number), "m")[0]


def stored(number: int) -> bytes:
    """The engine has it."""
    return payload(stored_map([number], ids(number), 64))


def removed(number: int) -> bytes:
    """The engine has it no more."""
    return payload(["BlockRemoved", [number], "GPU"])


async def until_heard(publisher: KvPublisher, listener: Listener, number: int = 999) -> None:
    """Publishes until the subscription stands (PUB drops what nobody has asked for)."""

    def is_heard() -> bool:
        publisher.publish(stored(number))
        return bool(listener.told)

    await eventually(is_heard, "the first message")
    await listener.has(number)


@pytest.mark.parametrize("shape", SHAPES)
async def test_past_and_present(shape: Shape) -> None:
    """What was cached before we came is replayed, in both shapes of answers; then it goes on live."""
    async with KvPublisher(KvPorts(shape=shape, topic="kv@pod@m")) as publisher:
        for message in (stored(1), stored(2), removed(1)):
            publisher.publish(message)
        async with listening({POD: source(publisher)}) as listener:
            await listener.has(2)
            publisher.publish(stored(3))
            await listener.has(2, 3)
            publisher.publish(removed(2))
            await listener.has(3)
            assert listener.events.status()[POD]["blocks"] == 1
            assert listener.events.failing() == {}


async def test_lost_messages_are_replayed() -> None:
    """A hole, seen with the next message, is filled; nothing is forgotten meanwhile."""
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher)}) as listener:
        await until_heard(publisher, listener)
        publisher.publish(stored(1), is_lost=True)
        publisher.publish(removed(999), is_lost=True)
        publisher.publish(stored(2))
        await listener.has(1, 2)
        assert not any(isinstance(event, CacheCleared) for event in listener.told)
        assert listener.events.counters.order.gaps == 1
        assert listener.events.counters.order.lost == 0


async def test_the_last_message_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """No later message shows the hole; the silence does."""
    monkeypatch.setattr(kv_events, "QUIET_S", 0.05)
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher)}) as listener:
        await until_heard(publisher, listener)
        publisher.publish(removed(999), is_lost=True)
        await listener.has()


async def test_memory_that_does_not_reach_back() -> None:
    """What the publisher has forgotten clears what we believed."""
    async with KvPublisher(KvPorts(buffer_steps=2)) as publisher, listening({POD: source(publisher)}) as listener:
        await until_heard(publisher, listener)
        for number in (1, 2, 3):
            publisher.publish(stored(number), is_lost=True)
        publisher.publish(stored(4))
        await listener.has(3, 4)


async def test_no_replay() -> None:
    """Without a replay port a hole clears."""
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher, replays=False)}) as listener:
        await until_heard(publisher, listener)
        publisher.publish(stored(1), is_lost=True)
        publisher.publish(stored(2))
        await listener.has(2)
        assert listener.events.counters.order.lost == 1


async def test_replay_port_that_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers there: after a bounded time the hole clears, and live messages count."""
    monkeypatch.setattr(kv_events, "REPLAY_SILENCE_S", 0.2)
    (nobody,) = free_ports(1)
    async with KvPublisher(KvPorts()) as publisher:
        dead = KvSource(port=publisher.port, replay_port=nobody, is_exact=True, model="m")
        async with listening({POD: dead}) as listener:
            await until_heard(publisher, listener)
            publisher.publish(stored(1), is_lost=True)
            publisher.publish(stored(2))
            await listener.has(2)
            assert listener.events.counters.replays_failed >= 1
            assert listener.events.status()[POD]["replays_failed"] >= 1


async def test_silence_and_a_dead_replay_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is asked about, nobody answers, and what was told is believed all the same."""
    monkeypatch.setattr(kv_events, "REPLAY_SILENCE_S", 0.1)
    monkeypatch.setattr(kv_events, "QUIET_S", 0.1)
    monkeypatch.setattr(kv_stream, "RETRY_REPLAY_S", 0.0)
    (nobody,) = free_ports(1)
    async with KvPublisher(KvPorts()) as publisher:
        dead = KvSource(port=publisher.port, replay_port=nobody, is_exact=True, model="m")
        async with listening({POD: dead}) as listener:
            await until_heard(publisher, listener)
            before = listener.events.counters.replays_failed
            await eventually(lambda: listener.events.counters.replays_failed > before, "a replay that failed")
            assert not any(isinstance(event, CacheCleared) for event in listener.told)
            await listener.has(999)


async def test_restart_of_the_engine() -> None:
    """Another process on the same ports: forgotten at once, by the new connection alone, and its own blocks learned."""
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher)}) as listener:
        await until_heard(publisher, listener)
        publisher.publish(stored(1))
        await listener.has(999, 1)
        publisher.stop()
        publisher.start()
        await listener.has()
        assert isinstance(listener.told[-1], CacheCleared)
        publisher.publish(stored(5))
        await listener.has(5)
        assert listener.events.counters.cleared["restarted"] >= 1


async def test_restart_that_got_ahead_of_us() -> None:
    """The new process has sent more than the old one by the time we are back: it is found out all the same."""
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher)}) as listener:
        publisher.publish(stored(1))
        await listener.has(1)
        publisher.stop()
        publisher.start()
        for number in range(20, 40):
            publisher.publish(stored(number))
        await listener.has(*range(20, 40))


async def test_subscriber_that_comes_back() -> None:
    """A source that is dropped is forgotten; added again, it is learned anew."""
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher)}) as listener:
        publisher.publish(stored(1))
        await listener.has(1)
        listener.events.set_sources({})
        listener.held.clear()
        publisher.publish(stored(2))
        listener.events.set_sources({POD: source(publisher)})
        await listener.has(1, 2)


async def test_ranks() -> None:
    """Data-parallel ranks publish on consecutive ports; together they are the endpoint."""
    for _ in range(10):  # consecutive ports cannot be asked for
        (port,), (replay,) = free_ports(1), free_ports(1)
        try:
            publishers = [KvPublisher(KvPorts(port=port + rank, replay_port=replay + rank)) for rank in range(2)]
            for publisher in publishers:
                publisher.start()
            break
        except OSError:
            for publisher in publishers:
                publisher.stop()
    try:
        both = KvSource(port=port, replay_port=replay, ranks=2, is_exact=True, model="m")
        async with listening({POD: both}) as listener:
            publishers[0].publish(stored(1))
            publishers[1].publish(stored(2))
            await listener.has(1, 2)
            publishers[0].stop()
            publishers[0].start()
            await listener.has(2)
    finally:
        for publisher in publishers:
            publisher.stop()


async def test_publishers_that_connect() -> None:
    """One bound socket for all; topics say who speaks, by address or host, and strangers are counted."""
    sources = {
        name: KvSource(bind="tcp://127.0.0.1:*", topic="kv@", is_exact=True, model="m")
        for name in ("10.0.0.1:8000", "10.0.0.2:8000", "10.0.0.2:8001")
    }
    async with listening(sources) as listener:
        bound = await eventually(lambda: listener.events.bound_at("tcp://127.0.0.1:*"), "a bound socket")
        for topic, pod in (("kv@10.0.0.1@m", "10.0.0.1:8000"), ("kv@10.0.0.2:8001@m", "10.0.0.2:8001")):
            async with KvPublisher(KvPorts(connect=bound, topic=topic)) as publisher:

                def is_heard(publisher: KvPublisher = publisher, pod: str = pod) -> bool:
                    publisher.publish(stored(7))
                    return pod in listener.held

                await eventually(is_heard, f"a message of {pod}")
                await listener.has(7, pod=pod)
        async with KvPublisher(KvPorts(connect=bound, topic="kv@10.0.0.2@m")) as publisher:

            def is_strange() -> bool:
                publisher.publish(stored(8))
                return listener.events.counters.strangers > 0

            await eventually(is_strange, "a message that could be of two endpoints")
    assert all(ours(8) not in held for held in listener.held.values())


async def test_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that cannot be bound is told, and stops nothing; it is tried again."""
    monkeypatch.setattr(kv_events, "RETRY_S", 0.02)
    async with KvPublisher(KvPorts()) as publisher:
        taken = f"tcp://127.0.0.1:{publisher.port}"
        async with listening({POD: KvSource(bind=taken), "127.0.0.1:8001": source(publisher)}) as listener:
            publisher.publish(stored(1))
            await listener.has(1, pod="127.0.0.1:8001")
            assert taken in listener.events.failing()
            publisher.stop()
            await eventually(lambda: listener.events.bound_at(taken), "the port")
            assert listener.events.failing() == {}


async def test_sockets_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process has too many open files, that is told, and the endpoint is heard when there is room again."""
    monkeypatch.setattr(kv_events, "RETRY_S", 0.02)
    make, count = zmq.asyncio.Context.socket, 0

    def socket(context: zmq.asyncio.Context, kind: int, **more: Any) -> zmq.asyncio.Socket:
        nonlocal count
        count += kind == zmq.SUB
        if kind == zmq.SUB and count < 4:
            raise zmq.ZMQError(errno.EMFILE)
        return make(context, kind, **more)

    async with KvPublisher(KvPorts()) as publisher:
        monkeypatch.setattr(zmq.asyncio.Context, "socket", socket)
        async with listening({POD: source(publisher)}) as listener:
            await eventually(lambda: "open files" in listener.events.failing().get(POD, ""), "a failure")
            await until_heard(publisher, listener)
            assert listener.events.failing() == {}


async def test_garbage() -> None:
    """Wrong frames and damaged payloads are counted; the latter clear, and what follows counts."""
    async with KvPublisher(KvPorts()) as publisher, listening({POD: source(publisher)}) as listener:
        await until_heard(publisher, listener)
        publisher.publish(b"\xc1\xff")
        await listener.has()
        publisher.publish(payload({"type": "BlockMoved"}, stored_map([1], ids(1), 64)))
        await listener.has(1)
        publisher.publish(payload(["BlockRemoved", "?"]))
        await listener.has()
        assert publisher._publisher is not None
        publisher._publisher.send_multipart([b"kv", b"only two frames"])
        await eventually(lambda: listener.events.counters.undecodable == 3, "the last message")
        assert listener.events.counters.skipped == 1
        assert listener.events.counters.cleared["unreadable"] == 2


async def test_replay_with_foreign_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay port that answers nonsense is as good as none."""
    context = zmq.asyncio.Context()
    router = context.socket(zmq.ROUTER)
    port = router.bind_to_random_port("tcp://127.0.0.1")

    async def nonsense() -> None:
        while True:
            asker, *_ = await router.recv_multipart()
            await router.send_multipart((asker, b"?"))

    task = asyncio.create_task(nonsense())
    try:
        async with KvPublisher(KvPorts()) as publisher:
            odd = KvSource(port=publisher.port, replay_port=port, is_exact=True, model="m")
            async with listening({POD: odd}) as listener:
                await until_heard(publisher, listener)
                assert listener.events.counters.replays_failed == 1
    finally:
        task.cancel()
        context.destroy(linger=0)


async def test_restarts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the picker does not know token ids, it is told of restarts and resets, and of nothing else."""
    monkeypatch.setattr(kv_events, "QUIET_S", 0.05)  # a message before the subscription stands is not lost for long
    async with KvPublisher(KvPorts()) as publisher:
        coarse = KvSource(port=publisher.port, replay_port=publisher.replay_port)
        async with listening({POD: coarse}) as listener:
            cleared = listener.events.counters.cleared
            publisher.publish(stored(1))
            publisher.publish(b"\xc1")
            publisher.publish(stored(2))
            await eventually(lambda: cleared["unreadable"] and listener.events.status()[POD]["blocks"] == 1, "a block")
            assert listener.told == []
            publisher.publish(payload({"type": "AllBlocksCleared"}))
            await eventually(lambda: len(listener.told) == 1, "a reset")
            publisher.stop()
            publisher.start()
            await eventually(lambda: len(listener.told) == 2, "a restart")
            assert {type(event) for event in listener.told} == {CacheCleared}


async def test_a_real_recording() -> None:
    """The payloads of a real vLLM, through real sockets."""
    rows = capture("vllm-0.32.0-sha256_cbor-seed0-block32-live")
    async with KvPublisher(KvPorts(topic=rows[0]["topic"])) as publisher:
        for row in rows[:20]:
            publisher.publish(bytes.fromhex(row["payload_hex"]))
        async with listening({POD: source(publisher)}) as listener:
            for row in rows[20:]:
                publisher.publish(bytes.fromhex(row["payload_hex"]))
            await eventually(
                lambda: listener.events.status()[POD]["engine_blocks"] >= 57, "the recording's last blocks"
            )
            live: set[int] = set()
            for event in (event for row in rows for event in row["decoded"][1]):
                names = set(event["block_hashes"])
                live = live | names if event["type"] == "BlockStored" else live - names
            feed = listener.events._feeds[POD]
            kept = feed.blocks._ranks[0].blocks
            await eventually(lambda: {key for key, block in kept.items() if block.places} == live, "exactly its blocks")


SMALL = Profile(prefill_tokens_per_s=1e6, step_base_ms=0.5, step_per_request_ms=0.0, kv_blocks=64)
"""A memory of 1,024 tokens: every few prompts something is evicted."""


def prompt(number: int) -> str:
    """A text that begins like all of them."""
    return "You are a helpful assistant. " * 16 + f"Question {number}: " + f"{number} " * 40


async def complete(client: aiohttp.ClientSession, pod: Pod, text: str) -> None:
    """Asks a pod and reads the answer."""
    body = {"model": "m", "prompt": text, "max_tokens": 8}
    async with client.post(f"http://{pod.address}/v1/completions", json=body) as answer:
        assert answer.status == 200
        await answer.read()


@pytest.mark.parametrize("shape", SHAPES)
async def test_simulated_pods_tell_what_they_have(shape: Shape) -> None:
    """Prompts, evictions, a restart: what is believed of a pod is at each end exactly what its engine can find."""
    spec = PodSpec(name="p", models=("m",), profile=SMALL, kv=KvPorts(shape=shape))
    async with Pod(spec) as pod, aiohttp.ClientSession() as client:
        assert pod.kv is not None
        for number in range(4):
            await complete(client, pod, prompt(number))
        async with listening({POD: source(pod.kv)}) as listener:

            def is_exact() -> bool:
                cache = pod.engine.cache
                ranks = listener.events._feeds[POD].blocks._ranks
                kept = {key for key, block in ranks[0].blocks.items() if block.places} if 0 in ranks else set()
                return kept == cache._refs.keys() | cache._idle.keys()

            for number in range(4, 20):
                await complete(client, pod, prompt(number))
            await eventually(is_exact, "the blocks of the engine")
            ours = token_block_hashes(token_ids(tokens.encode([prompt(19)])), "m")
            assert set(ours[:-1]) <= listener.held[POD]
            await pod.stop()
            await pod.start()
            await listener.has()
            await complete(client, pod, prompt(1))
            await eventually(is_exact, "the blocks of the next process")
            assert listener.held[POD]
