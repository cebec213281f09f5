"""Levels: who may be named together, nearest first, and one at most on trial."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.evidence import Evidence
from ext_proc.core.health import BACK_OFF_S, PROOF_WINDOW_S, SOFT_LIMIT, Health
from ext_proc.core.levels import Group, Levels, levels, lot_of, turn_lot
from ext_proc.core.settings import EndpointSettings, ShareSettings
from ext_proc.core.slots import Slots


def made(*priorities: int, unavailable: Sequence[int] = ()) -> Levels:
    """Endpoints at slots 0, 1, … of these priorities, with weights 1, 2, …"""
    slots = Slots()
    endpoints = [
        EndpointSettings(address=f"10.0.0.{n}:80", priority=priority, weight=n + 1, available=n not in unavailable)
        for n, priority in enumerate(priorities)
    ]
    for endpoint in endpoints:
        slots.acquire(endpoint.address)
    return levels(endpoints, slots)


def broken(*slots: int, at: float = 0.0, evidence: Evidence = Evidence.GONE) -> Health:
    """Endpoints that failed once, at `at`."""
    health = Health(64)
    for slot in slots:
        health.judge(slot, evidence, started_at=at, now=at)
    return health


def groups(levels: Levels, health: Health, now: float = 0.0) -> list[tuple[int, list[int], int]]:
    """(priority, slots, slot on trial) of each group."""
    return [(group.priority, group.slots.tolist(), group.on_trial) for group in levels.groups(health, now)]


def test_levels_are_sorted_and_keep_their_order() -> None:
    """By priority, with gaps; weights go along, and who is not available is left out."""
    found = made(3, 0, 3, 0, 1, unavailable=[4])
    assert groups(found, broken()) == [(0, [1, 3], -1), (3, [0, 2], -1)]
    assert [group.weights.tolist() for group in found.groups(broken(), 0.0)] == [[2.0, 4.0], [1.0, 3.0]]


def test_no_endpoint_no_level() -> None:
    """A pool may have none that are available."""
    assert groups(made(0, 1, unavailable=[0, 1]), broken()) == []


def test_an_ejected_level_is_passed_over() -> None:
    """Evidence is inferred, but the next level is there to be used."""
    assert groups(made(0, 0, 1, 1), broken(0)) == [(0, [1], -1), (1, [2, 3], -1)]
    assert groups(made(0, 0, 1, 1), broken(0, 1)) == [(1, [2, 3], -1)]
    assert groups(made(0, 0, 1, 1, 2), broken(0, 1, 2, 3)) == [(2, [4], -1)]


def test_panic_uses_the_nearest_level() -> None:
    """When nobody anywhere is left, it is as if nothing were known."""
    assert groups(made(0, 0, 1, 1), broken(0, 1, 2, 3))[0] == (0, [0, 1], -1)


def test_one_at_most_is_on_trial() -> None:
    """The one that has waited for longest, among the sound ones of its level."""
    health = broken(3, at=0.0)
    for slot in (1, 2):
        health.judge(slot, Evidence.GONE, started_at=0.5, now=0.5)
    assert groups(made(0, 0, 0, 0, 0), health, 10.0) == [(0, [0, 3, 4], 3)]


def test_a_trial_is_the_first_groups_only() -> None:
    """Further levels are there to make good for it."""
    assert groups(made(0, 0, 1, 1), broken(0, 1, 2), 0.5 + BACK_OFF_S) == [(0, [0], 0), (1, [3], -1)]


def test_while_one_is_tried_the_next_level_serves() -> None:
    """Nobody else is sent to a level whose only endpoint is on probation."""
    health = broken(0)
    health.picked(0, BACK_OFF_S)
    assert groups(made(0, 1), health, BACK_OFF_S) == [(1, [1], -1)]


def test_half_open_ones_stand_together_when_nobody_is_sound() -> None:
    """There is nobody whom they could keep a request from."""
    assert groups(made(0, 0, 1), broken(0, 1, 2), BACK_OFF_S) == [(0, [0, 1], -1), (1, [2], -1)]


def test_readmitted_ones_are_sound() -> None:
    """What soft evidence may not eject is no trial: three of four, half of the pool at most."""
    health = Health(64)
    for slot in (0, 1, 2):
        for _ in range(SOFT_LIMIT):
            health.judge(slot, Evidence.SOFT, started_at=0.0, now=0.0)
    assert groups(made(0, 0, 0, 0), health, 0.5) == [(0, [0, 3], -1)]


def test_trust_is_only_asked_for_in_doubt() -> None:
    """Without hard evidence against anybody there is none; soft evidence says nothing about others."""
    health = Health(64)
    health.proved(1, 0.0)
    assert made(0, 0).trusted(health, 0) is None
    for _ in range(SOFT_LIMIT):
        health.judge(0, Evidence.SOFT, started_at=0.0, now=0.0)
    assert made(0, 0).trusted(health, 0) is None


def test_trust_goes_to_the_latest_proofs() -> None:
    """Who proved itself about as late as the latest, of the nearest level beyond the given one, else of all."""
    health = broken(0)
    found = made(0, 1, 1, 1, 2)
    assert found.trusted(health, 0) is None
    for slot, at in ((1, 1.0), (2, 2.0), (3, 2.0 + PROOF_WINDOW_S), (4, 2.0 + PROOF_WINDOW_S)):
        health.proved(slot, at)
    for beyond in (0, 2):
        trusted = found.trusted(health, beyond)
        assert trusted is not None
        assert (trusted.priority, trusted.slots.tolist(), trusted.weights.tolist()) == (1, [2, 3], [3.0, 4.0])
    trusted = found.trusted(health, 1)
    assert trusted is not None
    assert trusted.slots.tolist() == [4]


def _checked(found: list[Group], health: Health, available: set[int], now: float) -> None:
    states = {slot: health.state(slot, now) for slot in available}
    for group in found:
        trials = [slot for slot in group.slots.tolist() if states[slot] == "half-open"]
        if "healthy" in states.values():
            assert trials == [group.on_trial] * (group.on_trial >= 0)
            assert group is found[0] or not trials
    named = np.concatenate([group.slots for group in found]).tolist()
    assert len(set(named)) == len(named)
    assert set(named) <= available
    assert {slot for slot, state in states.items() if state == "healthy"} <= set(named)


_ENDPOINTS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8)
_STEPS = st.lists(st.tuples(st.integers(0, 7), st.sampled_from([*Evidence, None]), st.floats(0, 5)), max_size=40)


@given(_ENDPOINTS, _STEPS)
def test_somebody_may_be_named_and_every_healthy_one_is_in_reach(
    endpoints: list[tuple[int, bool]], steps: list[tuple[int, Evidence | None, float]]
) -> None:
    """Whatever happened: groups are disjoint, ascend, hold every healthy one, and beside such no two on trial."""
    unavailable = [n for n, (_, is_available) in enumerate(endpoints) if not is_available]
    found = made(*(priority for priority, _ in endpoints), unavailable=unavailable)
    available = set(range(len(endpoints))) - set(unavailable)
    health, now = Health(64), 0.0
    for slot, evidence, wait in steps:
        now += wait
        if evidence is None:
            health.picked(slot, now)
        else:
            health.judge(slot, evidence, started_at=now, now=now)
        current = list(found.groups(health, now))
        assert bool(current) == bool(available)
        assert [group.priority for group in current] == sorted({group.priority for group in current})
        if current:
            _checked(current, health, available, now)


def degraded(health: Health, *slots: int) -> Health:
    """`health`, with what was found of these."""
    for slot in slots:
        health.found(slot, is_down=False, is_degraded=True)
    return health


def test_degraded_ones_come_after_all_levels() -> None:
    """As Envoy has it: the healthy ones of every level before the degraded ones of any."""
    levels = made(0, 0, 1, 1)
    assert groups(levels, degraded(broken(), 0, 2)) == [(0, [1], -1), (1, [3], -1), (0, [0], -1), (1, [2], -1)]
    assert groups(made(0, 0, 1, 1), degraded(broken(), 0, 1)) == [(1, [2, 3], -1), (0, [0, 1], -1)]


def test_a_degraded_level_is_left_step_by_step() -> None:
    """Where requests move by shares it serves its own until they have moved; one that has somebody better does not."""
    slots = Slots()
    endpoints = [EndpointSettings(address=f"10.0.0.{n}:1", priority=n // 2) for n in range(4)]
    gradual = levels(endpoints, slots, is_gradual=True)
    assert groups(gradual, degraded(broken(), 0, 1)) == [(0, [0, 1], -1), (1, [2, 3], -1)]
    assert groups(gradual, degraded(broken(0), 1)) == [(0, [1], -1), (1, [2, 3], -1)]
    assert groups(gradual, degraded(broken(), 0)) == [(0, [1], -1), (1, [2, 3], -1), (0, [0], -1)]
    assert groups(gradual, degraded(broken(0, 1))) == [(1, [2, 3], -1)]
    far = [group.slots.tolist() for group in gradual.groups(degraded(broken(), 0, 1), 0.0, start=1)]
    assert far == [[2, 3], [0, 1]]


def test_when_more_than_half_are_degraded_nobody_is() -> None:
    """Then it is the load."""
    assert groups(made(0, 0, 0), degraded(broken(), 0, 1)) == [(0, [0, 1, 2], -1)]


def test_degraded_and_ejected_ones() -> None:
    """Nobody is named who is ejected; who is due is tried in the first group, whatever that is."""
    levels = made(0, 0, 0, 0)
    assert groups(levels, degraded(broken(1), 0, 1)) == [(0, [2, 3], -1), (0, [0], -1)]
    assert groups(levels, degraded(broken(2, 3), 0, 1)) == [(0, [0, 1], -1)]
    assert groups(levels, degraded(broken(2), 0, 1), BACK_OFF_S) == [(0, [2, 3], 2), (0, [0, 1], -1)]


def test_who_is_down_is_not_named() -> None:
    """Unless more than half are: then not all of them, and of a pool that is down as a whole everybody."""
    health = broken()
    health.found(0, is_down=True, is_degraded=False)
    assert groups(made(0, 0, 1), health) == [(0, [1], -1), (1, [2], -1)]
    health.found(1, is_down=True, is_degraded=False)
    assert [sorted(slots) for _, slots, _ in groups(made(0, 0, 0), health)] == [[0, 2]]
    health.found(2, is_down=True, is_degraded=False)
    assert groups(made(0, 0, 0), health) == [(0, [0, 1, 2], -1)]


def sharing(*percents: int, priorities: Sequence[int] = (0, 1, 2)) -> Levels:
    """Two endpoints for each of three levels, which have these shares of the requests."""
    slots = Slots()
    endpoints = [EndpointSettings(address=f"10.0.0.{n}:80", priority=priorities[n // 2]) for n in range(6)]
    shares = [ShareSettings(priority=p, percent=s, why=f"to {p}") for p, s in zip(priorities, percents, strict=True)]
    return levels(endpoints, slots, shares)


def test_lots_fall_on_levels_by_their_shares() -> None:
    """The nearest levels have the low lots; a step of a shift moves only the requests of that step."""
    found = sharing(60, 30, 10)
    assert [found.start(lot)[0] for lot in (0.0, 59.9, 60.0, 89.9, 90.0, 99.99)] == [0, 0, 1, 1, 2, 2]
    assert [found.start(lot)[1] for lot in (0.0, 60.0, 90.0)] == ["", "to 1", "to 2"]
    less = sharing(40, 50, 10)
    for lot in range(100):
        was, now = found.start(lot)[0], less.start(lot)[0]
        assert (was, now) == ((0, 1) if 40 <= lot < 60 else (was, was))
    assert [sharing(0, 100, 0).start(lot)[0] for lot in (0.0, 99.0)] == [1, 1]


def test_without_shares_all_begin_at_the_nearest() -> None:
    """Also where those of levels that there are make nothing, or not all."""
    assert made(0, 1).starts == ()
    assert made(0, 1).start(99.0) == (0, "")
    assert sharing(0, 0, 0).start(99.0) == (0, "")
    half = levels(
        [EndpointSettings(address="10.0.0.1:80"), EndpointSettings(address="10.0.0.2:80", priority=5)],
        Slots(),
        [ShareSettings(priority=0, percent=10), ShareSettings(priority=5, percent=10)],
    )
    assert [half.start(lot)[0] for lot in (49.0, 51.0)] == [0, 1]


def test_the_level_of_the_lot_comes_first() -> None:
    """Then the others, nearest first; a level without anybody sound is passed over."""

    def priorities(health: Health, start: int) -> list[int]:
        return [group.priority for group in sharing(40, 30, 30).groups(health, 0.0, start)]

    assert priorities(broken(), 1) == [1, 0, 2]
    assert priorities(broken(), 2) == [2, 0, 1]
    assert priorities(broken(2, 3), 1) == [0, 2]
    assert priorities(broken(0, 1, 2, 3), 1) == [2]


def test_a_trial_of_a_nearer_level_comes_first() -> None:
    """Or nobody would find out that the level is well again: alone, once, and not one of a further level."""
    health = broken(0, 1)
    found = sharing(0, 100, 0)
    now = BACK_OFF_S
    assert [(g.priority, g.slots.tolist(), g.on_trial) for g in found.groups(health, now, 1)] == [
        (0, [0], 0),
        (1, [2, 3], -1),
        (2, [4, 5], -1),
    ]
    health.picked(0, now)
    assert next(found.groups(health, now, 1)).slots.tolist() == [1]
    health.picked(1, now)
    assert next(found.groups(health, now, 1)).slots.tolist() == [2, 3]
    assert next(found.groups(broken(4), BACK_OFF_S, 1)).slots.tolist() == [2, 3]


@given(st.lists(st.integers(0, 99), min_size=1, max_size=50), st.integers(0, 100))
def test_every_lot_has_a_level(lots: list[int], first: int) -> None:
    """Whatever the shares, and as many as they say."""
    found = sharing(first, 100 - first, 0)
    assert all(found.start(lot)[0] == (lot >= first) for lot in lots)


def test_lots() -> None:
    """From 0 to below 100, spread evenly by turns as by hashes."""
    turns = [turn_lot(turn) for turn in range(50)]
    for count in (10, 20, 50):
        assert abs(sum(lot < 20 for lot in turns[:count]) - count / 5) <= 1
    assert (lot_of(0), lot_of(2**31), lot_of(2**64 - 1) < 100) == (0.0, 50.0, True)
