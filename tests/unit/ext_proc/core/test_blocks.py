"""Blocks: as many hashes in common as whole blocks in common."""

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_BYTES, BLOCK_TOKENS, MAX_BLOCKS, block_hashes, tokens_of


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """The length of the common start."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def test_one_hash_for_each_block_begun() -> None:
    """No hash for nothing, one for each whole block, one for a rest."""
    sizes = {0: 0, 1: 1, BLOCK_BYTES - 1: 1, BLOCK_BYTES: 1, BLOCK_BYTES + 1: 2, 10 * BLOCK_BYTES: 10}
    assert {size: len(block_hashes(b"x" * size, "m")) for size in sizes} == sizes


@given(st.integers(0, 6 * BLOCK_BYTES), st.binary(max_size=600), st.binary(max_size=600))
def test_common_hashes_are_common_blocks(shared: int, one: bytes, other: bytes) -> None:
    """Two prompts share the hashes of the whole blocks that they share, and no more unless they are equal."""
    start = (bytes(range(251)) * 7)[:shared]
    a, b = start + one, start + other
    same = next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    expected = len(block_hashes(a, "m")) if a == b else same // BLOCK_BYTES
    assert common(block_hashes(a, "m"), block_hashes(b, "m")) == expected


def test_model_and_salt_share_nothing() -> None:
    """Other models and other salts have other chains from the first block on."""
    text = b"x" * 1_000
    chains = [block_hashes(text, "m"), block_hashes(text, "n"), block_hashes(text, "m", "salt"), block_hashes(text, "")]
    assert len({chain[0] for chain in chains}) == len(chains)


def test_equal_blocks_differ_by_place() -> None:
    """The hash of a block depends on all before it."""
    hashes = block_hashes(b"x" * 50 * BLOCK_BYTES, "m")
    assert len(set(hashes)) == 50


def test_what_is_beyond_the_limit_is_not_compared() -> None:
    """At most MAX_BLOCKS hashes."""
    assert len(block_hashes(b"x" * (MAX_BLOCKS + 1) * BLOCK_BYTES, "m")) == MAX_BLOCKS


def test_tokens_are_a_quarter_of_the_bytes() -> None:
    """Four bytes a token, and at least one."""
    assert [tokens_of(b"x" * size) for size in (0, 3, 400)] == [1, 1, 100]
    assert tokens_of(b"x" * BLOCK_BYTES) == BLOCK_TOKENS
