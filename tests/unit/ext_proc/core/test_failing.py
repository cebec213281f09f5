"""Who fails more than the others gets less, whatever the strategy: it must not look like the best of all."""

import heapq
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from ext_proc.core.decision import Named
from ext_proc.core.events import AttemptEnded, Event, RequestEnded
from ext_proc.core.failing import LEAST_SHARE, LOOK_AT_ERRORS, SEVERITY, Failing, sound_first
from ext_proc.core.latency import Latencies
from ext_proc.core.levels import Group
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, HealthSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.table import STRATEGIES

NAMES = tuple(f"10.0.0.{n}:80" for n in range(1, 9))
A = NAMES[0]
RATE, TAKES_S, LASTS_S = 30.0, 0.6, 30.0
"""Requests a second, how long one takes where it is served, and how long that goes on."""


def run(strategy: str, answer: Callable[[random.Random], int], until_s: float = LASTS_S) -> tuple[Counter[str], Picker]:
    """Who was named first, when one of eight answers at once, with such a status, until then; and the picker."""
    endpoints = tuple(EndpointSettings(address=address) for address in NAMES)
    health = HealthSettings(heartbeat_s=None)
    pool = PoolSettings(name="p", cluster="pool/p", endpoints=endpoints, strategy=strategy, health=health)
    picker = Picker(PickerSettings(version="v", pools=(pool,), models={"m": "p"}))
    rng, load, numbers = random.Random(1), random.Random(2), itertools.count()
    due: list[tuple[float, int, Event]] = []
    named: Counter[str] = Counter()
    now = 0.0
    while now < LASTS_S:
        now += load.expovariate(RATE)
        while due and due[0][0] <= now:
            picker.apply(heapq.heappop(due)[2])
        text = f"hello {load.random()} " * 20
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()
        facts = RequestFacts(body=body, path="/v1/chat/completions", cluster="pool/p", route="model/m", headers={})
        found = picker.ask(facts, now, rng)
        assert isinstance(found, Named)
        served = found.endpoints[0]
        named[served] += 1
        status = answer(load) if served == A and now < until_s else 200
        at = now + (TAKES_S if status == 200 else 0.005)
        if status != 200:
            failed = AttemptEnded(decision_id=found.decision_id, address=served, at=at, status=status)
            heapq.heappush(due, (at, next(numbers), failed))
        ended = RequestEnded(decision_id=found.decision_id, at=at, status=status, served=served, attempts=1)
        heapq.heappush(due, (at, next(numbers), ended))
    return named, picker


def share(named: Counter[str]) -> float:
    """Of A, in that of the others."""
    return named[A] * (len(NAMES) - 1) / (named.total() - named[A])


@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"primary-standby"}))
@pytest.mark.parametrize(
    ("answer", "most"),
    [(lambda rng: 429, 0.3), (lambda rng: 503 if rng.random() < 0.5 else 200, 0.75)],
    ids=["refuses", "refuses-half"],
)
def test_who_refuses_at_once(strategy: str, answer: Callable[[random.Random], int], most: float) -> None:
    """Is full, and not ejected; nothing runs there, and all the same it is not chosen for that."""
    named, picker = run(strategy, answer)
    assert share(named) < most, named
    assert named[A] > 0, "somebody has to see when it is well again"
    assert picker.survey.health(LASTS_S)[0][1][0] == (A, "healthy")


def test_who_refuses_no_more() -> None:
    """Has its whole share again within a minute."""
    named, picker = run("least-request", lambda rng: 429, until_s=5.0)
    assert named[A] > 5
    slots = np.arange(len(NAMES))
    assert picker._fleet.failing.held_back(slots, LASTS_S + 60.0) is None


def test_the_record_says_it() -> None:
    """Why it was no candidate, and in the reason how many are bounded."""
    _, picker = run("least-request", lambda rng: 429)
    reasons = [(record.reason, dict(record.left_out)) for record in picker.decisions.latest(20)]
    assert any("1 of 8 fail more than the others" in reason for reason, _ in reasons)
    assert any(left.get(A) == "fails more than the others, and has had its part" for _, left in reasons)


class Bench:
    """Four slots, of which the first fails. Mutable: all."""

    def __init__(self, failures: int = 20) -> None:
        self.latencies = Latencies(8)
        self.failing = Failing(self.latencies)
        self.slots, self.weights = np.arange(4), np.ones(4)
        for slot in range(4):
            for _ in range(20):
                self.latencies.ended(slot, 0.0, is_error=slot == 0 and failures > 0)

    def held(self, slots: tuple[int, ...] = (0, 1, 2, 3)) -> list[bool] | None:
        """Who is."""
        found = self.failing.held_back(np.array(slots), 1.0)
        return None if found is None else found.tolist()


def test_the_part_that_is_its_due() -> None:
    """By weights, counted with each pick; what it does not use is not saved up for long."""
    bench = Bench()
    assert bench.held() == [True, False, False, False]
    picks = 0
    while bench.held() is not None:
        bench.failing.picked(bench.slots, bench.weights, 1, 1.0)
        picks += 1
    excess = bench.latencies.excess_errors(bench.slots, 1.0)[0]
    part = (1 - excess) ** SEVERITY
    assert 0.3 < excess < 0.6
    assert picks == pytest.approx((3 + part) / part, abs=1)
    for _ in range(1_000):
        assert bench.held() is None
        bench.failing.picked(bench.slots, bench.weights, 1, 1.0)
    for _ in range(2):
        assert bench.held() is None
        bench.failing.picked(bench.slots, bench.weights, 0, 1.0)
    assert bench.held() == [True, False, False, False]


def test_nobody_to_be_preferred() -> None:
    """Alone in a group, failing as all others do, or not at all: nobody is held back."""
    assert Bench().held((0,)) is None
    assert Bench(failures=0).held() is None
    bench = Bench()
    for slot in range(1, 4):
        for _ in range(40):
            bench.latencies.ended(slot, 0.5, is_error=True)
    assert bench.held() is None


def test_another_pools_picks_and_another_endpoint() -> None:
    """What it has earned stays while others are well, and goes with it."""
    bench = Bench()
    while bench.held() is not None:
        bench.failing.picked(bench.slots, bench.weights, 1, 1.0)
    bench.failing.picked(np.array([2, 3]), np.ones(2), 2, 1.0)
    assert bench.held() is None
    assert not bench.failing.is_held(0)
    bench.failing.reset(0)
    assert bench.held() == [True, False, False, False]


def test_one_on_trial_is_not_held_back() -> None:
    """Its next request is due."""
    bench = Bench()
    groups = list(sound_first([Group(0, bench.slots, bench.weights)], bench.failing, 1.0))
    assert [group.slots.tolist() for group in groups] == [[1, 2, 3], [0]]
    (group,) = sound_first([Group(0, bench.slots, bench.weights, on_trial=0)], bench.failing, 1.0)
    assert group.slots.tolist() == [0, 1, 2, 3]


def test_a_bound_has_a_floor() -> None:
    """Failing all of hundreds of tries beside a large pool that is well."""
    latencies = Latencies(128)
    for slot in range(100):
        for _ in range(200):
            latencies.ended(slot, 0.0, is_error=slot == 0)
    failing, slots, weights = Failing(latencies), np.arange(100), np.ones(100)
    picks = 0
    while failing.held_back(slots, 0.0) is not None:
        failing.picked(slots, weights, 1, 0.0)
        picks += 1
    assert picks == pytest.approx((99 + LEAST_SHARE) / LEAST_SHARE, rel=0.01)
    assert set(STRATEGIES) > LOOK_AT_ERRORS
