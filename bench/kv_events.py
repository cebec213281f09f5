"""What KV events cost: `python -m bench.kv_events` prints a table and, as its last line, the same as JSON.

    python -m bench.kv_events

*Reading* is the time from the bytes of a message to its values, *naming* that from the values to blocks of ours: CPU
time, the least of several runs, per token that an engine has put into its cache. Messages are those of a current vLLM,
each with the blocks of one step. *Memory* is what is kept in mind of each engine block. No sockets.
"""

import argparse
import json
import random
import time
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from ext_proc.signals.kv_blocks import KvBlocks, Room
from ext_proc.signals.kv_wire import Batch, decode_batch

SHAPES = ((16, 64), (16, 4), (64, 16), (1, 1024))
"""Tokens in a block, blocks in a message."""

TOKENS = 1 << 18
REPETITIONS = 5
VOCABULARY = 128_000


def main() -> None:
    """Measures and prints."""
    argparse.ArgumentParser(description="What KV events cost.").parse_args()
    rows = [cost(size, count) for size, count in SHAPES]
    table = Table(
        "block", "blocks per message", "reading, ns per token", "naming, ns per token", "bytes per engine block"
    )
    for row in rows:
        table.add_row(*(f"{row[key]:,.0f}" for key in ("block", "blocks", "reading_ns", "naming_ns", "bytes")))
    Console().print(table)
    print(json.dumps({"kv_events": rows}))


def cost(size: int, count: int) -> dict[str, Any]:
    """The figures of one shape."""
    rng = random.Random(size)
    payloads = [message(size, count, rng) for _ in range(TOKENS // (size * count))]
    batches = read(payloads)
    tracemalloc.start()
    blocks = named(batches)
    held_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return {
        "block": size,
        "blocks": count,
        "reading_ns": least(lambda: read(payloads)) / TOKENS,
        "naming_ns": least(lambda: named(batches)) / TOKENS,
        "bytes": held_bytes / blocks.engine_blocks,
    }


def message(size: int, count: int, rng: random.Random) -> bytes:
    """A step that has stored the blocks of one prompt."""
    event = {
        "type": "BlockStored",
        "block_hashes": [rng.getrandbits(64) for _ in range(count)],
        "parent_block_hash": None,
        "token_ids": [rng.randrange(VOCABULARY) for _ in range(size * count)],
        "block_size": size,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
        "extra_keys": [None] * count,
        "group_idx": 0,
        "kv_cache_spec_kind": "full_attention",
    }
    return msgspec.msgpack.encode([1.5, [event], 0])


def read(payloads: Sequence[bytes]) -> list[Batch]:
    """As they come from the wire."""
    return [batch for batch in map(decode_batch, payloads) if isinstance(batch, Batch)]


def named(batches: Sequence[Batch]) -> KvBlocks:
    """All of them in the names of ours."""
    blocks = KvBlocks("10.0.0.1:8000", Room())
    for batch in batches:
        blocks.apply(0, batch.events, 1.0)
    return blocks


def least(work: Callable[[], object]) -> float:
    """CPU time in nanoseconds."""
    times = []
    for _ in range(REPETITIONS):
        started = time.process_time_ns()
        work()
        times.append(time.process_time_ns() - started)
    return min(times)


if __name__ == "__main__":
    main()
