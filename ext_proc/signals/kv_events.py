"""Listens to what engines tell of their prefix caches, over ZMQ.

    events = KvEvents(on_event=picker.apply, clock=time.monotonic)
    events.start()
    events.set_sources({"10.0.0.1:8000": KvSource(port=5557, replay_port=5558)})
    ...
    await events.stop()

One SUB socket for each rank of each endpoint, so that it is known who speaks; or one bound socket for all where engines
connect to us (vLLM does when its endpoint names a host). Replays are fetched by a DEALER socket of their own, one at a
time per rank. What follows from what was heard is decided in `kv_feed`; here are sockets, tasks and waits, each of them
bounded. Nothing is logged: counters and `status` tell.

ZMQ reconnects by itself and says so on a monitor socket. Messages of a connection are read before the news of the next
one, so that what a dead process had sent is not taken for its successor's.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from ext_proc.core.events import CacheEvent
from ext_proc.signals.kv_blocks import Room
from ext_proc.signals.kv_feed import KvCounters, KvFeed, KvSource
from ext_proc.signals.kv_stream import AskReplay
from ext_proc.signals.kv_wire import (
    MAX_PAYLOAD_BYTES,
    Damaged,
    Message,
    decode_batch,
    message_of,
    replay_request,
    replayed,
)
from ext_proc.signals.rounds import Ending

MAX_QUEUED: Final = 1_000
"""Messages that wait in a socket while the picker is busy, ten seconds of an engine's steps. Beyond, ZMQ drops them,
which is a hole like another."""

MAX_REPLAYED: Final = 20_000
"""Answers that wait: twice what engines remember by default. An engine drops what does not fit into its own socket
(1,000 messages), so what it sends must leave it quickly."""

MAX_AT_ONCE: Final = 16
"""Messages that are handled without giving way to picks: about a millisecond."""

MAX_SOCKETS: Final = 16_384
"""ZMQ's own limit would be 1,023; a rank takes three while it replays."""

QUIET_S: Final = 5.0
"""After so long without a message the last ones are asked for once, in case they were lost: also those that were sent
between a connection and the moment from which on the publisher knows of it."""

REPLAY_SILENCE_S: Final = 3.0
"""Between two answers; vLLM looks for requests every 0.1 s, between its steps."""

REPLAY_S: Final = 30.0
"""For a whole replay: ten thousand messages, vLLM's default of what it keeps, take a few seconds."""

RETRY_S: Final = 2.0
"""Until a socket that could not be made or bound is tried again: the process before this one, which has the port, may
just be ending, and files that are open today may be closed tomorrow."""

_RECONNECT_MS: Final = 100
_RECONNECT_MAX_MS: Final = 5_000
# An engine's host that vanishes without a word is noticed after this time.
_HEARTBEAT_MS: Final = 5_000
_HEARTBEAT_TIMEOUT_MS: Final = 15_000

_TOPIC: Final = "kv@"
"""What topics begin with that name a pod: `kv@POD@MODEL`, the convention of llm-d."""


