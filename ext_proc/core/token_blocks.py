"""Chained hashes of a prompt's blocks from its token ids: the names under which engines' own reports are compared.

Where a prompt is known as token ids, and an engine tells which tokens it has cached, both are cut and hashed here, so
that neither the engine's hash algorithm nor its random seed matters. The chain is the one of `ext_proc.core.blocks`
over other bytes, and *another space of hashes*: a block of text never equals a block of tokens.

    h(i) = xxh3_64(token ids of block i as 32-bit little-endian, seed = h(i − 1))

The chain starts with the model (for a LoRA adapter: its name) and the cache salt. Engines cache only full blocks of
their own size; a partial block at the end of a prompt is hashed like the others, and no engine's report matches it.
"""

import struct
from array import array
from collections.abc import Sequence

import xxhash

from ext_proc.core.blocks import BLOCK_TOKENS, MAX_BLOCKS

TOKEN_BYTES = 4
"""Vocabularies have some hundred thousand tokens; an id is a 32-bit number everywhere."""

BLOCK_BYTES = BLOCK_TOKENS * TOKEN_BYTES

_IS_BIG_ENDIAN = struct.pack("=H", 1) == b"\0\1"

# What separates the token chains from the text chains of the same model and salt.
_SPACE = b"token ids"


def token_bytes(token_ids: Sequence[int]) -> bytes:
    """Token ids as they are hashed. Raises ValueError for what is no 32-bit number."""
    try:
        numbers = array("I", token_ids)
    except (OverflowError, TypeError) as error:
        raise ValueError("a token id is no number from 0 to 2^32 - 1") from error
    if _IS_BIG_ENDIAN:
        numbers.byteswap()
    return numbers.tobytes()


def chain_start(model: str, salt: str = "") -> int:
    """What the first block of a prompt is chained to."""
    digest = xxhash.xxh3_64_intdigest
    return digest(salt.encode("utf-8", "surrogatepass"), digest(model.encode("utf-8", "surrogatepass"), digest(_SPACE)))


def chained(parent: int, block: bytes) -> int:
    """The hash (unsigned 64-bit) of one block of `token_bytes` behind what `parent` stands for."""
    return xxhash.xxh3_64_intdigest(block, parent)


def token_block_hashes(token_ids: Sequence[int], model: str, salt: str = "") -> tuple[int, ...]:
    """The chained hashes of a prompt's blocks, from its start. Raises ValueError for what is no token id."""
    return hashes_of(token_bytes(token_ids[: MAX_BLOCKS * BLOCK_TOKENS]), model, salt)


def hashes_of(ids: bytes, model: str, salt: str = "") -> tuple[int, ...]:
    """The same for token ids that are `token_bytes` already."""
    view = memoryview(ids)[: MAX_BLOCKS * BLOCK_BYTES]
    chain = chain_start(model, salt)
    hashes = []
    for start in range(0, len(view), BLOCK_BYTES):
        chain = xxhash.xxh3_64_intdigest(view[start : start + BLOCK_BYTES], chain)
        hashes.append(chain)
    return tuple(hashes)
