"""Text to token counts, chained block hashes and made-up answers.

Pure. A *token* is up to four characters of one segment of the prompt, about what real tokenizers make of English text;
a segment (a role marker, a message) always starts with a new token, so equal beginnings of conversations are equal
beginnings of tokens, and an answer that comes back as part of the next prompt has the same tokens as when it was made.

Tokens are encoded in fixed width (four UTF-32 code units, padded with zeros), so that a block is a slice of bytes and
one xxh3 call: a prompt of 8 KB takes some 50 µs.
"""

import struct
from collections.abc import Iterable

import xxhash

CHARS_PER_TOKEN = 4
"""The usual rule of thumb for English text."""

TOKEN_BYTES = 4 * CHARS_PER_TOKEN
"""Width of one encoded token: a UTF-32 code unit per character."""

_ID_MARK = 0xFFFF_FFFF  # no code point, so a token given by number never equals one made from text
_MASK_64 = (1 << 64) - 1

# 64 words of three letters and a space: each is exactly one token, and six bits choose one.
WORDS = (
    "ace act add age aid aim air ant arc ark arm art ash axe bag bar bay bed bee bit bow box bud bus can cap car cup "
    "day dew dot ear elm fan fig fir fox gem hat hay hen ice ink jar jet key kit lab lid log map mug net nut oak oar "
    "owl pan pea pen pin pot ray sea "
)


def encode(segments: Iterable[str]) -> bytes:
    """Encode text as tokens; each segment starts with a new one."""
    parts: list[bytes] = []
    for segment in segments:
        raw = segment.encode("utf-32-le", "surrogatepass")
        parts.append(raw)
        if rest := len(raw) % TOKEN_BYTES:
            parts.append(bytes(TOKEN_BYTES - rest))
    return b"".join(parts)


def encode_ids(ids: Iterable[int]) -> bytes:
    """Encode tokens given by number. Raises ValueError for one outside 0 … 2⁶⁴−1."""
    try:
        return b"".join(struct.pack("<IQI", _ID_MARK, token, 0) for token in ids)
    except struct.error as error:
        raise ValueError("token ids must be numbers from 0 to 2^64 - 1") from error


def given_id(token: memoryview) -> int:
    """The number by which one encoded token was given; 0 for one made from text (and for number 0)."""
    mark, number, _ = struct.unpack("<IQI", token)
    return int(number) if mark == _ID_MARK else 0


def count(encoded: bytes) -> int:
    """Tokens in an encoded text."""
    return len(encoded) // TOKEN_BYTES


def chain(model: str, encoded: bytes, block_size: int) -> tuple[int, ...]:
    """Hashes of the full blocks, each over its tokens and all before it; the model's name starts the chain."""
    width = block_size * TOKEN_BYTES
    view = memoryview(encoded)
    digest = xxhash.xxh3_64_intdigest(model.encode("utf-8", "surrogatepass"))
    hashes: list[int] = []
    for start in range(0, len(encoded) - width + 1, width):
        digest = xxhash.xxh3_64_intdigest(view[start : start + width], digest)
        hashes.append(digest)
    return tuple(hashes)


def answer(model: str, encoded: bytes, length: int) -> list[str]:
    """`length` words, one token each, that follow from the prompt: the same prompt always gets the same answer."""
    state = xxhash.xxh3_64_intdigest(encoded, xxhash.xxh3_64_intdigest(model.encode("utf-8", "surrogatepass")))
    words: list[str] = []
    for _ in range(length):
        # Knuth's 64-bit linear congruential generator (MMIX); its high bits are good enough for words.
        state = (state * 6364136223846793005 + 1442695040888963407) & _MASK_64
        start = CHARS_PER_TOKEN * (state >> 58)
        words.append(WORDS[start : start + CHARS_PER_TOKEN])
    words[-1:] = [word[:-1] + "." for word in words[-1:]]
    return words