class KvEvents:
    """Mutable: the sources, their feeds and tasks, the sockets. All on one event loop."""

    def __init__(self, *, on_event: Callable[[CacheEvent], None], clock: Callable[[], float]) -> None:
        """`on_event` gets each event and must not raise; `clock` gives `at` in monotonic seconds."""
        self.counters = KvCounters()
        self._on_event = on_event
        self._clock = clock
        self._room = Room()
        self._context: zmq.asyncio.Context | None = None
        self._sources: dict[str, KvSource] = {}
        self._feeds: dict[str, KvFeed] = {}
        self._listening: dict[str, list[asyncio.Task[None]]] = {}
        self._bound: dict[str, asyncio.Task[None]] = {}
        self._bound_at: dict[str, str] = {}
        self._replays: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._ending = Ending()
        self._failing: dict[str, str] = {}

    def start(self) -> None:
        """Makes sockets possible; needs a running event loop."""
        self._context = zmq.asyncio.Context()
        self._context.max_sockets = MAX_SOCKETS

    def set_sources(self, sources: Mapping[str, KvSource]) -> None:
        """Listens to exactly these from now on: address → source. What stays is not disturbed."""
        for address, source in list(self._sources.items()):
            if sources.get(address) != source:
                self._drop(address)
        for address, source in sources.items():
            if address not in self._sources:
                self._add(address, source)
        wanted = {source.bind for source in sources.values() if source.bind}
        for bind in [bind for bind in self._bound if bind not in wanted]:
            self._ending.end(self._bound.pop(bind))
            self._bound_at.pop(bind, None)
            self._failing.pop(bind, None)
        for bind in wanted - self._bound.keys():
            self._bound[bind] = asyncio.create_task(self._listen_bound(bind), name=f"kv events on {bind}")

    def status(self) -> dict[str, dict[str, Any]]:
        """By address, JSON values: seconds since it was heard (None: never), messages, replays that did not come,
        blocks held, what was not kept."""
        now = self._clock()
        return {
            address: {
                "age_s": None if feed.heard_at is None else round(now - feed.heard_at, 3),
                "messages": feed.messages,
                "replays_failed": feed.replays_failed,
                "blocks": len(feed.blocks),
                "engine_blocks": feed.blocks.engine_blocks,
                "orphans": feed.blocks.unused.orphans,
                "no_room": feed.blocks.unused.no_room,
                "elsewhere": feed.blocks.unused.elsewhere,
            }
            for address, feed in self._feeds.items()
        }

    def failing(self) -> Mapping[str, str]:
        """Addresses whose sockets could not be made or bound, with the reason."""
        return dict(self._failing)

    def bound_at(self, bind: str) -> str:
        """Where a bound socket listens, with the port that the OS chose; empty while it does not."""
        return self._bound_at.get(bind, "")

    async def stop(self) -> None:
        """Ends all listening; harmless when called twice."""
        self.set_sources({})
        await self._ending.wait()
        if self._context is not None:
            self._context.destroy(linger=0)
            self._context = None

    # --- sources ----------------------------------------------------------------------------------------------------

    def _add(self, address: str, source: KvSource) -> None:
        self._sources[address] = source
        feed = self._feeds[address] = KvFeed(address, source, self.counters, self._room, self._on_event)
        if not source.bind:
            self._listening[address] = [
                asyncio.create_task(self._listen(address, feed, source, rank), name=f"kv events of {address}")
                for rank in range(source.ranks)
            ]

    def _drop(self, address: str) -> None:
        del self._sources[address]
        self._feeds.pop(address).blocks.forget()
        self._failing.pop(address, None)
        for task in self._listening.pop(address, ()):
            self._ending.end(task)
        for key in [key for key in self._replays if key[0] == address]:
            self._ending.end(self._replays.pop(key))

    # --- live -------------------------------------------------------------------------------------------------------

    async def _listen(self, address: str, feed: KvFeed, source: KvSource, rank: int) -> None:
        def heard(frames: list[bytes]) -> None:
            message = message_of(frames)
            if isinstance(message, Damaged):
                self.counters.undecodable += 1
                return
            self._fetch(address, rank, feed.heard(rank, message, self._clock()))

        def connected() -> None:
            self._fetch(address, rank, feed.connected(rank, self._clock()))

        def quiet() -> None:
            self._fetch(address, rank, feed.quiet(rank, self._clock()))

        def begin(sub: zmq.asyncio.Socket) -> None:
            sub.connect(_endpoint(address, source.port + rank))

        await self._read(address, source.topic, begin, _Hearer(heard, connected, quiet))

    async def _listen_bound(self, bind: str) -> None:
        def heard(frames: list[bytes]) -> None:
            message = message_of(frames)
            if isinstance(message, Damaged):
                self.counters.undecodable += 1
            else:
                self._heard_bound(bind, message)

        def connected() -> None:
            # Who it is shows with its first message; those who can say what was missed are asked.
            for address, source in self._sources.items():
                if source.bind == bind and source.replay_port is not None:
                    feed = self._feeds[address]
                    for rank in feed.ranks:
                        self._fetch(address, rank, feed.connected(rank, self._clock()))

        def quiet() -> None:
            pass  # one of many is silent unnoticed

        def begin(sub: zmq.asyncio.Socket) -> None:
            sub.bind(bind)
            self._bound_at[bind] = sub.get_string(zmq.LAST_ENDPOINT)

        await self._read(bind, "", begin, _Hearer(heard, connected, quiet))

    def _heard_bound(self, bind: str, message: Message) -> None:
        address = self._speaker(bind, message.topic)
        if address is None:
            self.counters.strangers += 1
            return
        batch = decode_batch(message.payload)
        feed, now = self._feeds[address], self._clock()
        if isinstance(batch, Damaged):
            feed.unreadable(now)
            return
        rank = batch.rank or 0
        self._fetch(address, rank, feed.heard(rank, message, now))

    def _speaker(self, bind: str, topic: str) -> str | None:
        """The endpoint that a topic names, by its address or, where nobody shares it, by its host."""
        pod = topic.removeprefix(_TOPIC).partition("@")[0] if topic.startswith(_TOPIC) else ""
        if not pod:
            return None
        meant = [
            address
            for address, source in self._sources.items()
            if source.bind == bind and topic.startswith(source.topic) and pod in (address, _host(address))
        ]
        return pod if pod in meant else meant[0] if len(meant) == 1 else None

    async def _read(
        self, name: str, topic: str, begin: Callable[[zmq.asyncio.Socket], None], hearer: "_Hearer"
    ) -> None:
        """Reads a socket of its own for ever; one that cannot be made, connected or bound is tried again."""
        while True:
            try:
                with self._subscriber(topic) as (sub, monitor):
                    begin(sub)
                    self._failing.pop(name, None)
                    await _hear(sub, monitor, hearer)
            except zmq.ZMQError as error:
                self._failing[name] = str(error)
            await asyncio.sleep(RETRY_S)

    @contextmanager
    def _subscriber(self, topic: str) -> Iterator[tuple[zmq.asyncio.Socket, zmq.asyncio.Socket]]:
        """A socket and the one that tells of its connections, which must be there before the first of them."""
        assert self._context is not None, "start() comes first"
        with self._context.socket(zmq.SUB) as sub:
            _set_options(sub)
            sub.subscribe(topic)
            with sub.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED) as monitor:
                try:
                    yield sub, monitor
                finally:
                    sub.disable_monitor()

    # --- replays ----------------------------------------------------------------------------------------------------

    def _fetch(self, address: str, rank: int, wishes: list[AskReplay]) -> None:
        """Starts the last replay that is wished for, in the place of one that goes on."""
        if not wishes:
            return
        before = self._replays.pop((address, rank), None)
        if before is not None and before is not asyncio.current_task():
            self._ending.end(before)
        self._replays[address, rank] = asyncio.create_task(
            self._replay(address, rank, wishes[-1]), name=f"kv replay of {address}"
        )

    async def _replay(self, address: str, rank: int, wish: AskReplay) -> None:
        feed, source = self._feeds[address], self._sources[address]
        try:
            async with asyncio.timeout(REPLAY_S):
                await self._converse(address, rank, wish, feed, (source.replay_port or 0) + rank)
        except (TimeoutError, zmq.ZMQError):
            self._fetch(address, rank, feed.replayed(rank, wish.ask, None, self._clock()))
        finally:
            if self._replays.get((address, rank)) is asyncio.current_task():
                del self._replays[address, rank]

    async def _converse(self, address: str, rank: int, wish: AskReplay, feed: KvFeed, port: int) -> None:
        assert self._context is not None, "start() comes first"
        dealer = self._context.socket(zmq.DEALER)
        dealer.setsockopt(zmq.LINGER, 0)
        dealer.setsockopt(zmq.IPV6, 1)
        dealer.setsockopt(zmq.MAXMSGSIZE, MAX_PAYLOAD_BYTES)
        dealer.setsockopt(zmq.RCVHWM, MAX_REPLAYED)
        try:
            dealer.connect(_endpoint(address, port))
            await dealer.send_multipart(replay_request(wish.start))
            count = 0
            while True:
                answer = replayed(await asyncio.wait_for(dealer.recv_multipart(), REPLAY_SILENCE_S))
                wishes = feed.replayed(rank, wish.ask, answer, self._clock())
                self._fetch(address, rank, wishes)
                if wishes or not isinstance(answer, Message):
                    return
                count += 1
                if count % MAX_AT_ONCE == 0:
                    await asyncio.sleep(0)
        finally:
            dealer.close()


