"""Blocks of tokens: as many hashes in common as whole blocks in common, and none with blocks of text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_TOKENS, MAX_BLOCKS, block_hashes
from ext_proc.core.token_blocks import chain_start, chained, token_block_hashes, token_bytes

IDS = st.lists(st.integers(0, 3), max_size=3 * BLOCK_TOKENS)


@given(st.integers(0, 3 * BLOCK_TOKENS), IDS, IDS)
def test_common_hashes_are_common_blocks(shared: int, one: list[int], other: list[int]) -> None:
    """Two prompts share the hashes of the whole blocks that they share, and no more unless they are equal."""
    start = [7 * n % 1_000 for n in range(shared)]
    a, b = start + one, start + other
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    hashes = token_block_hashes(a, "m"), token_block_hashes(b, "m")
    common = len([1 for x, y in zip(*hashes, strict=False) if x == y])
    assert common == (len(hashes[0]) if a == b else same // BLOCK_TOKENS)


def test_model_and_salt_share_nothing() -> None:
    """Another model, adapter or salt has other hashes from the first block on; so has text."""
    ids = [9] * BLOCK_TOKENS
    chains = [token_block_hashes(ids, *start) for start in (("m", ""), ("n", ""), ("m", "s"), ("", "m"), ("ms", ""))]
    chains.append(block_hashes(token_bytes(ids), "m"))
    assert len({chain[0] for chain in chains}) == len(chains)


def test_it_is_the_chain_it_says() -> None:
    """The parts give the whole, so whoever has blocks one by one gets the same names."""
    ids = list(range(2 * BLOCK_TOKENS + 5))
    chain, hashes = chain_start("m", "s"), []
    for start in range(0, len(ids), BLOCK_TOKENS):
        chain = chained(chain, token_bytes(ids[start : start + BLOCK_TOKENS]))
        hashes.append(chain)
    assert token_block_hashes(ids, "m", "s") == tuple(hashes)


def test_tokens_are_little_endian_words() -> None:
    """The bytes do not depend on the machine: sidecars may exchange hashes."""
    assert token_bytes([1, 0xFFFF_FFFE]) == b"\x01\0\0\0\xfe\xff\xff\xff"
    assert token_block_hashes([1, 2, 3], "m", "s") == (8313253235412621561,)


@pytest.mark.parametrize("bad", [-1, 1 << 32, 1.5, "1", None])
def test_what_is_no_token_id(bad: object) -> None:
    """What does not fit into 32 bits is an error, whatever its type."""
    with pytest.raises(ValueError, match="token id"):
        token_bytes([1, bad])  # type: ignore[list-item]


def test_length_is_bounded() -> None:
    """What lies beyond a million tokens is not compared."""
    ids = [1] * (MAX_BLOCKS * BLOCK_TOKENS + 1)
    assert len(token_block_hashes(ids, "m")) == MAX_BLOCKS
