"""What a block of ours is made of, beside its tokens: whatever else an engine hashed with its own blocks. Pure."""

import msgspec
import xxhash

from ext_proc.core.token_blocks import chain_start
from ext_proc.signals.kv_wire import Stored


def start_of(event: Stored, model: str) -> int:
    """What the chain of a prompt starts with: the adapter, or else the model, and the salt, wherever it is told."""
    salt = event.salt
    if not salt and event.extras:
        match _foreign(event, 0):
            case [str() as told]:
                salt = told
    return chain_start(event.adapter or model, salt)


def _foreign(event: Stored, index: int) -> list[object]:
    """What the engine hashed with a block beside its tokens, without the adapter's name."""
    extras = event.extras[index] if event.extras else None
    if not isinstance(extras, list):
        return [] if extras is None else [extras]
    return extras[1:] if extras and event.adapter and extras[0] == event.adapter else extras


def content_of(event: Stored, index: int, tokens: bytes) -> bytes:
    """What a block of ours is made of: the tokens, and where they are not all (images), something as long as they are.

    vLLM puts the salt into the first block of a prompt; `start_of` has it.
    """
    foreign = _foreign(event, index)
    if not foreign:
        return tokens
    is_salt = index == 0 and event.parent is None and len(foreign) == 1 and isinstance(foreign[0], str)
    if is_salt:
        return tokens
    mark = xxhash.xxh3_64_digest(msgspec.msgpack.encode(foreign), xxhash.xxh3_64_intdigest(tokens))
    return (mark * (len(tokens) // len(mark) + 1))[: len(tokens)]
