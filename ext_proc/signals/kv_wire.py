"""KV-cache events as engines send them, read into plain values. Pure.

One ZMQ message is [topic, sequence number, payload]; the payload is msgpack:

    [time, [event, …], data-parallel rank?]

An event is an array that begins with its type (vLLM to 0.23, SGLang to 0.5.19), its fields in the order in which
versions added them, or a map with a `type` (vLLM from 0.24, SGLang from 0.5.20). Fields that a version does not know
are absent, trailing defaults are left out, and what later versions add is ignored. Block hashes are numbers (unsigned
in vLLM, signed in SGLang) or 32 bytes; they mean nothing here but their identity.

    >>> decode_batch(b"\\x93\\xcb" + bytes(8) + b"\\x91\\x91\\xb0AllBlocksCleared\\x00")
    Batch(at=0.0, events=(Cleared(),), rank=0, skipped=0, is_lossy=False)

Answers to a replay request are [b"", sequence number, payload] (vLLM to 0.25) or [b"", topic, sequence number, payload]
(vLLM from 0.26, SGLang); the last one has the sequence number −1 and no payload.

Sources: `vllm/distributed/kv_events.py` (0.9.2 to 0.33), `sglang/srt/disaggregation/kv_events.py` (0.4.6 to 0.5.23).
Whatever the bytes are, nothing here raises.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ext_proc.core.token_blocks import token_bytes

MAX_PAYLOAD_BYTES: Final = 8 << 20
"""A step that stores a million tokens makes about five megabytes."""

MAX_TEXT: Final = 512
"""Names of adapters, salts and media are short; a longer one is not read."""

MAX_BLOCK_TOKENS: Final = 1 << 16
"""Engines have blocks of 1 to some hundred tokens."""

SEQUENCE_BYTES: Final = 8
END_OF_REPLAY: Final = b"\xff" * SEQUENCE_BYTES
"""−1, in the place of a sequence number."""

DEFAULT_MEDIUM: Final = "GPU"
"""What events are about that name no medium: those of versions that knew one only."""

Hash = int | bytes
"""An engine's name of a block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Full blocks that follow each other have been put into `medium`.

    Block i has the hash `hashes[i]`, its tokens are the i-th part of `tokens` (as in `token_blocks.token_bytes`), and
    its prefix is block i − 1, for the first one `parent` (None: it begins a prompt). Without tokens (`block_size` 0)
    they are copies of blocks that were told before, in any order. `extras[i]`, where told, is what else the engine
    hashed. `adapter` is the LoRA adapter's name, or its number behind a `#`; `salt` the cache salt
    where it has a field of its own. `is_whole` False: blocks of layers that forget (sliding window, state space).
    """

    hashes: tuple[Hash, ...]
    parent: Hash | None
    tokens: bytes
    block_size: int
    adapter: str = ""
    salt: str = ""
    extras: tuple[Any, ...] = ()
    medium: str = DEFAULT_MEDIUM
    group: int = 0
    is_whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """Blocks have left `medium`, in the layers of `group`."""

    hashes: tuple[Hash, ...]
    medium: str = DEFAULT_MEDIUM
    group: int = 0


@dataclass(frozen=True, slots=True)
class Cleared:
    """The whole cache has been dropped."""


KvEvent = Stored | Removed | Cleared


@dataclass(frozen=True, slots=True)
class Batch:
    """What one message tells. `at` is in seconds of the engine's wall clock; `rank` None is not told.

    `skipped` events were of an unknown type or could not be read. `is_lossy`: one of them may have said that blocks are
    gone, so what was believed before holds no longer.
    """

    at: float
    events: tuple[KvEvent, ...]
    rank: int | None = None
    skipped: int = 0
    is_lossy: bool = False


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes that are no such message."""

    reason: str


@dataclass(frozen=True, slots=True)
class Message:
    """The frames of a message, told apart; the payload is not decoded yet."""

    topic: str
    seq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class EndOfReplay:
    """There is nothing more to replay."""


def message_of(frames: Sequence[bytes]) -> Message | Damaged:
    """A live message from its frames."""
    if len(frames) != 3:
        return Damaged(f"{len(frames)} frames, 3 expected")
    return _message(*frames)


def replayed(frames: Sequence[bytes]) -> Message | EndOfReplay | Damaged:
    """One answer to a replay request, as a DEALER gets it; the empty frame before it may be gone already (REQ)."""
    if len(frames) in (3, 4) and not frames[0] and len(frames[-2]) == SEQUENCE_BYTES:
        frames = frames[1:]
    if len(frames) == 2:
        frames = (b"", *frames)
    if len(frames) != 3:
        return Damaged(f"{len(frames)} frames in an answer to a replay request")
    if frames[1] == END_OF_REPLAY:
        return EndOfReplay()
    return _message(*frames)


def replay_request(start: int) -> tuple[bytes, bytes]:
    """The frames that a DEALER sends for everything from the sequence number `start` on."""
    return b"", start.to_bytes(SEQUENCE_BYTES, "big")


