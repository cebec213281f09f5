"""What was learned about weights survives a restart: as it was, faded by the time between, and nothing that is none."""

from typing import Any

import pytest

from control_plane.fleet.kept_weights import LONGEST_S, as_json, kept_in
from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import ENVOY, PICKER, RESTORED, Kept, WeightRule, Weights
from tests.unit.control_plane.fleet.test_weights import ALIKE, ONE_TO_FOUR, QUICK, A, Bench, C

WALL_S = 1_800_000_000.0


def learned() -> Bench:
    """Three pods of speeds 1, 2 and 4, after a minute."""
    bench = Bench(QUICK, a=100, b=100, c=100)
    bench.seconds(60, ONE_TO_FOUR)
    return bench


def restarted(before: Bench, away_s: float, rule: WeightRule = QUICK, **configured: int) -> Bench:
    """Another process with what the first one kept, before its first look."""
    after = Bench(rule, **(configured or {"a": 100, "b": 100, "c": 100}))
    after.weights = Weights()
    kept, since_s = kept_in(as_json(before.weights.kept(), WALL_S), WALL_S + away_s)
    after.weights.restore(kept, {"p": rule}, after.now, since_s)
    return after


def test_as_it_was() -> None:
    """The same weights are shown before anything was measured, and they stay where the same is measured."""
    before = learned()
    after = restarted(before, 5.0)
    assert after.shown() == before.shown()
    assert {row["why"] for row in after.weights.rows} == {RESTORED}
    after.seconds(5, ONE_TO_FOUR)
    assert after.found == pytest.approx(before.found, rel=0.1)


def test_what_differs_by_now_is_learned() -> None:
    """The pods are alike: what was kept is no more than where it begins."""
    after = restarted(learned(), 5.0)
    after.seconds(60, {**ALIKE, C: ALIKE[A]})
    assert after.found == pytest.approx([100, 100, 100], abs=6)


def test_without_traffic_it_fades() -> None:
    """As without a restart: back to what is configured."""
    after = restarted(learned(), 300.0)
    for _ in range(120):
        after.second({})
    assert after.found == pytest.approx([100, 100, 100], abs=5)


def test_who_is_configured_otherwise_begins_anew() -> None:
    """Also before the first look; who is gone is forgotten then, and who is new has what is configured."""
    before = learned()
    after = restarted(before, 5.0, a=300, b=100)
    assert after.shown()[0] == 300
    assert after.shown()[1] == before.shown()[1]
    after.weights.look(after.now, after.pools)
    assert after.found == [300, pytest.approx(before.found[1])]


def test_other_bounds_and_other_pools() -> None:
    """The policy of today holds: its bounds, and pools that do not learn any more have nothing."""
    bounded = WeightRule(minimum=0.8, maximum=1.2)
    assert restarted(learned(), 5.0, bounded).shown() == [80, pytest.approx(88, abs=5), 120]
    after = Weights()
    after.restore(learned().weights.kept(), {"q": QUICK}, 0.0, 0.0)
    assert after.is_idle


def test_nothing_learned_is_nothing_kept() -> None:
    """A pool whose weights are as configured needs no restart to know that."""
    bench = Bench(a=100, b=100)
    bench.seconds(10, ALIKE)
    assert bench.weights.kept() == ()


def test_too_old() -> None:
    """Nobody knows what pods are there by now. A clock that was set back is no age."""
    value = as_json(learned().weights.kept(), WALL_S)
    assert kept_in(value, WALL_S + LONGEST_S + 1)[0] == ()
    kept, away_s = kept_in(value, WALL_S - 100)
    assert (len(kept), away_s) == (3, 0.0)


ROW = ["p", A, 100, 1.5, {PICKER: [1, 1, 0, 1, 1]}]


def test_a_row() -> None:
    """Of sources that this program does not know nothing is taken."""
    value = {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:4], {"else": [1], ENVOY: [1, 2, 3, 4, 5]}]]}
    assert kept_in(value, WALL_S) == ((Kept("p", A, 100, 1.5, {ENVOY: Observed(1, 2, 3, 4, 5)}),), 0.0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"version": 2, "saved_at": WALL_S, "weights": []},
        {"version": 1, "saved_at": "x", "weights": []},
        {"version": 1, "saved_at": WALL_S, "weights": 3},
        {"version": 1, "saved_at": WALL_S, "weights": [ROW[:4]]},
        {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:3], 0, ROW[4]]]},
        {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:3], float("nan"), ROW[4]]]},
        {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:3], "1", ROW[4]]]},
        {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:4], {PICKER: [1, 1, 0, float("inf"), 1]}]]},
        {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:4], {PICKER: [1] * 6}]]},
        {"version": 1, "saved_at": WALL_S, "weights": [[*ROW[:4], {PICKER: [-1] * 5}]]},
    ],
)
def test_what_is_none(value: Any) -> None:
    """Another version, another shape, numbers that cannot be: the whole of it is refused."""
    with pytest.raises(ValueError, match=r"version|expected|none|convert"):
        kept_in(value, WALL_S)
