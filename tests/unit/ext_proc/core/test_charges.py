"""What is charged beside work: each charge, when there is none, and that no charge names an endpoint that is out."""

import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.charges import beside, charges_of, home
from ext_proc.core.events import AttemptEnded, RequestEnded, Scraped
from ext_proc.core.latency import START_ANSWER_MS
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.core.settings import ChargeSettings, EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies import kv_aware
from ext_proc.core.strategies.session import Parameters
from ext_proc.core.strategies.view import Request, View
from tests.unit.ext_proc.core.strategies.pool import Pool, ranked

NOTHING = ChargeSettings(failure_ms=0, adapter_load_ms=0)


def view(
    pool: Pool, charges: ChargeSettings, *, far: tuple[float, ...] = (), key: Parameters | None = None, **request: Any
) -> View:
    """The pool as a strategy sees it that charges so much, for a request of this kind."""
    settings = PoolSettings(
        name="p",
        cluster="p",
        endpoints=tuple(
            EndpointSettings(address=address, far_ms=ms)
            for address, ms in zip(pool.addresses, far or [0.0] * len(pool.addresses), strict=True)
        ),
        parameters={} if key is None else {"session": key},
        charges=charges,
    )
    made = charges_of(settings, pool.fleet.slots)
    return replace(pool.view(), charges=made, request=Request(**request))


def fail(pool: Pool, position: int, *, good: int, bad: int) -> None:
    """Outcomes of an endpoint at the time 0, the bad ones evenly among the good ones, so that none is ejected."""
    for number in range(good + bad):
        is_bad = (number + 1) * bad // (good + bad) > number * bad // (good + bad)
        about = f"{position}/{number}"
        ended = RequestEnded(decision_id=about, at=0.0, status=200, served=pool.addresses[position])
        failed = AttemptEnded(decision_id=about, at=0.0, address=pool.addresses[position], status=500)
        pool.fleet.apply(failed if is_bad else ended, None)


def load_adapters(pool: Pool, position: int, *names: str, places: int = 4) -> None:
    """These have requests on an endpoint now."""
    address = pool.addresses[position]
    pool.fleet.apply(
        Scraped(address=address, at=0.0, running=1, waiting=0, max_loras=places, running_loras=names), None
    )


def test_nothing_is_charged_where_nothing_applies() -> None:
    """Neither without settings nor with all of them: no vectors are made."""
    pool = Pool(3)
    assert beside(pool.view()) == {}
    everything = ChargeSettings(failure_ms=1, adapter_load_ms=1, session_ms=1)
    assert beside(view(pool, everything, far=(2.0, 2.0, 2.0), model="m")) == {}


def test_what_is_charged_is_in_cost_and_terms() -> None:
    """The cost is the formula and the charges, each by its name."""
    pool = Pool(2)
    plain = ranked(kv_aware, view(pool, NOTHING))
    charged = ranked(kv_aware, view(pool, NOTHING, far=(0.0, 7.0)))
    assert (charged.cost - plain.cost).tolist() == pytest.approx([0.0, 7.0])
    assert charged.terms["cross_zone_ms"].tolist() == [0.0, 7.0]
    assert "cross_zone_ms" not in plain.terms


def test_the_near_zone_wins_until_it_is_busy() -> None:
    """Of two equal endpoints the near one; not when it has more to do than the way costs."""
    pool = Pool(2)
    assert pool.chosen(kv_aware, view(pool, NOTHING, far=(20.0, 0.0))) == {1}
    pool.send(1, uncached=5_000)
    assert pool.chosen(kv_aware, view(pool, NOTHING, far=(20.0, 0.0))) == {0}


def test_distance_is_only_charged_between_those_who_are_available() -> None:
    """One that is out makes no difference between the others."""
    pool = Pool(2)
    endpoints = (
        EndpointSettings(address=pool.addresses[0], far_ms=3.0),
        EndpointSettings(address=pool.addresses[1], available=False),
    )
    assert charges_of(PoolSettings(name="p", cluster="p", endpoints=endpoints), pool.fleet.slots).far is None


def test_failures_are_charged_where_they_are() -> None:
    """A share that is neither usual nor chance; twice the cost, twice the charge."""
    pool = Pool(4)
    for position in range(4):
        fail(pool, position, good=20, bad=10 if position == 2 else 0)
    charge = beside(view(pool, ChargeSettings(failure_ms=1_000)))["errors_ms"]
    assert charge[2] > 50
    assert charge[[0, 1, 3]].tolist() == [0, 0, 0]
    twice = beside(view(pool, ChargeSettings(failure_ms=2_000)))["errors_ms"]
    assert twice.tolist() == pytest.approx((2 * charge).tolist())
    assert "errors_ms" not in beside(view(pool, NOTHING))


