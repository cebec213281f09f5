"""Cuts a prompt into blocks and names each one by a hash of everything up to its end.

Two prompts share their first k blocks exactly when they share their first k hashes, so a prefix is compared by looking
up numbers. Chaining: h(i) = xxh3_64(block i, seed = h(i − 1)); the chain starts with the model and the cache salt,
across which an engine's cache shares nothing. A collision costs a wrong prediction, never a wrong answer.

The partial block at the end has a hash too. It only ever matches the end of the very same prompt, but it is what tells
short questions behind one long system prompt apart (`ext_proc.core.index`, fan-out).
"""

import xxhash

# Engines cache blocks of 16 to 128 tokens; smaller blocks here cost time and memory on every pick, larger ones lose
# the end of short prompts.
BLOCK_TOKENS = 64

# English text and code average about four bytes a token; errors of ±30 % change routing little (they cancel between
# endpoints).
BYTES_PER_TOKEN = 4

BLOCK_BYTES = BLOCK_TOKENS * BYTES_PER_TOKEN

# 16,384 blocks are a million tokens, more than any engine's context; what lies beyond is not compared.
MAX_BLOCKS = 16_384


def tokens_of(prompt: bytes) -> int:
    """About how many tokens the canonical bytes of a prompt are, at least one."""
    return tokens_in(len(prompt))


def tokens_in(size: int) -> int:
    """The same for so many bytes."""
    return max(1, size // BYTES_PER_TOKEN)


def block_hashes(prompt: bytes, model: str, salt: str = "") -> tuple[int, ...]:
    """The chained hashes (unsigned 64-bit) of the prompt's blocks, from its start."""
    digest = xxhash.xxh3_64_intdigest
    view = memoryview(prompt)
    chain = digest(salt.encode(), digest(model.encode()))
    hashes = []
    for start in range(0, min(len(prompt), MAX_BLOCKS * BLOCK_BYTES), BLOCK_BYTES):
        chain = digest(view[start : start + BLOCK_BYTES], chain)
        hashes.append(chain)
    return tuple(hashes)
