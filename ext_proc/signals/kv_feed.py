"""One endpoint's KV events: from messages to what the picker learns, and what is still to be fetched. Pure.

    feed = KvFeed("10.0.0.1:8000", source, counters, room)
    for wish in feed.heard(rank=0, message, now): ...      # replays that the caller is to fetch

Puts together the order of messages (`kv_stream`), their content (`kv_wire`) and the blocks (`kv_blocks`).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ext_proc.core.events import CacheCleared, CacheEvent
from ext_proc.core.settings import KvEventSettings
from ext_proc.signals.kv_blocks import MAX_RANKS, KvBlocks, Room
from ext_proc.signals.kv_stream import RESTARTED, Action, Apply, AskReplay, Clear, Counts, KvStream
from ext_proc.signals.kv_wire import Cleared, Damaged, EndOfReplay, Message, decode_batch

USUAL_PORT: Final = 5557
"""Where vLLM publishes unless told otherwise."""

RESET: Final = "reset"
"""A reason for forgetting: the engine says that it has dropped its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KvSource:
    """Where and how an endpoint tells of its cache.

    Data-parallel rank r of `ranks` publishes at `port` + r of the endpoint's host, and replays at `replay_port` + r
    (None: not at all). With `bind` (`tcp://0.0.0.0:5557`) the engines connect to us there instead, and tell by their
    topics (`kv@HOST:PORT@MODEL` or `kv@HOST@MODEL`) who they are. Only topics that begin with `topic` are heard.
    Prompts that use no adapter are hashed under `model`.

    `is_exact`: the picker hashes prompts by their token ids, so stored and removed blocks mean something to it. Without
    it, the picker is told of restarts and resets only.
    """

    port: int = USUAL_PORT
    replay_port: int | None = None
    ranks: int = 1
    topic: str = ""
    bind: str = ""
    model: str = ""
    is_exact: bool = False


def source_of(address: str, settings: KvEventSettings) -> KvSource:
    """Where one endpoint of a pool tells."""
    own = int(address.rpartition(":")[2])
    port, replay_port = settings.port or USUAL_PORT, settings.replay_port
    if settings.port_offset is not None:
        port = own + settings.port_offset
    if settings.replay_port_offset is not None:
        replay_port = own + settings.replay_port_offset
    bind = f"tcp://{settings.bind}" if settings.bind else ""
    return KvSource(
        port=port,
        replay_port=replay_port,
        ranks=settings.ranks,
        topic=settings.topic,
        bind=bind,
        is_exact=settings.is_exact,
    )


@dataclass(slots=True)
class KvCounters:
    """What all feeds have seen. Mutable; all only grow."""

    messages: int = 0
    """Live ones."""
    order: Counts = field(default_factory=Counts)
    replays: int = 0
    replays_failed: int = 0
    replayed: int = 0
    """Messages that came as answers to replays."""
    undecodable: int = 0
    """Messages that could not be read, or not entirely."""
    skipped: int = 0
    """Single events of unknown types, or stores that could not be read."""
    strangers: int = 0
    """Messages whose topic names no endpoint."""
    cleared: Counter[str] = field(default_factory=Counter)
    """How often everything of a rank was forgotten, by reason."""


class KvFeed:
    """Mutable: a stream per rank, the blocks, when it was heard last. Single writer: the subscriber."""

    def __init__(
        self,
        address: str,
        source: KvSource,
        counters: KvCounters,
        room: Room,
        on_event: Callable[[CacheEvent], None],
    ) -> None:
        self.blocks = KvBlocks(address, room, model=source.model)
        self.heard_at: float | None = None
        self.messages = self.replays_failed = 0
        self._address = address
        self._source = source
        self._can_replay = source.replay_port is not None
        self._counters = counters
        self._on_event = on_event
        self._streams: dict[int, KvStream] = {}

    @property
    def ranks(self) -> list[int]:
        """The ranks that were heard of."""
        return list(self._streams)

    def connected(self, rank: int, now: float) -> list[AskReplay]:
        """There is a connection to a publisher, the first or a new one."""
        stream = self._stream(rank)
        return [] if stream is None else self._act(rank, stream, stream.connected(now), now)

    def quiet(self, rank: int, now: float) -> list[AskReplay]:
        """Nothing has come for a while."""
        stream = self._stream(rank)
        return [] if stream is None else self._act(rank, stream, stream.quiet(now), now)

    def heard(self, rank: int, message: Message, now: float) -> list[AskReplay]:
        """A live message."""
        self.heard_at = now
        self.messages += 1
        self._counters.messages += 1
        stream = self._stream(rank)
        return [] if stream is None else self._act(rank, stream, stream.live(message.seq, message.payload, now), now)

    def replayed(
        self, rank: int, ask: int, answer: Message | EndOfReplay | Damaged | None, now: float
    ) -> list[AskReplay]:
        """An answer to a replay that was wished for; None: it did not come."""
        stream = self._stream(rank)
        if stream is None:
            return []
        match answer:
            case Message():
                self._counters.replayed += 1
                self.heard_at = now
                actions = stream.replayed(ask, answer.seq, answer.payload)
            case EndOfReplay():
                actions = stream.replay_ended(ask)
            case _:
                self._counters.replays_failed += 1
                self.replays_failed += 1
                actions = stream.replay_failed(ask, now)
        return self._act(rank, stream, actions, now)

    def unreadable(self, now: float) -> None:
        """A message came of which not even the rank can be told."""
        self._counters.undecodable += 1
        for rank, stream in self._streams.items():
            self._act(rank, stream, stream.unreadable(), now)

    def _stream(self, rank: int) -> KvStream | None:
        stream = self._streams.get(rank)
        if stream is None and len(self._streams) < MAX_RANKS:
            stream = self._streams[rank] = KvStream(self._counters.order, can_replay=self._can_replay)
        return stream

    def _act(self, rank: int, stream: KvStream, actions: list[Action], now: float) -> list[AskReplay]:
        wishes = []
        for action in actions:
            match action:
                case Apply():
                    self._apply(rank, stream, action.payload, now)
                case Clear():
                    self._clear(rank, action.reason, now)
                case AskReplay():
                    self._counters.replays += 1
                    wishes.append(action)
        return wishes

    def _apply(self, rank: int, stream: KvStream, payload: bytes, now: float) -> None:
        batch = decode_batch(payload)
        if isinstance(batch, Damaged) or batch.is_lossy:
            self._counters.undecodable += 1
            self._act(rank, stream, stream.unreadable(), now)
            return
        self._counters.skipped += batch.skipped
        is_reset = any(isinstance(event, Cleared) for event in batch.events)
        if is_reset:
            self._counters.cleared[RESET] += 1
        for event in self.blocks.apply(rank, batch.events, now):
            self._tell(event, RESET if is_reset else "")

    def _clear(self, rank: int, reason: str, now: float) -> None:
        self._counters.cleared[reason] += 1
        for event in self.blocks.clear(rank, now):
            self._tell(event, reason)

    def _tell(self, event: CacheEvent, reason: str) -> None:
        # What is predicted from picks does not become wrong by lost messages.
        if self._source.is_exact or (isinstance(event, CacheCleared) and reason in (RESTARTED, RESET)):
            self._on_event(event)
