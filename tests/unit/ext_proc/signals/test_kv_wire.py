"""KV events: every shape of every version means the same, and no bytes raise."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.token_blocks import token_bytes
from ext_proc.signals import kv_wire
from ext_proc.signals.kv_wire import (
    Batch,
    Cleared,
    Damaged,
    EndOfReplay,
    Message,
    Removed,
    Stored,
    decode_batch,
    message_of,
    replay_request,
    replayed,
)
from tests.unit.ext_proc.signals.kv_samples import CAPTURES, capture, payload, stored_map, wire_shapes

SHAPES = wire_shapes()
TOKENS = token_bytes(range(100, 148))
UNSIGNED = (8468860364822751900, 5659426989048894505, 13165046985235928266)


def read(data: bytes) -> Batch:
    """A batch that is none the worse."""
    batch = decode_batch(data)
    assert isinstance(batch, Batch)
    return batch


@pytest.mark.parametrize(
    ("name", "hashes", "medium", "rank"),
    [
        ("vllm<=0.9.x array", UNSIGNED, "GPU", None),
        ("vllm 0.10-0.13 array", UNSIGNED, "GPU", 0),
        ("vllm 0.14-0.17 array", UNSIGNED, "GPU", 0),
        ("vllm 0.18-0.21 array", UNSIGNED, "GPU", 0),
        ("vllm 0.22-0.23 array", UNSIGNED, "GPU", 0),
        ("vllm >=0.24 map", UNSIGNED, "GPU", 0),
        ("vllm cpu tier", UNSIGNED, "CPU", 0),
        ("sglang <=0.5.19 array", (-1, 5, -7), "GPU", None),
        ("sglang >=0.5.20 map", (-1, 5, -7), "CPU_PINNED", 3),
    ],
)
def test_every_shape_means_the_same(name: str, hashes: tuple[int, ...], medium: str, rank: int | None) -> None:
    """Array or map, old or new: the same three blocks, and the same tokens."""
    batch = read(SHAPES[name])
    event = batch.events[0]
    assert isinstance(event, Stored)
    assert (event.hashes, event.parent, event.tokens, event.block_size) == (hashes, None, TOKENS, 16)
    assert (event.medium, event.adapter, event.salt, event.is_whole, batch.rank) == (medium, "", "", True, rank)
    assert (batch.at, batch.skipped, batch.is_lossy) == (1795210200.25, 0, False)


@pytest.mark.parametrize("name", ["vllm 0.22-0.23 array", "vllm >=0.24 map"])
def test_removed_and_cleared(name: str) -> None:
    """The last two events of the batch."""
    assert read(SHAPES[name]).events[1:] == (Removed(hashes=(UNSIGNED[2],)), Cleared())


def test_hashes_of_32_bytes() -> None:
    """They are names like numbers."""
    event = read(SHAPES["vllm raw bytes hashes"]).events[0]
    assert isinstance(event, Stored)
    assert [len(name) for name in event.hashes if isinstance(name, bytes)] == [32, 32, 32]


def test_other_messages() -> None:
    """Load reports and garbage are no batches; an unknown event is passed over, and nothing is lost with it."""
    for name in ("sglang LoadStat", "sglang LoadStat prefix only", "bad: not msgpack"):
        assert isinstance(decode_batch(SHAPES[name]), Damaged)
    assert decode_batch(SHAPES["bad: unknown event type"]) == Batch(1795210200.25, (), 0, skipped=1)


@pytest.mark.parametrize("name", CAPTURES)
def test_recordings(name: str) -> None:
    """What is read is what the other program read."""
    for row in capture(name):
        at, events, rank = row["decoded"]
        batch = read(bytes.fromhex(row["payload_hex"]))
        assert (batch.at, batch.rank, batch.skipped, len(batch.events)) == (at, rank, 0, len(events))
        for event, told in zip(batch.events, events, strict=True):
            assert isinstance(event, Stored | Removed)
            assert list(event.hashes) == told["block_hashes"]
            if isinstance(event, Stored):
                assert (event.parent, event.block_size) == (told["parent_block_hash"], told["block_size"])
                assert event.tokens == token_bytes(told["token_ids"])


def test_the_fields_beside() -> None:
    """Adapter, salt, extra keys, group, kind of layers and locality are read where they are."""
    told = stored_map(
        [1], [5, 6], 2, lora_id=3, lora_name="sql", cache_salt="s", extra_keys=[["sql"]], group_idx=2,
        kv_cache_spec_kind="sliding_window", medium="CPU", locality="REMOTE", later={"a": [1]},
    )  # fmt: skip
    assert read(payload(told)).events == (
        Stored(
            hashes=(1,), parent=None, tokens=token_bytes([5, 6]), block_size=2, adapter="sql", salt="s",
            extras=(["sql"],), medium="REMOTE CPU", group=2, is_whole=False,
        ),
    )  # fmt: skip
    assert read(payload(stored_map([1, 2], [], 16))).events == (
        Stored(hashes=(1, 2), parent=None, tokens=b"", block_size=0),
    )
    old = ["BlockStored", [1], 7, [5, 6], 2, 3]
    assert read(payload(old)).events == (
        Stored(hashes=(1,), parent=7, tokens=token_bytes([5, 6]), block_size=2, adapter="#3"),
    )


REMOVED = {"type": "BlockRemoved", "block_hashes": [1]}


@pytest.mark.parametrize(
    ("event", "is_lossy"),
    [
        (stored_map([1, 2], [5, 6], 2), False),
        (stored_map([1], [5, 6], 0), False),
        (stored_map([1], [5, -6], 2), False),
        (stored_map([1], [5, 1.5], 2), False),
        (stored_map(["x"], [5, 6], 2), False),
        (stored_map([b""], [5, 6], 2), False),
        (stored_map([True], [5, 6], 2), False),
        (stored_map([1], [5, 6], 2, lora_name="x" * 600), False),
        (stored_map([1], [5, 6], 2, medium=7), False),
        (["BlockStored"], False),
        ({"type": "BlockMoved"}, False),
        ({**REMOVED, "block_hashes": 1}, True),
        ({**REMOVED, "block_hashes": [None]}, True),
        ({**REMOVED, "medium": 7}, True),
        (["BlockRemoved"], True),
        (7, True),
        ([], True),
        ([7], True),
        ({"kind": "BlockRemoved"}, True),
    ],
)
def test_bad_events_among_good_ones(event: Any, is_lossy: bool) -> None:
    """The good ones count; where a bad one may have been a removal, the batch says that it is lossy."""
    batch = read(payload(REMOVED, event, REMOVED))
    assert batch.events == (Removed(hashes=(1,)),) * 2
    assert (batch.skipped, batch.is_lossy) == (1, is_lossy)


@pytest.mark.parametrize("raw", [None, 7, [], [1.0], [1.0, None], [1.0, {}], {"ts": 1.0}, "x", [[1.0, []]]], ids=str)
def test_no_batches(raw: Any) -> None:
    """Other values are damaged messages."""
    assert isinstance(decode_batch(msgspec.msgpack.encode(raw)), Damaged)


def test_hostile_bytes() -> None:
    """Deep nesting, lengths that lie and too much of it are damaged messages, at little cost."""
    for data in (b"\x91" * 1_000_000, b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b""):
        assert isinstance(decode_batch(data), Damaged)
    too_long = payload(REMOVED) + bytes(kv_wire.MAX_PAYLOAD_BYTES)
    assert isinstance(decode_batch(too_long), Damaged)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    """Nothing raises."""
    assert isinstance(decode_batch(data), Batch | Damaged)


@given(st.sampled_from(sorted(SHAPES)), st.data())
def test_any_damage(name: str, data: st.DataObject) -> None:
    """Nothing raises for a message with a few bytes changed or its end cut off."""
    damaged = bytearray(SHAPES[name])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    assert isinstance(decode_batch(cut), Batch | Damaged)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=5) | st.sampled_from(["BlockStored", "BlockRemoved"]),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["type", "block_hashes"]), inner),
    max_leaves=12,
)  # fmt: skip


@given(st.lists(VALUES, max_size=4), VALUES)
def test_any_events(events: list[Any], rank: Any) -> None:
    """Nothing raises for well-formed msgpack of any shape, and every event is either read or counted."""
    batch = decode_batch(msgspec.msgpack.encode([1.0, events, rank]))
    assert isinstance(batch, Batch)
    assert len(batch.events) + batch.skipped == len(events)


SEVEN = (7).to_bytes(8, "big")


def test_frames_of_messages() -> None:
    """Topic, number, payload; nothing else."""
    assert message_of([b"kv@a@m", SEVEN, b"p"]) == Message("kv@a@m", 7, b"p")
    assert message_of([b"\xff", SEVEN, b""]) == Message("\ufffd", 7, b"")
    for frames in ([SEVEN, b"p"], [b"", b"\0" * 7, b"p"], [b"", b"\xff" * 8, b"p"], [b"", SEVEN, b"p", b""], []):
        assert isinstance(message_of(frames), Damaged)


@pytest.mark.parametrize("delimiter", [[b""], []], ids=["DEALER", "REQ"])
def test_frames_of_replays(delimiter: list[bytes]) -> None:
    """With a topic or without one (older versions), with the empty frame or without it, the same answer."""
    assert replayed([*delimiter, SEVEN, b"p"]) == Message("", 7, b"p")
    assert replayed([*delimiter, b"kv", SEVEN, b"p"]) == Message("kv", 7, b"p")
    assert replayed([*delimiter, b"", SEVEN, b"p"]) == Message("", 7, b"p")
    assert replayed([*delimiter, b"\xff" * 8, b""]) == EndOfReplay()
    assert replayed([*delimiter, b"", b"\xff" * 8, b""]) == EndOfReplay()


@pytest.mark.parametrize("frames", [[], [b""], [b"", b"", b""], [b"", b"x", b"p"], [b"", b"", b"", SEVEN, b"p"]])
def test_no_answers(frames: list[bytes]) -> None:
    """Anything else is damaged."""
    assert isinstance(replayed(frames), Damaged)


def test_request() -> None:
    """An empty frame and the number, as a ROUTER that expects a REQ reads it."""
    assert replay_request(7) == (b"", SEVEN)