def test_one_failure_and_everybodys_failures_are_chance() -> None:
    """A single error costs nobody its sessions, and errors that all have alike tell nothing about one of them."""
    pool = Pool(4)
    fail(pool, 1, good=0, bad=1)
    assert beside(view(pool, ChargeSettings())) == {}
    for position in range(4):
        fail(pool, position, good=20, bad=2)
    assert beside(view(pool, ChargeSettings())) == {}


def test_failures_are_forgotten() -> None:
    """After some minutes nothing is charged any more."""
    pool = Pool(4)
    fail(pool, 0, good=10, bad=10)
    for position in range(1, 4):
        fail(pool, position, good=20, bad=0)
    seen = view(pool, ChargeSettings())
    assert beside(seen)["errors_ms"][0] > 0
    assert beside(replace(seen, now=600.0)) == {}


def test_who_is_ejected_is_not_charged_and_begins_anew() -> None:
    """Charged as well nobody would try whether it is back; and a process that ended says nothing about the next one."""
    pool = Pool(4)
    for position in range(4):
        fail(pool, position, good=20, bad=0)
    for _ in range(10):
        reset = AttemptEnded(decision_id="x", address=pool.addresses[0], at=1.0, status=200, flags=("UC",))
        pool.fleet.apply(reset, None)
    assert beside(replace(view(pool, ChargeSettings()), now=1.0)) == {}
    ended = RequestEnded(decision_id="y", at=5.0, status=200, served=pool.addresses[0])
    pool.fleet.apply(ended, None)
    assert pool.fleet.health.state(0, 5.0) == "healthy"
    assert beside(replace(view(pool, ChargeSettings()), now=5.0)) == {}


def test_an_adapter_goes_where_it_is_loaded() -> None:
    """The time to load it is charged to the others; for a base model nothing is."""
    pool = Pool(3)
    load_adapters(pool, 1, "lora")
    charged = ChargeSettings(adapter_load_ms=100)
    assert beside(view(pool, charged, model="lora"))["adapter_ms"].tolist() == [100, 0, 100]
    assert beside(view(pool, charged, model="base")) == {}
    assert beside(view(pool, NOTHING, model="lora")) == {}


def test_a_pick_loads_and_an_end_unloads() -> None:
    """The picker's own choice counts at once; a process that is gone has nothing loaded any more."""
    addresses = [f"10.0.0.{n}:80" for n in range(3)]
    pool = PoolSettings(name="p", cluster="p", endpoints=tuple(EndpointSettings(address=each) for each in addresses))
    picker, rng = Picker(PickerSettings(version="1", pools=(pool,))), random.Random(1)
    picker.apply(Scraped(address=addresses[0], at=0.0, running=1, waiting=0, max_loras=4, running_loras=("a", "b")))

    def charged(model: str) -> dict[str, float]:
        wanted = Wanted(model=model, tokens=10, blocks=(1,), timeout_s=60, request=Request(model=model))
        answer = picker.place("p", wanted, 0.0, rng)
        assert isinstance(answer, Named)
        record = picker.decisions.get(answer.decision_id)
        assert record is not None
        terms = record.candidates.terms.get("adapter_ms", ())
        return dict(zip(record.candidates.addresses, terms, strict=False))

    assert charged("a")[addresses[0]] == 0
    refused = AttemptEnded(
        decision_id="x", address=addresses[0], at=0.0, status=0, flags=("UF",), failure="Connection refused"
    )
    picker.apply(refused)
    assert charged("b") == {}  # nobody has it; whoever is named now has
    assert sorted(charged("b").values()) == [0, ChargeSettings().adapter_load_ms]


def test_taken_places_are_dearer() -> None:
    """Where all places have adapters with requests one of them has to end first: half of a usual answer."""
    pool = Pool(3)
    load_adapters(pool, 0, "lora")
    load_adapters(pool, 1, "a", "b", places=2)
    load_adapters(pool, 2, "a", places=2)
    charge = beside(view(pool, ChargeSettings(adapter_load_ms=100), model="lora"))["adapter_ms"]
    assert charge.tolist() == [0, 100 + START_ANSWER_MS / 2, 100]


def test_a_session_has_a_home() -> None:
    """All others are charged the bound; without a key, and in a pool of one, nobody is."""
    pool = Pool(5)
    charged = ChargeSettings(session_ms=50)
    charge = beside(view(pool, charged, session="s"))["session_ms"]
    own = home(pool.fleet.slots, pool.slots, "s", pool.weights)
    assert charge.tolist() == [0 if position == own else 50 for position in range(5)]
    assert beside(view(pool, charged)) == {}
    assert beside(view(Pool(1), charged, session="s")) == {}


