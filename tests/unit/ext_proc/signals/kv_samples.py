"""Recorded and composed KV events, and how to make more of them."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ext_proc.core.token_blocks import token_bytes
from ext_proc.signals.kv_wire import Stored

DATA = Path(__file__).parents[3] / "data" / "kv_events"

CAPTURES = ("vllm-0.32.0-sha256_cbor-seed0-block32-live", "dynamo-mocker-1.6.1-live")


def capture(name: str) -> list[dict[str, Any]]:
    """The rows of a recording: `topic`, `seq`, `payload_hex`, `decoded`."""
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as lines:
        return [json.loads(line) for line in lines]


def wire_shapes() -> dict[str, bytes]:
    """The composed payloads by name."""
    return {
        row["name"]: bytes.fromhex(row["payload_hex"]) for row in json.loads((DATA / "wire_shapes.json").read_text())
    }


def payload(*events: Any, rank: int | None = 0, at: float = 1.5) -> bytes:
    """The message of a publisher."""
    return msgspec.msgpack.encode([at, list(events), rank])


def stored_map(hashes: Sequence[object], ids: Sequence[object], size: int, **more: Any) -> dict[str, Any]:
    """An event as newer versions send it."""
    event = {"type": "BlockStored", "block_hashes": list(hashes), "parent_block_hash": None, "token_ids": list(ids)}
    return {**event, "block_size": size, **more}


def stored(hashes: Sequence[int], ids: Sequence[int], size: int, parent: int | None = None, **more: Any) -> Stored:
    """An event as it is read."""
    return Stored(hashes=tuple(hashes), parent=parent, tokens=token_bytes(ids), block_size=size, **more)
