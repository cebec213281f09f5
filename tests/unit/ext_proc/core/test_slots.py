"""Slots: stable while in use, reused afterwards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.slots import INITIAL_CAPACITY, Slots, grown, middle


def test_an_address_keeps_its_slot() -> None:
    """Asking again gives the same number, another address another one."""
    slots = Slots()
    first = slots.acquire("a")
    assert slots.acquire("b") != first
    assert slots.acquire("a") == slots.get("a") == first
    assert slots.address(first) == "a"
    assert len(slots) == 2


def test_a_freed_slot_is_given_away() -> None:
    """After `free` the address is unknown and its number goes to the next."""
    slots = Slots()
    first = slots.acquire("a")
    slots.free(first)
    assert slots.get("a") is None
    assert slots.acquire("b") == first
    with pytest.raises(KeyError):
        slots.free(first + 1)


def test_capacity_doubles() -> None:
    """All slots in use are below the capacity, a multiple of eight."""
    slots = Slots()
    numbers = {slots.acquire(f"a{n}") for n in range(INITIAL_CAPACITY + 1)}
    assert max(numbers) < slots.capacity == 2 * INITIAL_CAPACITY
    assert slots.capacity % 8 == 0


def test_grown_keeps_what_there_was() -> None:
    """Old values stay, new places hold the fill."""
    assert grown(np.array([1, 2]), 4, -1).tolist() == [1, 2, -1, -1]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))))
def test_no_two_addresses_share_a_slot(steps: list[tuple[bool, int]]) -> None:
    """Whatever comes and goes, slots in use are distinct, dense, and know their address."""
    slots = Slots()
    used: set[str] = set()
    for comes, number in steps:
        address = f"a{number}"
        if comes:
            slots.acquire(address)
            used.add(address)
        elif (slot := slots.get(address)) is not None:
            slots.free(slot)
            used.remove(address)
        numbers = [slots.acquire(each) for each in sorted(used)]
        assert len(set(numbers)) == len(used) == len(slots)
        assert all(slots.address(slot) == each for slot, each in zip(numbers, sorted(used), strict=True))
        assert all(slot < 10 for slot in numbers)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
def test_middle_is_the_median(values: list[float]) -> None:
    """The upper one of two."""
    assert middle(np.array(values)) == sorted(values)[len(values) // 2]


def test_hashes_are_those_of_addresses() -> None:
    """The same in another table, whatever slot an address has there, and after the table has grown."""
    one, other = Slots(), Slots()
    names = [f"10.0.0.{n}:1" for n in range(200)]
    for name in names:
        one.acquire(name)
    for name in reversed(names):
        other.acquire(name)
    for name in names:
        assert one.hashes[one.acquire(name)] == other.hashes[other.acquire(name)]
    assert len(set(one.hashes[:200].tolist())) == 200
    slot = one.acquire(names[0])
    one.free(slot)
    assert one.acquire("new") == slot
    assert one.hashes[slot] not in other.hashes
