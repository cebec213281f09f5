"""Block ids over models, and in the picker's units."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import BlocksRemoved, BlocksStored
from sim.virtual.ids import Chains, ids_by_model, picker_blocks
from tests.unit.sim.virtual.fleets import request, trace


def test_models_have_ids_of_their_own() -> None:
    """The first model's ids stay as they are; another's differ, and are the same each time."""
    plain, other = request(0), replace(request(1), model="b")
    ids = ids_by_model(trace(plain, other))
    assert ids(plain) == plain.blocks
    assert set(ids(other)).isdisjoint(ids(plain))
    assert ids(other) == ids.of("b", plain.blocks)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40), st.sampled_from([16, 48, 64, 100, 512]))
def test_what_is_shared_is_shared_in_other_units(common: int, one: int, two: int, block_tokens: int) -> None:
    """Two prompts have as many picker blocks in common as fit into the trace's blocks that they have in common."""
    first = tuple(range(common)) + tuple(range(100, 100 + one))
    second = tuple(range(common)) + tuple(range(200, 200 + two))
    lengths = [len(blocks) * block_tokens + 7 for blocks in (first, second)]
    cut = [
        picker_blocks(n, b, block_tokens, t, 64) for n, (b, t) in enumerate(zip((first, second), lengths, strict=True))
    ]
    same = next((n for n, pair in enumerate(zip(*cut, strict=False)) if pair[0] != pair[1]), min(map(len, cut)))
    assert same == common * block_tokens // 64
    assert [len(blocks) for blocks in cut] == [-(-length // 64) for length in lengths]
    assert all(len(set(blocks)) == len(blocks) for blocks in cut)


def stored(blocks: tuple[int, ...], parent: int | None = None) -> BlocksStored:
    """What an engine tells."""
    return BlocksStored(address="a", at=1.0, blocks=blocks, parent=parent)


@given(st.integers(1, 30), st.integers(0, 29), st.sampled_from([16, 48, 64, 100, 512]))
def test_chains_translate_what_the_picker_would_ask_for(count: int, cut: int, block_tokens: int) -> None:
    """A prompt told in two pieces is the prompt in picker blocks, each piece following the one before."""
    blocks = tuple(range(7, 7 + count))
    cut = min(cut, count)
    chains = Chains(block_tokens, 64)
    made: list[int] = []
    for piece in (blocks[:cut], blocks[cut:]):
        event = chains.stored(stored(piece, piece[0] - 1 if piece and piece[0] > 7 else None))
        if event is not None:
            assert (event.address, event.at) == ("a", 1.0)
            assert event.parent == (made[-1] if made else None)
            made += event.blocks
    assert tuple(made) == picker_blocks(1, blocks, block_tokens, count * block_tokens // 64 * 64, 64)
    removed = chains.removed(BlocksRemoved(address="a", at=2.0, blocks=tuple(reversed(blocks))))
    assert set(removed.blocks if removed else ()) == set(made)


def test_a_block_in_which_no_other_ends_says_nothing() -> None:
    """Four blocks of 16 tokens make one of 64, known with the last of them and gone with it."""
    chains = Chains(16, 64)
    assert chains.stored(stored((1, 2, 3))) is None
    event = chains.stored(stored((4,), 3))
    assert event is not None
    assert event.blocks == picker_blocks(1, (1, 2, 3, 4), 16, 64, 64)
    assert chains.removed(BlocksRemoved(address="a", at=2.0, blocks=(3,))) is None
    assert chains.removed(BlocksRemoved(address="a", at=2.0, blocks=(4,))) is not None