def test_a_session_is_left_for_more_than_the_bound() -> None:
    """Its own endpoint is named as long as another one is not cheaper by more than that."""
    pool = Pool(3)
    own = home(pool.fleet.slots, pool.slots, "s", pool.weights)
    charged = ChargeSettings(session_ms=300)
    pool.send(own, uncached=1_000)  # about 100 ms of work, and 150 for the stalls
    assert pool.chosen(kv_aware, view(pool, charged, session="s")) == {own}
    pool.send(own, uncached=1_000, times=3)
    assert own not in pool.chosen(kv_aware, view(pool, charged, session="s"))


@pytest.mark.parametrize(
    ("key", "request_"),
    [
        (None, {"session": "s"}),
        (None, {"user": "s"}),
        (Parameters(header="x-s"), {"headers": {"x-s": "s"}}),
        (Parameters(cookie="sid"), {"headers": {"cookie": "a=b; sid=s"}}),
        (Parameters(use_user=True), {"user": "s", "session": "other"}),
    ],
)
def test_a_session_is_known_as_the_strategy_session_knows_it(key: Parameters | None, request_: dict[str, Any]) -> None:
    """Header, cookie or user, by the same settings."""
    pool = Pool(4)
    charge = beside(view(pool, ChargeSettings(session_ms=1), key=key, **request_))["session_ms"]
    assert int(np.argmin(charge)) == home(pool.fleet.slots, pool.slots, "s", pool.weights)


def test_who_leaves_moves_its_own_sessions_only() -> None:
    """And each of them to one other endpoint, for as long as it is away; pickers that never met agree."""
    pool, other = Pool(6), Pool(6)
    keys = [f"session {number}" for number in range(300)]
    rest = np.array([0, 1, 3, 4, 5])
    counts: Counter[int] = Counter()
    for key in keys:
        before = home(pool.fleet.slots, pool.slots, key, pool.weights)
        after = int(rest[home(pool.fleet.slots, pool.slots[rest], key, pool.weights[rest])])
        assert (after == before) == (before != 2)
        assert before == home(other.fleet.slots, other.slots, key, other.weights)
        counts[before] += 1
    assert min(counts[n] for n in range(6)) > 25


@given(
    unavailable=st.sets(st.integers(0, 3), max_size=3),
    dead=st.sets(st.integers(0, 3), max_size=3),
    session=st.text(min_size=1, max_size=5),
)
def test_no_session_holds_an_endpoint_that_is_out(unavailable: set[int], dead: set[int], session: str) -> None:
    """However sticky: neither one that the policy's health checks exclude, nor one that was ejected, while others are
    there; and the record shows the charge."""
    addresses = [f"10.0.0.{n}:80" for n in range(4)]
    endpoints = tuple(
        EndpointSettings(address=address, available=n not in unavailable) for n, address in enumerate(addresses)
    )
    pool = PoolSettings(name="p", cluster="p", endpoints=endpoints, charges=ChargeSettings(session_ms=1e6))
    picker = Picker(PickerSettings(version="1", pools=(pool,)))
    for n in dead:
        refused = AttemptEnded(
            decision_id="x", address=addresses[n], at=0.0, status=0, flags=("UF",), failure="Connection refused"
        )
        picker.apply(refused)
    wanted = Wanted(model="m", tokens=10, blocks=(1,), timeout_s=60, request=Request(session=session))
    answer = picker.place("p", wanted, 0.5, random.Random(1))
    assert isinstance(answer, Named)
    chosen = addresses.index(answer.endpoints[0])
    sound = set(range(4)) - unavailable - dead
    assert chosen in (sound or set(range(4)) - unavailable)
    record = picker.decisions.get(answer.decision_id)
    assert record is not None
    if len(record.candidates.addresses) > 1:
        assert record.candidates.terms["session_ms"][0] == 0
        assert record.candidates.terms["session_ms"][1] == 1e6


@pytest.mark.parametrize("priorities", [(0, 0, 1), (0, 1, 1)])
def test_levels_differ_in_what_is_charged(priorities: tuple[int, ...]) -> None:
    """One endpoint alone is no choice, and is charged nothing; it is named beside those of a level that are."""
    endpoints = tuple(
        EndpointSettings(address=f"10.0.0.{n}:80", priority=priority) for n, priority in enumerate(priorities)
    )
    pool = PoolSettings(name="p", cluster="p", endpoints=endpoints, charges=ChargeSettings(session_ms=50))
    picker = Picker(PickerSettings(version="1", pools=(pool,)))
    wanted = Wanted(model="m", tokens=10, blocks=(1,), timeout_s=60, request=Request(session="s"))
    answer = picker.place("p", wanted, 0.5, random.Random(1))
    assert isinstance(answer, Named)
    record = picker.decisions.get(answer.decision_id)
    assert record is not None
    assert len(answer.endpoints) == 3
    assert sorted(record.candidates.terms["session_ms"]) == [0, 0, 50]
