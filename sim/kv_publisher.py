"""Publishes KV-cache events over ZMQ, as vLLM's engines do: live ones on a PUB socket, the last ones again on demand.

    async with KvPublisher(KvPorts()) as publisher:      # ports chosen by the OS
        publisher.publish(payload)
        print(publisher.port, publisher.replay_port)

Frames, numbering and the answers to replay requests: `vllm/distributed/kv_events.py` (`ZmqEventPublisher`), 0.26 and
later for the shape `map`, earlier for `array`. Not imitated: the publisher's own thread, and its pause of up to 0.1 s
before it looks for replay requests.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import zmq
import zmq.asyncio

from sim.events import CacheEvent
from sim.kv_messages import Shape, TokenBook, message
from sim.profile import Profile

BUFFER_STEPS = 10_000
"""Messages that can be replayed; vLLM's default."""

HIGH_WATER_MARK = 100_000
"""Messages that wait for a slow subscriber before they are dropped; vLLM's default."""

_SEQUENCE_BYTES = 8
_END = b"\xff" * _SEQUENCE_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPorts:
    """Where and how to publish; ports of 0 are chosen by the OS. Without `replays` nothing is replayed.

    With `connect` (`tcp://HOST:PORT`) the publisher connects to a subscriber instead of being connected to.
    """

    host: str = "127.0.0.1"
    port: int = 0
    replay_port: int = 0
    replays: bool = True
    topic: str = ""
    shape: Shape = "map"
    connect: str = ""
    buffer_steps: int = BUFFER_STEPS


class KvPublisher:
    """One publisher: a process's worth of numbers. Mutable: the sockets, the number, the last messages."""

    def __init__(self, ports: KvPorts) -> None:
        """Describe it; nothing is bound before `start`."""
        self._ports = ports
        self._context: zmq.asyncio.Context | None = None
        self._publisher: zmq.Socket[bytes] | None = None
        self._replays: asyncio.Task[None] | None = None
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=ports.buffer_steps)
        self._next = 0
        self.port = ports.port
        """Where it publishes, once it has started."""
        self.replay_port = ports.replay_port

    @property
    def shape(self) -> Shape:
        """The shape of its messages."""
        return self._ports.shape

    def start(self) -> None:
        """Bind, on the running loop. Raises OSError when a port is taken."""
        self._context = zmq.asyncio.Context()
        host = f"[{self._ports.host}]" if ":" in self._ports.host else self._ports.host
        try:
            # A PUB socket never waits: what nobody takes is dropped.
            self._publisher = zmq.Context.shadow(self._context).socket(zmq.PUB)
            self._publisher.setsockopt(zmq.LINGER, 0)
            self._publisher.setsockopt(zmq.IPV6, 1)
            self._publisher.setsockopt(zmq.SNDHWM, HIGH_WATER_MARK)
            if self._ports.connect:
                self._publisher.connect(self._ports.connect)
            else:
                self.port = _bind(self._publisher, host, self.port)
            if self._ports.replays:
                router = self._context.socket(zmq.ROUTER)
                router.setsockopt(zmq.LINGER, 0)
                router.setsockopt(zmq.IPV6, 1)
                self.replay_port = _bind(router, host, self.replay_port)
                self._replays = asyncio.create_task(self._replay(router), name="kv replays")
        except zmq.ZMQError as error:
            self.stop()
            raise OSError(error.errno, str(error)) from error

    def publish(self, payload: bytes, *, is_lost: bool = False) -> None:
        """Send one message, and keep it to be replayed. With `is_lost` nobody gets it, as behind a slow subscriber."""
        assert self._publisher is not None, "start() comes first"
        seq, self._next = self._next, self._next + 1
        if not is_lost:
            self._publisher.send_multipart((self._ports.topic.encode(), _number(seq), payload))
        self._kept.append((seq, payload))

    def stop(self) -> None:
        """End abruptly, as a process does; `start` begins again at number 0, on the same ports."""
        if self._replays is not None:
            self._replays.cancel()
            self._replays = None
        if self._publisher is not None:
            self._publisher.close(linger=0)  # the context does not know of it, and would wait for it
            self._publisher = None
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None
        self._kept.clear()
        self._next = 0

    async def __aenter__(self) -> "KvPublisher":
        """Start."""
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    async def _replay(self, router: zmq.asyncio.Socket) -> None:
        with_topic = (self._ports.topic.encode(),) if self._ports.shape == "map" else ()
        no_topic = (b"",) if with_topic else ()
        while True:
            frames = await router.recv_multipart()
            if len(frames) != 3 or len(frames[2]) != _SEQUENCE_BYTES:
                continue
            asker, start = frames[0], int.from_bytes(frames[2], "big")
            for seq, payload in [kept for kept in self._kept if kept[0] >= start]:
                await router.send_multipart((asker, b"", *with_topic, _number(seq), payload))
            await router.send_multipart((asker, b"", *no_topic, _END, b""))


class KvTeller:
    """Makes messages of what one engine tells. Mutable: the tokens of its blocks."""

    def __init__(self, publisher: KvPublisher, profile: Profile, wall_clock: Callable[[], float]) -> None:
        """`wall_clock` gives the time of messages, in seconds since 1970."""
        self._publisher = publisher
        self._block_size = profile.block_size
        self._wall_clock = wall_clock
        # Twice the memory: what is cached, and the prompts that wait.
        self._book = TokenBook(profile.block_size, 2 * profile.kv_blocks)

    def note(self, blocks: Sequence[int], encoded: bytes, adapter: str = "") -> None:
        """The blocks of a request, and the tokens of its prompt and answer."""
        self._book.note(blocks, encoded, adapter)

    def tell(self, events: list[CacheEvent]) -> None:
        """Publish what changed, a message for each step."""
        for _, step in groupby(events, key=lambda event: event.at):
            payload = message(self._wall_clock(), step, self._book, self._block_size, self._publisher.shape)
            self._publisher.publish(payload)


def _bind(socket: "zmq.Socket[bytes] | zmq.asyncio.Socket", host: str, port: int) -> int:
    socket.bind(f"tcp://{host}:{port or '*'}")
    return int(socket.get_string(zmq.LAST_ENDPOINT).rpartition(":")[2])


def _number(seq: int) -> bytes:
    return seq.to_bytes(_SEQUENCE_BYTES, "big")
