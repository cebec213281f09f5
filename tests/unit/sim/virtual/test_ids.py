"""Block ids over models, and in the picker's units."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from sim.virtual.ids import ids_by_model, picker_blocks
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
