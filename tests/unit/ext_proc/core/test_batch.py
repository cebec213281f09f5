"""Which endpoint is a batch's own; what filters make of it is in test_filters.py."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.batch import together
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group
from ext_proc.core.settings import BatchSettings

ADDRESSES = [f"10.0.0.{number}:80" for number in range(1, 7)]
BOUND = BatchSettings(max_in_flight=4)


def own(batch: str, addresses: list[str], weights: list[float] | None = None, busy: list[int] | None = None) -> str:
    """The address that a batch goes to; empty for nobody."""
    fleet = Fleet()
    fleet.want(set(addresses))
    slots = np.array([fleet.slots.acquire(address) for address in addresses])
    fleet.ledger.in_flight[slots] = busy or 0
    group = Group(0, slots, np.array(weights or [100.0] * len(addresses)))
    chosen = np.flatnonzero(together(group, np.ones(len(slots), dtype=np.bool_), batch, BOUND, fleet))
    return addresses[int(chosen[0])] if len(chosen) else ""


@given(batch=st.text(max_size=40), order=st.permutations(ADDRESSES), gone=st.sampled_from(ADDRESSES))
def test_only_the_batches_of_who_leaves_move(batch: str, order: list[str], gone: str) -> None:
    """The order of endpoints means nothing, and one that was not the batch's own can go."""
    before = own(batch, ADDRESSES)
    assert own(batch, order) == before
    left = [address for address in ADDRESSES if address != gone]
    assert (own(batch, left) == before) == (gone != before)


def test_weights_count() -> None:
    """An endpoint of three times the weight has about three times the batches."""
    weights = [300.0] + [100.0] * 5
    heavy = sum(own(f"batch {number}", ADDRESSES, weights) == ADDRESSES[0] for number in range(400))
    assert 400 * 3 / 8 * 0.75 < heavy < 400 * 3 / 8 * 1.25


def test_who_is_full() -> None:
    """Who is above both bounds; at the mean and below nobody is."""
    assert own("b", ADDRESSES[:2], busy=[4, 5]) != ""
    assert own("b", ADDRESSES[:1], busy=[1_000]) == ADDRESSES[0]
    first = own("b", ADDRESSES[:2])
    busy = [50 if address == first else 4 for address in ADDRESSES[:2]]
    assert own("b", ADDRESSES[:2], busy=busy) not in ("", first)


@given(busy=st.lists(st.integers(0, 50), min_size=6, max_size=6))
def test_somebody_always_has_room(busy: list[int]) -> None:
    """The least loaded one is below its share and a quarter more, so a batch always has an endpoint."""
    found = own("b", ADDRESSES, busy=busy)
    assert found != ""
    load = busy[ADDRESSES.index(found)]
    assert load + 1 <= max(BOUND.max_in_flight, 1.25 * (sum(busy) + 1) / 6)
