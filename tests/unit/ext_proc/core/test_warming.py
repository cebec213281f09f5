"""Cold endpoints: the bound on their share holds for every strategy, and nobody else pays for it."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.decision import Named
from ext_proc.core.events import AttemptEnded, Scraped
from ext_proc.core.levels import Group
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings, WarmupSettings
from ext_proc.core.strategies.table import STRATEGIES
from ext_proc.core.warming import LEAST_SHARE, MAX_CREDIT, Warming, newcomers, warm_first

ADDRESSES = tuple(f"10.0.0.{n}:80" for n in range(1, 5))
SLOTS = np.arange(4)
WEIGHTS = np.full(4, 100.0)
TEN_PERCENT = WarmupSettings(duration_s=100.0)


def pool(*addresses: str, warmup: WarmupSettings | None = TEN_PERCENT, strategy: str = "round-robin") -> PickerSettings:
    """One pool of these."""
    endpoints = tuple(EndpointSettings(address=address) for address in addresses)
    return PickerSettings(
        version="v",
        pools=(PoolSettings(name="p", cluster="p", strategy=strategy, endpoints=endpoints, warmup=warmup),),
    )


def facts(number: int) -> RequestFacts:
    """A request of its own."""
    body = b'{"model": "m", "messages": [{"role": "user", "content": "%d"}]}' % number
    return RequestFacts(path="/v1/chat/completions", body=body, cluster="p")


def picks(picker: Picker, count: int, now: float, rng: random.Random) -> list[str]:
    """Who is named first, so many times."""
    found = []
    for number in range(count):
        answer = picker.decide(facts(number), now, rng)
        assert isinstance(answer, Named)
        found.append(answer.endpoints[0])
    return found


def health(picker: Picker, now: float) -> dict[str, object]:
    """Address → state."""
    return {each["address"]: each["health"] for each in picker.survey.pools(now)["p"]["endpoints"]}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_bound_holds_for_every_strategy(strategy: str) -> None:
    """Who joins three others with a tenth of its weight gets no more than its part and one; later its full share."""
    picker = Picker(pool(*ADDRESSES[:3], strategy=strategy))
    rng = random.Random(1)
    picks(picker, 20, 0.0, rng)
    picker.apply_settings(pool(*ADDRESSES, strategy=strategy), 10.0)
    assert health(picker, 10.0)[ADDRESSES[3]] == "warming"
    early = picks(picker, 310, 10.0, rng).count(ADDRESSES[3])
    assert early <= 310 * 0.1 / 3.1 + MAX_CREDIT + 1
    assert health(picker, 110.0)[ADDRESSES[3]] == "healthy"
    if strategy == "round-robin":
        assert early == 10
        assert picks(picker, 40, 110.0, rng).count(ADDRESSES[3]) == 10


def test_at_the_start_nobody_is_cold() -> None:
    """All are new alike; so is the whole of a pool that had nobody."""
    picker = Picker(pool())
    picker.apply_settings(pool(*ADDRESSES), 5.0)
    assert set(health(picker, 5.0).values()) == {"healthy"}
    assert newcomers(pool(*ADDRESSES).pools, {}) == frozenset()


def test_without_warmup_nothing_is_held_back() -> None:
    """The full share at once; and an edit that takes the setting away ends what it began."""
    picker = Picker(pool(*ADDRESSES[:3], warmup=None))
    picker.apply_settings(pool(*ADDRESSES, warmup=None), 5.0)
    assert set(health(picker, 5.0).values()) == {"healthy"}
    picker = Picker(pool(*ADDRESSES[:3]))
    picker.apply_settings(pool(*ADDRESSES), 5.0)
    assert health(picker, 5.0)[ADDRESSES[3]] == "warming"
    picker.apply_settings(pool(*ADDRESSES, warmup=None), 6.0)
    assert health(picker, 6.0)[ADDRESSES[3]] == "healthy"


def test_who_comes_back_while_it_serves_is_not_cold() -> None:
    """It has left the pool for a moment only: requests run there, and its cache is what it was."""
    picker = Picker(pool(*ADDRESSES[:2]))
    rng = random.Random(1)
    first, second = picks(picker, 2, 0.0, rng)
    picker.apply_settings(pool(first), 1.0)
    picker.apply_settings(pool(first, second), 2.0)
    assert set(health(picker, 2.0).values()) == {"healthy"}


def test_a_restarted_process_is_cold_from_its_first_answer_on() -> None:
    """A refused connection says that it was gone, a scrape that somebody is there again."""
    picker = Picker(pool(*ADDRESSES))
    gone = ADDRESSES[0]
    event = AttemptEnded(decision_id="?", address=gone, at=1.0, status=503, flags=("UF",), failure="refused")
    picker.apply(event)
    assert health(picker, 1.5)[gone] == "ejected"
    picker.apply(Scraped(address=gone, at=50.0, running=0, waiting=0))
    rng = random.Random(1)
    # Its trial is due, and is no matter of shares.
    assert picks(picker, 4, 50.0, rng).count(gone) == 1
    slot = picker._fleet.slots.get(gone)
    assert slot is not None
    assert picker._fleet.warming.share(slot, 100.0) == pytest.approx(0.5)


def test_a_record_says_who_is_held_back() -> None:
    """In the reason, and for the endpoint itself."""
    picker = Picker(pool(*ADDRESSES[:2]))
    picker.apply_settings(pool(*ADDRESSES[:3]), 5.0)
    rng = random.Random(1)
    picks(picker, 4, 5.0, rng)
    (record, *_) = picker.decisions.latest(1)
    assert "1 of 3 are warming up" in record.reason
    assert record.left_out == ((ADDRESSES[2], "warming up, and has had its part"),)
    assert ADDRESSES[2] in record.endpoints, "a retry may go there"


def test_the_form_of_the_rise() -> None:
    """Envoy's: the least share, then the part of the time, bent by the aggression."""
    warming = Warming()
    for slot, aggression in enumerate((1.0, 2.0, 0.5)):
        warming.configure({n: WarmupSettings(duration_s=100.0, minimum=0.1, aggression=aggression) for n in range(3)})
        warming.joined(slot, 0.0)
    warming.configure(
        {n: WarmupSettings(duration_s=100.0, minimum=0.1, aggression=a) for n, a in enumerate((1.0, 2.0, 0.5))}
    )
    assert [warming.share(n, 0.0) for n in range(4)] == [0.1, 0.1, 0.1, 1.0]
    assert [warming.share(n, 25.0) for n in range(3)] == pytest.approx([0.25, 0.5, 0.1])
    assert [warming.share(n, 64.0) for n in range(3)] == pytest.approx([0.64, 0.8, 0.4096])
    assert [warming.share(n, 1e9) for n in range(3)] == [1.0, 1.0, 1.0]


