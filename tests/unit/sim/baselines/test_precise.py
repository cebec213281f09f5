"""The index that engines tell, and what is predicted beside it."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import (
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    FirstToken,
    RequestEnded,
    StreamEnded,
)
from sim.baselines.precise import ToldPrefixes
from tests.unit.sim.baselines.play import ADDRESSES, A, B


def index(predicted_s: float | None = None) -> ToldPrefixes:
    """An empty one."""
    return ToldPrefixes(ADDRESSES, predicted_s=predicted_s)


def stored(address: str, *blocks: int) -> BlocksStored:
    """Told by an endpoint."""
    return BlocksStored(address=address, at=0.0, blocks=blocks)


def removed(address: str, *blocks: int) -> BlocksRemoved:
    """Told by an endpoint."""
    return BlocksRemoved(address=address, at=0.0, blocks=blocks)


def test_it_holds_what_engines_say() -> None:
    """Stored, removed, cleared; a match is a run from the first block."""
    told = index()
    told.observe(stored(A, 1, 2, 3))
    told.observe(stored(B, 1, 2))
    assert told.match((1, 2, 3, 4), 0.0) == {A: 3, B: 2}
    told.observe(removed(A, 2))
    assert told.match((1, 2, 3, 4), 0.0) == {A: 1, B: 2}
    told.observe(removed(A, 9))
    told.observe(CacheCleared(address=A, at=0.0))
    assert told.match((1, 2, 3, 4), 0.0) == {B: 2}
    assert not told.told(A)
    assert told.told(B) == {1, 2}


def test_a_pick_is_predicted_until_its_first_token() -> None:
    """Or until the request is over; a stream that we closed says nothing. What was told stays."""
    over = (
        FirstToken(decision_id="r", address=A, at=1.0, ttft_ms=1.0),
        RequestEnded(decision_id="r", at=1.0, status=200),
        StreamEnded(decision_id="r", at=1.0),
    )
    for event in over:
        told = index()
        told.observe(stored(A, 1))
        told.insert(A, (1, 2), 0.0, "r")
        told.observe(StreamEnded(decision_id="r", at=0.5, closed_by_us=True))
        assert told.match((1, 2), 1_000.0) == {A: 2}
        told.observe(event)
        assert told.match((1, 2), 1_000.0) == {A: 1}


def test_a_pick_is_predicted_for_a_time() -> None:
    """With a time, first tokens change nothing."""
    told = index(2.0)
    told.insert(A, (1,), 10.0, "r")
    told.observe(FirstToken(decision_id="r", address=A, at=11.0, ttft_ms=1.0))
    assert told.match((1,), 11.9) == {A: 1}
    assert told.match((1,), 12.0) == {}


def test_a_pick_is_written_into_the_index() -> None:
    """With a time without end it stays until the engine takes it back."""
    told = index(inf)
    told.insert(A, (1, 2), 0.0, "r")
    told.observe(RequestEnded(decision_id="r", at=1.0, status=200))
    assert told.match((1, 2), 1e9) == {A: 2}
    told.observe(removed(A, 2))
    assert told.match((1, 2), 1e9) == {A: 1}


def test_an_unreachable_endpoint_loses_predictions_only() -> None:
    """It may still hold what it told of, and would not tell again."""
    told = index()
    told.observe(stored(A, 1))
    told.insert(A, (1, 2), 0.0, "r")
    told.insert(B, (1, 2), 0.0, "s")
    told.forget(A)
    assert told.match((1, 2), 0.0) == {A: 1, B: 2}


calls = st.lists(
    st.tuples(
        st.sampled_from(["stored", "removed", "cleared", "pick", "first", "forget"]),
        st.sampled_from([A, B]),
        st.integers(0, 3),
        st.lists(st.integers(0, 4), max_size=4, unique=True),
    ),
    max_size=30,
)


@given(calls, st.lists(st.integers(0, 4), max_size=5, unique=True))
def test_it_is_what_was_told_and_what_is_hoped(plan: list[tuple[str, str, int, list[int]]], asked: list[int]) -> None:
    """For any order of events: the union of two plain sets for each endpoint."""
    subject = index()
    told: dict[str, set[int]] = {A: set(), B: set()}
    hoped: dict[str, tuple[str, set[int]]] = {}
    for kind, address, number, blocks in plan:
        match kind:
            case "stored":
                subject.observe(stored(address, *blocks))
                told[address] |= set(blocks)
            case "removed":
                subject.observe(removed(address, *blocks))
                told[address] -= set(blocks)
            case "cleared":
                subject.observe(CacheCleared(address=address, at=0.0))
                told[address] = set()
            case "pick":
                subject.insert(address, blocks, 0.0, f"r{number}")
                hoped[f"r{number}"] = (address, set(blocks))
            case "first":
                subject.observe(FirstToken(decision_id=f"r{number}", address=address, at=0.0, ttft_ms=1.0))
                hoped.pop(f"r{number}", None)
            case "forget":
                subject.forget(address)
                hoped = {name: hope for name, hope in hoped.items() if hope[0] != address}
    expected = {}
    for address in (A, B):
        held = told[address].union(*(blocks for where, blocks in hoped.values() if where == address))
        run = next((n for n, block in enumerate(asked) if block not in held), len(asked))
        if run:
            expected[address] = run
    assert subject.match(asked, 0.0) == expected
