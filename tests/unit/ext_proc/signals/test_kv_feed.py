"""One endpoint's feed: where it is, and what of it the picker is told."""

from typing import Any

import pytest

from ext_proc.core.events import BlocksStored, CacheCleared, CacheEvent
from ext_proc.core.settings import KvEventSettings
from ext_proc.signals.kv_blocks import MAX_RANKS, Room
from ext_proc.signals.kv_feed import KvCounters, KvFeed, KvSource, source_of
from ext_proc.signals.kv_stream import AskReplay
from ext_proc.signals.kv_wire import EndOfReplay, Message
from tests.unit.ext_proc.signals.kv_samples import payload, stored_map

POD = "10.0.0.1:8000"


@pytest.mark.parametrize(
    ("address", "settings", "source"),
    [
        (POD, {}, KvSource(port=5557)),
        (POD, {"port": 6000, "replay_port": 6100, "ranks": 2}, KvSource(port=6000, replay_port=6100, ranks=2)),
        (POD, {"is_exact": True}, KvSource(port=5557, is_exact=True)),
        (POD, {"port_offset": 1000, "replay_port_offset": -1}, KvSource(port=9000, replay_port=7999)),
        ("[fd00::1]:8000", {"port_offset": 1}, KvSource(port=8001)),
        (POD, {"bind": "[::]:7", "topic": "kv@"}, KvSource(port=5557, bind="tcp://[::]:7", topic="kv@")),
    ],
)
def test_sources(address: str, settings: dict[str, Any], source: KvSource) -> None:
    """The same port for all, or a distance from the endpoint's own."""
    assert source_of(address, KvEventSettings(**settings)) == source


class Feed:
    """A feed and what the picker is told."""

    def __init__(self, **more: Any) -> None:
        self.told: list[CacheEvent] = []
        self.counters = KvCounters()
        self.feed = KvFeed(POD, KvSource(**more), self.counters, Room(), self.told.append)

    def hear(self, seq: int, *events: Any, rank: int = 0, data: bytes | None = None) -> list[AskReplay]:
        """A live message."""
        return self.feed.heard(rank, Message("", seq, payload(*events) if data is None else data), 3.0)

    def kinds(self) -> list[type[CacheEvent]]:
        """What kinds of events were told since the last time."""
        kinds = [type(event) for event in self.told]
        self.told.clear()
        return kinds


ONE = stored_map([1], range(64), 64)


def test_exact() -> None:
    """Blocks, and every reason for forgetting them, are told."""
    feed = Feed(is_exact=True)
    feed.hear(0, ONE)
    assert feed.kinds() == [BlocksStored]
    feed.hear(1, data=b"\xc1")
    assert feed.kinds() == [CacheCleared]
    feed.hear(2, ONE)
    feed.hear(5, ONE)
    assert feed.kinds() == [BlocksStored, CacheCleared, BlocksStored]
    feed.hear(0, ONE, {"type": "AllBlocksCleared"})
    assert feed.kinds() == [CacheCleared, BlocksStored, CacheCleared]
    assert feed.counters.cleared == {"unreadable": 1, "lost": 1, "restarted": 1, "reset": 1}
    assert feed.counters.undecodable == 1
    assert feed.feed.heard_at == 3.0


def test_restarts_only() -> None:
    """What the picker predicts from its own picks does not become wrong by lost or unreadable messages."""
    feed = Feed()
    feed.hear(0, ONE)
    feed.hear(1, data=b"\xc1")
    feed.hear(5, ONE)
    assert feed.kinds() == []
    feed.hear(6, {"type": "AllBlocksCleared"})
    feed.hear(0, ONE)
    assert feed.kinds() == [CacheCleared, CacheCleared]


def test_a_lossy_batch_counts_for_nothing() -> None:
    """Where a removal could not be read, what else the message says is not believed either."""
    feed = Feed(is_exact=True)
    feed.hear(0, ONE, ["BlockRemoved", "?"])
    assert feed.kinds() == [CacheCleared]
    assert len(feed.feed.blocks) == 0


def test_replays() -> None:
    """Wishes are handed on, answers are taken, and what did not come is counted."""
    feed = Feed(replay_port=1, is_exact=True)
    assert feed.feed.connected(0, 1.0) == [AskReplay(1, 0)]
    assert feed.feed.replayed(0, 1, Message("", 0, payload(ONE)), 1.0) == []
    assert feed.kinds() == [BlocksStored]
    assert feed.feed.replayed(0, 1, EndOfReplay(), 1.0) == []
    assert feed.feed.connected(0, 9.0) == [AskReplay(2, 0)]
    assert feed.feed.replayed(0, 2, None, 9.0) == []
    assert feed.kinds() == [CacheCleared]
    assert (feed.counters.replays, feed.counters.replayed, feed.counters.replays_failed) == (2, 1, 1)


def test_unreadable_of_an_unknown_rank() -> None:
    """All ranks may have lost something."""
    feed = Feed(is_exact=True)
    feed.hear(0, ONE, rank=0)
    feed.hear(0, stored_map([2], range(64, 128), 64), rank=1)
    feed.feed.unreadable(4.0)
    assert len(feed.feed.blocks) == 0
    assert feed.feed.ranks == [0, 1]


def test_ranks_are_bounded() -> None:
    """A publisher that invents ranks is not followed."""
    feed = Feed(is_exact=True, replay_port=1)
    for rank in range(MAX_RANKS + 5):
        feed.hear(0, ONE, rank=rank)
    assert len(feed.feed.ranks) == MAX_RANKS
    beyond = MAX_RANKS + 1
    assert feed.feed.connected(beyond, 1.0) == feed.feed.quiet(beyond, 1.0) == []
    assert feed.feed.replayed(beyond, 1, None, 1.0) == []
