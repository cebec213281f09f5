"""Weights follow what endpoints serve: within bounds, step by step, and never for noise."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.fleet.model import Endpoint, Fleet
from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import (
    ENVOY,
    MAX_SETTLE_S,
    PICKER,
    SCALE,
    TOO_QUICK,
    WeightRule,
    Weights,
)

A, B, C = (f"10.0.0.{n}:80" for n in range(1, 4))
RULE = WeightRule()
QUICK = WeightRule(step=0.5, interval_s=1.0)

Seen = dict[str, tuple[float, float]]
"""Address → requests a second, and seconds that each takes."""


class Bench:
    """One pool. Mutable: the time and the weights."""

    def __init__(self, rule: WeightRule = RULE, **configured: int) -> None:
        self.rule = rule
        self.configured = dict(zip((A, B, C), configured.values(), strict=False))
        self.now = 0.0
        self.weights = Weights()
        self.weights.look(0.0, self.pools)

    @property
    def pools(self) -> dict[str, tuple[WeightRule, dict[str, int]]]:
        """As `look` takes them."""
        return {"p": (self.rule, self.configured)}

    def second(self, seen: Seen, failed: dict[str, int] | None = None, source: str = PICKER) -> bool:
        """A second in which so much was served; whether something else is shown now."""
        self.now += 1.0
        for address, (rate, takes) in seen.items():
            more = Observed(rate, rate, (failed or {}).get(address, 0), rate * takes, 10 * rate * takes)
            self.weights.take("p", address, source, more)
        return self.weights.look(self.now, self.pools) == {"p"}

    def seconds(self, count: int, seen: Seen, failed: dict[str, int] | None = None, source: str = PICKER) -> int:
        """So many seconds; how often something else was shown."""
        return sum(self.second(seen, failed, source) for _ in range(count))

    @property
    def found(self) -> list[float]:
        """The weights, in the scale of the configured ones."""
        return [row["weight"] for row in self.weights.rows]

    def shown(self, *more: Endpoint) -> list[int]:
        """What the fleet has."""
        endpoints = tuple(
            Endpoint(pool="p", address=address, weight=weight) for address, weight in self.configured.items()
        )
        fleet = self.weights.shown(Fleet(pools={"p": (*endpoints, *more), "q": endpoints}))
        assert [each.weight for each in fleet.pools["q"]] == list(self.configured.values())
        return [each.weight for each in fleet.pools["p"]]


ONE_TO_FOUR: Seen = {A: (10.0, 0.4), B: (20.0, 0.2), C: (40.0, 0.1)}
ALIKE: Seen = {A: (20.0, 0.2), B: (20.0, 0.2)}


def test_in_proportion_to_speed() -> None:
    """Endpoints that take 4, 2 and 1 as long come to weights of 1 : 2 : 4, whose sum is as before."""
    bench = Bench(a=100, b=100, c=100)
    bench.seconds(120, ONE_TO_FOUR)
    assert bench.found == pytest.approx([43, 86, 171], rel=0.1)
    assert bench.shown() == [round(weight) for weight in bench.found]


def test_steps() -> None:
    """By a fifth at most, five seconds apart at least."""
    bench = Bench(a=100, b=100, c=100)
    before, last = [100.0] * 3, 0
    for second in range(1, 100):
        if bench.second(ONE_TO_FOUR):
            assert second - last >= RULE.interval_s or last == 0
            last = second
            ratios = [now / then for now, then in zip(bench.found, before, strict=True)]
            assert min(ratios) > 0.799
            assert max(ratios) < 1.201
            before = bench.found
    assert last > 10


def test_the_smallest_steps() -> None:
    """Are made and told, too."""
    bench = Bench(WeightRule(step=0.01), a=100, b=100)
    changes = bench.seconds(60, {A: (10.0, 0.1), B: (10.0, 0.4)})
    assert changes > 5
    assert bench.found[0] == pytest.approx(100 * 1.01**changes, rel=1e-3)


def test_the_load_of_each_does_not_matter() -> None:
    """Two that are as quick are worth the same, however the requests are spread."""
    bench = Bench(a=100, b=100)
    bench.seconds(60, {A: (100.0, 0.2), B: (10.0, 0.2)})
    assert bench.found == [100, 100]


def test_sizes() -> None:
    """Work is what counts: one that has requests of four times the size takes four times as long for them."""
    bench = Bench(a=100, b=100)
    for _ in range(60):
        bench.now += 1
        bench.weights.take("p", A, PICKER, Observed(4000.0, 10, 0, 8.0, 80))
        bench.weights.take("p", B, PICKER, Observed(1000.0, 10, 0, 2.0, 20))
        bench.weights.look(bench.now, bench.pools)
    assert bench.found == [100, 100]


def test_one_that_fails_at_once() -> None:
    """Has nothing in flight, and falls to the floor all the same, never below it."""
    bench = Bench(a=100, b=100)
    bench.seconds(200, {A: (0.0, 0.0), B: (20.0, 0.2)}, {A: 20})
    assert bench.found[0] == pytest.approx(10, abs=0.6)
    assert bench.shown()[0] >= 10


def test_one_that_fails_half_of_them() -> None:
    """Counts for less than the half of it that it serves."""
    bench = Bench(a=100, b=100)
    bench.seconds(200, {A: (10.0, 0.2), B: (20.0, 0.2)}, {A: 10})
    assert bench.found[0] < 0.3 * bench.found[1]


REFUSES = (100.0, 0.002)
"""What Envoy counts of who says 429 to everything: quick successes."""


def test_one_that_refuses_at_once() -> None:
    """Envoy calls that a success: it does not gain by it, and the others keep their proportion."""
    bench = Bench(a=100, b=100, c=100)
    bench.seconds(120, ONE_TO_FOUR, source=ENVOY)
    bench.seconds(120, {**ONE_TO_FOUR, A: REFUSES}, source=ENVOY)
    assert bench.found[0] < 60, "the slowest stays about where it was"
    assert bench.found[2] == pytest.approx(2 * bench.found[1], rel=0.1)
    bench.seconds(120, ONE_TO_FOUR, source=ENVOY)
    bench.seconds(120, {**ONE_TO_FOUR, C: REFUSES}, source=ENVOY)
    assert bench.found == pytest.approx([67, 133, 100], rel=0.1)
    assert bench.weights.rows[2]["why"] == TOO_QUICK
    bench.seconds(120, {**ONE_TO_FOUR, C: REFUSES}, {C: 50}, source=ENVOY)
    assert bench.found[2] < 40, "what fails is believed all the same"
    bench.seconds(240, ONE_TO_FOUR, source=ENVOY)
    assert bench.found == pytest.approx([43, 86, 171], rel=0.1), "well again"


def test_one_of_two_that_refuses() -> None:
    """Is told from one whose neighbour is slow by how little time it takes."""
    bench = Bench(a=100, b=100)
    bench.seconds(120, {A: (2.0, 2.0), B: REFUSES}, source=ENVOY)
    assert bench.found == [100, 100]
    bench.seconds(240, {A: (2.0, 2.0), B: (50.0, 0.1)}, source=ENVOY)
    assert bench.found[0] < 15


def test_quick_for_the_picker() -> None:
    """It knows refusals: whoever is so quick there, is."""
    bench = Bench(WeightRule(maximum=100.0), a=100, b=100, c=100)
    bench.seconds(240, {A: (10.0, 0.4), B: (10.0, 0.4), C: (100.0, 0.01)})
    assert bench.found[2] > 10 * bench.found[0]


def test_failures_of_all_alike() -> None:
    """Are no reason to prefer anybody, even when nothing goes well."""
    bench = Bench(a=100, b=100)
    bench.seconds(60, ALIKE, {A: 5, B: 5})
    bench.seconds(300, {A: (0.0, 0.0), B: (0.0, 0.0)}, {A: 20, B: 20})
    assert bench.found == [100, 100]


def test_one_whose_requests_never_end() -> None:
    """Loses its weight although no request of it says anything."""
    bench = Bench(a=100, b=100)
    for second in range(60):
        bench.now += 1
        bench.weights.take("p", A, PICKER, Observed(0, 0, 0, second, 10 * second))
        bench.weights.take("p", B, PICKER, Observed(20, 20, 0, 4, 40))
        bench.weights.look(bench.now, bench.pools)
    assert bench.found[0] < 30
    assert bench.weights.rows[0]["why"] == "its requests do not end"


def test_without_traffic() -> None:
    """It drifts back to exactly the configured weight, and nothing is shown then."""
    bench = Bench(a=100, b=100, c=100)
    bench.seconds(120, ONE_TO_FOUR)
    bench.seconds(600, {})
    assert bench.found == [100, 100, 100]
    fleet = Fleet(pools={})
    assert bench.weights.shown(fleet) is fleet
    assert bench.weights.rows[0]["why"] == "no requests lately"


def test_noise() -> None:
    """Differences of a few percent are told nobody."""
    bench = Bench(a=100, b=100)
    changes = sum(
        bench.second({A: (20.0, 0.2 + 0.006 * (n % 3 - 1)), B: (20.0, 0.2 - 0.006 * (n % 2))}) for n in range(300)
    )
    assert (changes, bench.found) == (0, [100, 100])


def test_who_measures() -> None:
    """The picker while it sees most of what Envoys do; else they."""
    bench = Bench(QUICK, a=100, b=100)
    quicker, slower = {A: (10.0, 0.1), B: (10.0, 0.4)}, {A: (10.0, 0.4), B: (10.0, 0.1)}
    for _ in range(10):
        bench.second(quicker)
        bench.second({address: (2.0, takes) for address, (_, takes) in slower.items()}, source=ENVOY)
    assert bench.weights.rows[0]["source"] == PICKER
    assert bench.found[0] > bench.found[1]
    for _ in range(60):
        bench.second({A: (1.0, 0.1), B: (1.0, 0.4)})
        bench.second(slower, source=ENVOY)
    assert bench.weights.rows[0]["source"] == ENVOY
    assert bench.found[0] < bench.found[1]


def test_small_weights() -> None:
    """Configured as 1 and 2 they are multiplied, those that nothing was learned of as well."""
    bench = Bench(QUICK, a=1, b=2)
    assert bench.shown() == [1, 2]
    bench.seconds(60, {A: (10.0, 0.1), B: (10.0, 0.2)})
    first, second, third = bench.shown(Endpoint(pool="p", address=C, weight=3))
    assert third == 3 * SCALE
    assert first == pytest.approx(2 * SCALE, rel=0.06)
    assert second == pytest.approx(SCALE, rel=0.06)


def test_edits() -> None:
    """An endpoint that is configured otherwise begins anew; one that leaves is forgotten; a pool that does not learn
    any more shows what is configured."""
    bench = Bench(QUICK, a=100, b=100, c=100)
    bench.seconds(60, ONE_TO_FOUR)
    slow, middle, quick = bench.found
    bench.configured[A] = 200
    assert bench.weights.look(bench.now, bench.pools) == {"p"}, "it was served with what was learned of the old one"
    assert bench.found == [200, middle, quick]
    assert bench.shown() == [200, round(middle), round(quick)]
    del bench.configured[C]
    bench.weights.look(bench.now, bench.pools)
    assert bench.found == [200, middle]
    assert bench.weights.look(bench.now, {}) == {"p"}
    assert bench.weights.is_idle
    assert bench.weights.look(bench.now, {}) == frozenset()
    assert slow < middle < quick


def test_the_last_that_differed_leaves() -> None:
    """The pool is shown otherwise then, at once."""
    bench = Bench(QUICK, a=100, b=100)
    bench.seconds(30, {A: (10.0, 0.1), B: (10.0, 0.4)})
    bench.configured = {C: 100}
    assert bench.weights.look(bench.now, bench.pools) == {"p"}
    assert bench.found == [100]


def test_long_requests_are_waited_for() -> None:
    """No second step before what the first one did can be seen; but not for ever."""
    bench = Bench(QUICK, a=100, b=100)
    at = [second for second in range(1, 400) if bench.second({A: (2.0, 10.0), B: (2.0, 30.0)})]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert len(gaps) > 2
    assert min(gaps) > 15
    assert max(gaps[:3]) <= MAX_SETTLE_S


@pytest.mark.parametrize("number", [math.nan, math.inf, -1.0])
def test_numbers_that_are_none(number: float) -> None:
    """Are not taken; nor is anything of a pool or an endpoint that does not learn."""
    bench = Bench(a=100, b=100)
    for address, pool in ((A, "p"), (C, "p"), (A, "q")):
        bench.weights.take(pool, address, PICKER, Observed(number, 1, 0, 1, 1))
    bench.seconds(10, ALIKE)
    assert bench.found == [100, 100]


_numbers = st.floats(0, 1e7)
_observed = st.builds(Observed, _numbers, _numbers, _numbers, _numbers, _numbers)
_rules = st.builds(
    WeightRule,
    interval_s=st.floats(1, 60),
    step=st.floats(0.01, 0.5),
    minimum=st.floats(0.05, 1),
    maximum=st.floats(1, 100),
    half_life_s=st.floats(5, 3600),
)


@settings(deadline=None)
@given(_rules, st.lists(st.integers(1, 2**20), min_size=1, max_size=3), st.data())
def test_bounds(rule: WeightRule, configured: list[int], data: st.DataObject) -> None:
    """Whatever is told: within floor and ceiling, no step larger than allowed, never zero, and whole numbers."""
    bench = Bench(rule, **{str(n): weight for n, weight in enumerate(configured)})
    before = [1.0] * len(configured)
    for _ in range(data.draw(st.integers(1, 20))):
        bench.now += data.draw(st.floats(0, 100))
        for address in bench.configured:
            source = data.draw(st.sampled_from((PICKER, ENVOY)))
            bench.weights.take("p", address, source, data.draw(_observed))
        changed = bench.weights.look(bench.now, bench.pools)
        learned = [bench.weights.factor("p", address) for address in bench.configured]
        for one, then in zip(learned, before, strict=True):
            assert rule.minimum - 1e-9 <= one <= rule.maximum + 1e-9
            assert (1 - rule.step) * then - 1e-9 <= one <= (1 + rule.step) * then + 1e-9
            assert one == then or changed
        assert all(weight >= 1 for weight in bench.shown())
        before = learned