@dataclass(frozen=True, slots=True)
class _Hearer:
    """What is done with messages, with news of a connection, and with silence."""

    heard: Callable[[list[bytes]], None]
    connected: Callable[[], None]
    quiet: Callable[[], None]


async def _hear(sub: zmq.asyncio.Socket, monitor: zmq.asyncio.Socket, hearer: _Hearer) -> None:
    """Reads messages, and news of connections whenever there are no messages; notices each silence once."""
    is_noticed = False
    poller = zmq.asyncio.Poller()
    poller.register(sub, zmq.POLLIN)
    poller.register(monitor, zmq.POLLIN)
    while True:
        ready = dict(await poller.poll(None if is_noticed else QUIET_S * 1e3))
        is_noticed = not ready
        if sub in ready:
            for _ in range(MAX_AT_ONCE):
                hearer.heard(await sub.recv_multipart())
                if not _has_more(sub):
                    break
            await asyncio.sleep(0)
        elif monitor in ready:
            event = parse_monitor_message(await monitor.recv_multipart())
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                hearer.connected()
        else:
            hearer.quiet()


def _has_more(sub: zmq.asyncio.Socket) -> bool:
    return bool(int(sub.getsockopt(zmq.EVENTS)) & zmq.POLLIN)


def _set_options(sub: zmq.asyncio.Socket) -> None:
    for option, value in (
        (zmq.LINGER, 0),
        (zmq.IPV6, 1),
        (zmq.RCVHWM, MAX_QUEUED),
        (zmq.MAXMSGSIZE, MAX_PAYLOAD_BYTES),
        (zmq.RECONNECT_IVL, _RECONNECT_MS),
        (zmq.RECONNECT_IVL_MAX, _RECONNECT_MAX_MS),
        (zmq.HEARTBEAT_IVL, _HEARTBEAT_MS),
        (zmq.HEARTBEAT_TIMEOUT, _HEARTBEAT_TIMEOUT_MS),
    ):
        sub.setsockopt(option, value)


def _endpoint(address: str, port: int) -> str:
    return f"tcp://{_host(address)}:{port}"


def _host(address: str) -> str:
    return address.rpartition(":")[0]