def _message(topic: bytes, seq: bytes, payload: bytes) -> Message | Damaged:
    if len(seq) != SEQUENCE_BYTES or seq[0] & 0x80:
        return Damaged("no sequence number of 8 bytes")
    return Message(topic[:MAX_TEXT].decode("utf-8", "replace"), int.from_bytes(seq, "big"), payload)


def decode_batch(payload: bytes) -> Batch | Damaged:
    """What a payload tells."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        return Damaged(f"more than {MAX_PAYLOAD_BYTES} bytes")
    try:
        raw = msgspec.msgpack.decode(payload)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        return Damaged(f"no msgpack: {error}")
    if not isinstance(raw, list) or len(raw) < 2 or not isinstance(raw[1], list):
        return Damaged("no batch of events")
    at = raw[0] if isinstance(raw[0], float) and abs(raw[0]) < _LARGEST_TIME else 0.0
    rank = _number(raw[2]) if len(raw) > 2 else None
    events: list[KvEvent] = []
    skipped, is_lossy = 0, False
    for item in raw[1]:
        kind, event = _event(item)
        if event is not None:
            events.append(event)
        else:
            skipped += 1
            is_lossy = is_lossy or kind in (_REMOVED, None)
    return Batch(at, tuple(events), rank, skipped, is_lossy)


_LARGEST_TIME: Final = 1e12

_STORED: Final = "BlockStored"
_REMOVED: Final = "BlockRemoved"
_CLEARED: Final = "AllBlocksCleared"

# The order of the fields in arrays, after the type.
_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    _STORED: (
        "block_hashes",
        "parent_block_hash",
        "token_ids",
        "block_size",
        "lora_id",
        "medium",
        "lora_name",
        "extra_keys",
        "group_idx",
        "kv_cache_spec_kind",
        "kv_cache_spec_sliding_window",
        "locality",
    ),
    _REMOVED: ("block_hashes", "medium", "group_idx", "locality"),
    _CLEARED: (),
}

# In the names of layers that keep only the last blocks of a prompt, or one state, or nothing of it. What keeps all of
# them has several names, too (full attention, MLA, with a sink), so those that are not known count as such.
_FORGETFUL: Final = ("sliding", "chunked", "mamba", "cross", "encoder")

# Not in the engine itself: whoever reads from there pays a transfer, and any other engine could do so as well.
_REMOTE: Final = "REMOTE"


def _event(item: Any) -> tuple[str | None, KvEvent | None]:
    """The type, None where there is none, and the event, None where it is unknown or cannot be read."""
    match item:
        case [str() as kind, *values]:
            fields = dict(zip(_FIELDS.get(kind, ()), values, strict=False))
        case {"type": str() as kind}:
            fields = item
        case _:
            return None, None
    try:
        if kind == _STORED:
            return kind, _stored(fields)
        if kind == _REMOVED:
            return kind, _removed(fields)
    except ValueError:
        return kind, None
    return kind, Cleared() if kind == _CLEARED else None


def _stored(fields: Mapping[str, Any]) -> Stored:
    hashes = _hashes(fields.get("block_hashes"))
    size = _number(fields.get("block_size"))
    ids = fields.get("token_ids")
    if size is None or size > MAX_BLOCK_TOKENS or not isinstance(ids, list):
        raise ValueError("no tokens")
    if not ids:
        size = 0  # vLLM's offloading, where it does not know the tokens any more, gives the size of its own blocks or 0
    # Groups that keep only some blocks of a prompt name fewer than there are tokens for: which ones is not told.
    if len(ids) != size * len(hashes):
        raise ValueError("tokens and blocks do not fit together")
    parent = fields.get("parent_block_hash")
    extras = fields.get("extra_keys")
    name, number = _text(fields.get("lora_name")), _number(fields.get("lora_id"))
    return Stored(
        hashes=hashes,
        parent=None if parent is None else _hash(parent),
        tokens=token_bytes(ids),
        block_size=size,
        adapter=name or ("" if number is None else f"#{number}"),
        salt=_text(fields.get("cache_salt")),
        extras=tuple(extras) if isinstance(extras, list) and len(extras) == len(hashes) else (),
        medium=_medium(fields),
        group=_number(fields.get("group_idx")) or 0,
        is_whole=not any(word in _text(fields.get("kv_cache_spec_kind")) for word in _FORGETFUL),
    )


def _removed(fields: Mapping[str, Any]) -> Removed:
    return Removed(
        hashes=_hashes(fields.get("block_hashes")),
        medium=_medium(fields),
        group=_number(fields.get("group_idx")) or 0,
    )


def _medium(fields: Mapping[str, Any]) -> str:
    medium = _text(fields.get("medium")) or DEFAULT_MEDIUM
    return f"{_REMOTE} {medium}" if _text(fields.get("locality")) == _REMOTE else medium


def _hashes(value: Any) -> tuple[Hash, ...]:
    if not isinstance(value, list):
        raise ValueError("no list of hashes")
    return tuple(map(_hash, value))


def _hash(value: Any) -> Hash:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, bytes) and 0 < len(value) <= _LONGEST_HASH:
        return value
    raise ValueError("no block hash")


_LONGEST_HASH: Final = 64


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _text(value: Any) -> str:
    """A short text; longer ones cannot be told apart safely by their beginning, so they are an error."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError("no short text")
    return value
