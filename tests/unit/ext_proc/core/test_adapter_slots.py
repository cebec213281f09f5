"""Which adapters engines have loaded: what scrapes and picks tell, and what is never kept."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.adapter_slots import MOST_NAMES, MOST_PLACES, USUAL_PLACES, AdapterSlots
from ext_proc.core.settings import ChargeSettings
from tests.unit.ext_proc.core.adapter_engines import play

SLOTS = np.arange(3)


def lacking(adapters: AdapterSlots, name: str) -> list[bool] | None:
    """Who lacks it; None for no difference."""
    missing = adapters.missing(name, SLOTS, 3)
    return None if missing is None else missing[0].tolist()


def test_nothing_is_known_of_names_that_no_engine_showed() -> None:
    """They may be base models; picks do not make adapters of them."""
    adapters = AdapterSlots()
    adapters.picked(0, "m")
    assert "m" not in adapters
    assert adapters.missing("m", SLOTS, 3) is None


def test_an_adapter_stays_after_its_last_request() -> None:
    """Engines keep it until its place is wanted; an engine that never told anything does not have it."""
    adapters = AdapterSlots()
    adapters.scraped(0, ["a"], 2)
    adapters.scraped(0, [], 2)
    assert lacking(adapters, "a") == [False, True, True]


def test_the_one_used_longest_ago_goes_first() -> None:
    """As many are kept as there are places, by their last use; a pick is one."""
    adapters = AdapterSlots()
    adapters.scraped(1, ["a", "b", "c"], 8)
    adapters.scraped(0, ["a"], 2)
    adapters.scraped(0, ["b"], 2)
    adapters.picked(0, "a")
    adapters.picked(0, "c")
    assert lacking(adapters, "b") == [True, False, True]
    assert lacking(adapters, "a") == [False, False, True]


def test_places_are_taken_by_adapters_with_requests() -> None:
    """Scraped ones, and those of picks since; with the next scrape these count no more."""
    adapters = AdapterSlots()
    adapters.scraped(1, ["wanted", "other"], 4)
    adapters.scraped(0, ["a"], 2)

    def full() -> list[bool]:
        missing = adapters.missing("wanted", SLOTS, 3)
        assert missing is not None
        return [bool(each) for each in missing[1]]

    assert full() == [False, False, False]
    adapters.picked(0, "other")
    assert full() == [True, False, False]
    adapters.scraped(0, [], 2)
    assert full() == [False, False, False]


def test_no_difference_is_none() -> None:
    """Where all have it, or all lack it and have room, there is nothing to charge."""
    adapters = AdapterSlots()
    for slot in range(3):
        adapters.scraped(slot, ["a"], 1)
    assert adapters.missing("a", SLOTS, 3) is None
    for slot in range(3):
        adapters.scraped(slot, ["b"], 1)
        adapters.scraped(slot, [], 1)
    assert adapters.missing("a", SLOTS, 3) is None


def test_an_engine_that_ends_has_nothing() -> None:
    """Its adapters are known to be adapters all the same."""
    adapters = AdapterSlots()
    adapters.scraped(0, ["a"], None)
    adapters.scraped(1, ["a"], None)
    adapters.reset(0)
    assert lacking(adapters, "a") == [True, False, True]


def test_what_engines_say_is_bounded() -> None:
    """Names, places, and adapters of an engine that does not say how many places it has."""
    adapters = AdapterSlots()
    adapters.scraped(0, [f"{n:09}" for n in range(MOST_NAMES)], 10**9)
    assert sum(f"{n:09}" in adapters for n in range(MOST_NAMES)) == MOST_PLACES
    for n in range(MOST_NAMES + 5):
        adapters.scraped(1, [f"name {n}"], None)
    names = [f"name {n}" for n in range(MOST_NAMES + 5)]
    assert sum(name in adapters for name in names) == MOST_NAMES
    assert sum(lacking(adapters, name) == [True, False, True] for name in names) == USUAL_PLACES


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("scraped"), st.integers(0, 2), st.sets(st.sampled_from("abcdef")), st.integers(1, 3)),
            st.tuples(st.just("picked"), st.integers(0, 2), st.sampled_from("abcdef"), st.none()),
            st.tuples(st.just("reset"), st.integers(0, 2), st.none(), st.none()),
        )
    )
)
def test_it_is_what_a_list_of_uses_would_say(steps: list[tuple[str, int, object, int | None]]) -> None:
    """The last distinct uses of each engine, no more than its places; only names that an engine showed."""
    adapters = AdapterSlots()
    uses: dict[int, list[str]] = {}
    places: dict[int, int] = {}
    taken: dict[int, set[str]] = {}
    shown: set[str] = set()
    for kind, slot, what, count in steps:
        if kind == "scraped":
            assert isinstance(what, set)
            adapters.scraped(slot, what, count)
            shown |= what
            places[slot] = count or USUAL_PLACES
            taken[slot] = set(what)
            uses[slot] = [*uses.get(slot, []), *sorted(what)]
        elif kind == "picked":
            assert isinstance(what, str)
            adapters.picked(slot, what)
            if what in shown:
                uses[slot] = [*uses.get(slot, []), what]
                taken.setdefault(slot, set()).add(what)
        else:
            adapters.reset(slot)
            uses.pop(slot, None)
            places.pop(slot, None)
            taken.pop(slot, None)
        if slot in uses:
            latest = list(dict.fromkeys(reversed(uses[slot])))[: places.get(slot, USUAL_PLACES)]
            uses[slot] = latest[::-1]
    for name in shown:
        expected = [name not in uses.get(slot, []) for slot in range(3)]
        full = [lacks and slot in places and len(taken[slot]) >= places[slot] for slot, lacks in enumerate(expected)]
        missing = adapters.missing(name, SLOTS, 3)
        if len(set(expected)) > 1 or len(set(full)) > 1:
            assert missing is not None
            assert (missing[0].tolist(), missing[1].tolist()) == (expected, full)
        else:
            assert missing is None


@pytest.mark.parametrize("seed", [1, 2])
def test_charging_for_loads_pays(seed: int) -> None:
    """24 adapters on four engines with four places each, 300 ms to load one: far fewer loads, and first tokens come
    in a fraction of the time."""
    nothing = ChargeSettings(failure_ms=0, adapter_load_ms=0)
    without, charged = (play(charges, seed=seed, requests=300) for charges in (nothing, ChargeSettings()))
    assert charged.loads < 0.6 * without.loads
    assert charged.mean_ms < 0.6 * without.mean_ms
