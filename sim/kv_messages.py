"""What a simulated engine says of its prefix cache, in the messages of a real one.

Pure. An engine's own events name blocks by hash; the messages of vLLM also hold their tokens, so the tokens of every
prompt are kept until its blocks are gone. Shapes: `vllm/distributed/kv_events.py`, 0.11 for `array`, 0.32 for `map`.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import xxhash

from sim.events import CacheEvent, Stored
from sim.tokens import TOKEN_BYTES, given_id

Shape = Literal["map", "array"]
SHAPES: tuple[Shape, ...] = ("map", "array")
"""vLLM's from 0.24, and before."""

VOCABULARY_BITS = 18
"""Token ids are below 2^18 = 262,144, as in large vocabularies."""


def token_ids(encoded: bytes) -> list[int]:
    """Numbers for encoded tokens, as a tokenizer would give them: the same text, the same number. Tokens that were
    given by number have theirs."""
    view = memoryview(encoded)
    digest = xxhash.xxh32_intdigest
    spare = 32 - VOCABULARY_BITS
    return [
        given_id(view[start : start + TOKEN_BYTES]) or digest(view[start : start + TOKEN_BYTES]) >> spare
        for start in range(0, len(encoded), TOKEN_BYTES)
    ]


@dataclass(frozen=True, slots=True)
class _Page:
    tokens: bytes
    """Encoded, as in `sim.tokens`."""
    adapter: str


class TokenBook:
    """Block hash → its tokens. Mutable; the pod is the only writer."""

    def __init__(self, block_size: int, limit: int) -> None:
        """Keeps `limit` blocks, those that were noted last."""
        self._width = block_size * TOKEN_BYTES
        self._limit = limit
        self._pages: OrderedDict[int, _Page] = OrderedDict()

    def __len__(self) -> int:
        """Blocks whose tokens are known."""
        return len(self._pages)

    def note(self, blocks: Sequence[int], encoded: bytes, adapter: str = "") -> None:
        """The blocks of a prompt and its answer."""
        pages = self._pages
        for index, block in enumerate(blocks):
            if block in pages:
                pages.move_to_end(block)
            else:
                pages[block] = _Page(encoded[index * self._width : (index + 1) * self._width], adapter)
        while len(pages) > self._limit:
            pages.popitem(last=False)

    def pages(self, blocks: Sequence[int]) -> list[_Page]:
        """The tokens of blocks that follow each other, up to the first one that is not known."""
        known = []
        for block in blocks:
            page = self._pages.get(block)
            if page is None:
                break
            known.append(page)
        return known

    def forget(self, blocks: Iterable[int]) -> None:
        """These are gone."""
        for block in blocks:
            self._pages.pop(block, None)


def message(at: float, events: Iterable[CacheEvent], book: TokenBook, block_size: int, shape: Shape) -> bytes:
    """One message: all that changed in a step. `at` is in seconds of the wall clock."""
    told: list[Any] = []
    for event in events:
        if not isinstance(event, Stored):
            told.append(_removed(event.blocks, shape))
            book.forget(event.blocks)
        elif pages := book.pages(event.blocks):
            ids = token_ids(b"".join(page.tokens for page in pages))
            told.append(_stored(event.blocks[: len(pages)], event.parent, ids, block_size, pages[0].adapter, shape))
    return msgspec.msgpack.encode([at, told, 0])


def cleared(at: float, shape: Shape) -> bytes:
    """One message: the whole cache has been dropped."""
    return msgspec.msgpack.encode([at, [["AllBlocksCleared"] if shape == "array" else {"type": "AllBlocksCleared"}], 0])


def _stored(
    blocks: Sequence[int], parent: int | None, ids: list[int], block_size: int, adapter: str, shape: Shape
) -> Any:
    if shape == "array":
        return ["BlockStored", blocks, parent, ids, block_size, None, "GPU", *([adapter] if adapter else ())]
    return {
        "type": "BlockStored",
        "block_hashes": blocks,
        "parent_block_hash": parent,
        "token_ids": ids,
        "block_size": block_size,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": adapter or None,
        "extra_keys": [[adapter] if adapter else None] * len(blocks),
        "group_idx": 0,
        "kv_cache_spec_kind": "full_attention",
    }


def _removed(blocks: Sequence[int], shape: Shape) -> Any:
    if shape == "array":
        return ["BlockRemoved", blocks, "GPU"]
    return {"type": "BlockRemoved", "block_hashes": blocks, "medium": "GPU", "group_idx": 0}
