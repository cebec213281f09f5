"""Messages of a simulated engine's cache, read by the product's own reader."""

import pytest

from ext_proc.core.token_blocks import token_bytes
from ext_proc.signals.kv_wire import Batch, Cleared, Removed, decode_batch
from ext_proc.signals.kv_wire import Stored as ReadStored
from sim import tokens
from sim.events import Removed as SimRemoved
from sim.events import Stored
from sim.kv_messages import SHAPES, VOCABULARY_BITS, Shape, TokenBook, cleared, message, token_ids

TEXT = tokens.encode(["one prompt of some words", "and its answer"])
HASHES = tokens.chain("m", TEXT, 2)


def book(limit: int = 100, adapter: str = "") -> TokenBook:
    """Knows the blocks of the text."""
    known = TokenBook(2, limit)
    known.note(HASHES, TEXT, adapter)
    return known


def read(data: bytes) -> Batch:
    """As the product reads it."""
    batch = decode_batch(data)
    assert isinstance(batch, Batch)
    assert not batch.skipped
    return batch


def test_equal_text_is_equal_tokens() -> None:
    """A token's number depends on its text alone, and is that of a large vocabulary."""
    one, other = token_ids(tokens.encode(["same", "text"])), token_ids(tokens.encode(["same", "word"]))
    assert one[0] == other[0]
    assert one[1] != other[1]
    assert all(0 <= token < 1 << VOCABULARY_BITS for token in [*one, *other])


@pytest.mark.parametrize("shape", SHAPES)
def test_stored_and_removed(shape: Shape) -> None:
    """In both shapes: the blocks with their tokens, then those that are gone, in one message."""
    known = book()
    events = (Stored(1.0, HASHES[1:3], HASHES[0]), SimRemoved(1.0, HASHES[3:]))
    batch = read(message(7.5, events, known, 2, shape))
    assert (batch.at, batch.rank) == (7.5, 0)
    stored, removed = batch.events
    assert isinstance(stored, ReadStored)
    assert (stored.hashes, stored.parent, stored.block_size, stored.adapter) == (HASHES[1:3], HASHES[0], 2, "")
    assert stored.tokens == token_bytes(token_ids(TEXT)[2:6])
    assert removed == Removed(hashes=HASHES[3:])
    assert len(known) == 3


@pytest.mark.parametrize("shape", SHAPES)
def test_adapters_and_resets(shape: Shape) -> None:
    """An adapter is told by name; a reset is one event."""
    stored = read(message(7.5, [Stored(1.0, HASHES, None)], book(adapter="sql"), 2, shape)).events[0]
    assert isinstance(stored, ReadStored)
    assert stored.adapter == "sql"
    assert read(cleared(7.5, shape)).events == (Cleared(),)


def test_tokens_that_are_not_known() -> None:
    """The book is bounded; a run is told up to the first block whose tokens it has forgotten."""
    known = TokenBook(2, 4)
    known.note(HASHES[:4], TEXT)
    known.forget(HASHES[2:3])
    stored = read(message(1.0, [Stored(1.0, HASHES[:4], None)], known, 2, "map")).events[0]
    assert isinstance(stored, ReadStored)
    assert stored.hashes == HASHES[:2]
    assert read(message(1.0, [Stored(1.0, HASHES[2:4], None)], known, 2, "map")).events == ()
    known.note(HASHES, TEXT)
    assert len(known) == 4