def test_one_on_trial_is_not_held_back() -> None:
    """It has been chosen to be tried."""
    warming = Warming()
    warming.configure({0: TEN_PERCENT})
    warming.joined(0, 0.0)
    warming.picked(SLOTS, WEIGHTS, 0, 0.0)
    assert warming.held_back(SLOTS, 0.0) is not None
    group = Group(0, SLOTS, WEIGHTS, on_trial=0)
    assert [each.slots.tolist() for each in warm_first([group], warming, 0.0)] == [[0, 1, 2, 3]]
    group = Group(0, SLOTS, WEIGHTS)
    assert [each.slots.tolist() for each in warm_first([group], warming, 0.0)] == [[1, 2, 3], [0]]


@given(
    cold=st.sets(st.integers(0, 3)),
    minimum=st.floats(0, 1),
    steps=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=60),
)
def test_whatever_is_picked(cold: set[int], minimum: float, steps: list[tuple[int, float]]) -> None:
    """Nobody loses an endpoint: each group comes out whole, somebody is first, and credits stay within bounds."""
    warming = Warming()
    warming.configure({slot: WarmupSettings(duration_s=20.0, minimum=minimum) for slot in range(4)})
    now = 0.0
    for slot in cold:
        warming.joined(slot, now)
    for best, wait in steps:
        now += wait
        groups = list(warm_first([Group(0, SLOTS, WEIGHTS)], warming, now))
        assert sorted(slot for group in groups for slot in group.slots.tolist()) == [0, 1, 2, 3]
        assert len(groups) <= 2
        first = groups[0].slots.tolist()
        warming.picked(SLOTS, WEIGHTS, first[best % len(first)], now)
        assert all(0 <= each.credit <= MAX_CREDIT for each in warming._cold.values())
        assert all(LEAST_SHARE <= warming.share(slot, now) <= 1 for slot in range(4))
    warming.held_back(SLOTS, now + 21)
    assert not warming
