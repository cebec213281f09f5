"""Requests move between places: at once from a dark one, else step by step, and back only after a while."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.seen import ALL, Change, Seen, ShiftRule, State
from control_plane.fleet.zones import Shift

RULE = ShiftRule(step=25, every_s=1.0, min_healthy=50, max_errors=5, stable_s=10.0, offline_after_s=3.0, spill_at=1.0)
FINE = Seen(total=4, usable=4, healthy=4)
ILL = Seen(total=4, usable=4, healthy=1)
DARK = Seen(total=4, usable=0, healthy=0)


class Play:
    """A pool over time, seen four times a second. Mutable: the time, what is seen, what was told."""

    def __init__(self, rule: ShiftRule = RULE, **seen: Seen) -> None:
        self.shift = Shift()
        self.rule = rule
        self.now = 100.0
        self.seen = dict(seen)
        self.told: list[Change] = []
        self.look()

    def look(self) -> None:
        """One look."""
        self.told += self.shift.look(self.now, self.seen, self.rule)

    def go(self, seconds: float, **seen: Seen) -> list[int]:
        """Lets time pass while that is seen; gives the shares at the end."""
        self.seen |= seen
        for _ in range(round(4 * seconds)):
            self.now += 0.25
            self.look()
        return list(self.shift.shares.values())

    def states(self) -> list[str]:
        """Of all places."""
        return [row["state"] for row in self.shift.rows(self.now)]


def test_the_nearest_place_has_everything() -> None:
    """While it is well, whatever the others are."""
    play = Play(a=FINE, b=FINE, c=DARK)
    assert play.go(60, b=ILL) == [100, 0, 0]
    assert play.states() == ["active", "degraded", "offline"]
    assert play.shift.is_plain


def test_a_dark_place_is_left_at_once() -> None:
    """From the same look on; the next one that is ready takes all of it."""
    play = Play(a=FINE, b=FINE)
    assert play.go(0.25, a=DARK) == [0, 100]
    assert play.states() == ["offline", "active"]
    assert (play.shift.why("b"), play.shift.why("a")) == ("failover from a", "")
    assert play.told == [Change("a", State.ACTIVE, State.OFFLINE, "none of 4 endpoints can be used")]


def test_failback_waits_and_is_gradual() -> None:
    """Nothing before it was ready for ten seconds without a break; then a quarter each second."""
    play = Play(a=FINE, b=FINE)
    play.go(5, a=DARK)
    assert play.go(8, a=FINE) == [0, 100]
    assert play.states() == ["failover", "active"]
    assert play.go(1, a=ILL) == [0, 100]
    assert play.go(9.75, a=FINE) == [0, 100]
    shares = [play.go(0.25)[0] for _ in range(20)]
    assert shares == sorted(shares)
    assert {25, 50, 75, 100} <= set(shares)
    steps = [after - before for before, after in zip([0, *shares], shares, strict=False)]
    assert max(steps) == 25
    assert play.states() == ["active", "active"]
    assert [change.now.value for change in play.told] == ["offline", "failover", "active"]


def test_a_blink_costs_nothing() -> None:
    """Dark for less than three seconds: all is as it was at once; a second time soon after, it is not believed."""
    play = Play(a=FINE, b=FINE)
    assert play.go(2, a=DARK) == [0, 100]
    assert play.go(0.25, a=FINE) == [100, 0]
    assert play.go(1, a=DARK) == [0, 100]
    assert play.go(5, a=FINE) == [0, 100]
    assert play.go(20) == [100, 0]


def test_a_failing_place_is_left_step_by_step() -> None:
    """While it serves; it stops where it is ready again, and only returns after a while."""
    play = Play(a=FINE, b=FINE)
    shares = [play.go(0.25, a=ILL)[0] for _ in range(8)]
    assert shares == [100, 100, 100, 75, 75, 75, 75, 50]
    assert play.states() == ["failover", "active"]
    assert play.go(9, a=FINE) == [50, 50]
    assert play.go(5) == [100, 0]
    assert play.go(10, a=ILL) == [0, 100]
    assert play.go(0.25, b=DARK) == [100, 0], "at once back to whoever serves"


def test_nobody_ready_nobody_moves() -> None:
    """The target is verified before a switch; a shift that was under way is undone."""
    play = Play(a=FINE, b=ILL)
    assert play.go(20, a=ILL) == [100, 0]
    assert play.states() == ["degraded", "degraded"]
    assert play.go(2.5, b=FINE) == [50, 50]
    assert play.go(4, b=ILL) == [100, 0]


def test_a_dark_place_leaves_to_the_best_there_is() -> None:
    """Next in the order that is ready; if none is, whoever has the most healthy endpoints."""
    play = Play(a=FINE, b=ILL, c=FINE)
    assert play.go(1, a=DARK) == [0, 0, 100]
    play = Play(a=FINE, b=Seen(total=4, usable=1, healthy=0), c=ILL)
    assert play.go(1, a=DARK) == [0, 0, 100]
    play = Play(a=FINE, b=DARK, c=DARK)
    assert play.go(5, a=DARK) == [100, 0, 0], "all are dark: it is as if nothing were known"


def test_errors_at_the_target_take_a_step_back() -> None:
    """Five percent of the tries of a step are too many; then there is a pause."""
    play = Play(a=FINE, b=FINE)
    assert play.go(2.25, a=ILL) == [50, 50]
    tried = replace(FINE, tries=100, failures=6)
    assert play.go(1, b=tried) == [75, 25]
    assert play.go(9, b=tried) == [75, 25]
    assert play.go(1, b=replace(tried, tries=200, failures=11)) == [50, 50], "5 of 100 are not too many"


def test_few_tries_are_no_rate() -> None:
    """One failure of one try stops nothing."""
    play = Play(a=FINE, b=FINE)
    assert play.go(2.25, a=ILL) == [50, 50]
    assert play.go(1, b=replace(FINE, tries=1, failures=1)) == [25, 75]


def test_errors_of_a_returning_place_begin_the_wait_anew() -> None:
    """It takes its step back, and ten more seconds pass."""
    play = Play(a=FINE, b=FINE)
    play.go(5, a=DARK)
    assert play.go(12.25, a=FINE) == [50, 50]
    failing = replace(FINE, tries=10, failures=5)
    assert play.go(1, a=failing) == [25, 75]
    assert play.go(9.5) == [25, 75]
    assert play.go(4) == [100, 0]


@pytest.mark.parametrize("worse", [ILL, replace(FINE, tries=100, failures=50)])
def test_who_is_back_does_not_wait_while_others_fail(worse: Seen) -> None:
    """Step by step, but from now on: the place that serves is not ready any more, or its tries fail."""
    play = Play(a=FINE, b=FINE)
    play.go(5, a=DARK)
    assert play.go(2, a=FINE) == [0, 100]
    assert play.go(1, b=worse) == [25, 75]


def test_a_full_place_spills_what_it_cannot_take() -> None:
    """Half as much again as it can take: a third goes elsewhere, by steps, and comes back when there is room."""
    play = Play(a=FINE, b=FINE)
    play.go(60, a=replace(FINE, load=0.9))
    assert play.go(20, a=replace(FINE, load=1.1), b=replace(FINE, load=1.2)) == [100, 0], "nobody has room"
    play = Play(a=replace(FINE, load=1.5), b=replace(FINE, load=0.2))
    assert play.go(1) == [75, 25]
    assert play.shift.why("b") == "spill-over from a"
    assert play.states() == ["degraded", "active"]
    assert play.go(1) == [50, 50]
    play = Play(a=replace(FINE, load=1.1), b=FINE)
    assert play.go(1) == [90, 10]
    kept, spilled = play.go(30, a=replace(FINE, load=0.95))
    assert kept < 100
    assert play.go(30) == [kept, spilled], "it would be too full again"
    assert play.go(30, a=replace(FINE, load=0.5)) == [100, 0]


def spilled(rate: float) -> list[tuple[int, float]]:
    """The nearer place's share and the higher load, over time, once it should have settled.

    Ten requests a second are what each of two places can serve, two seconds each."""
    rule = ShiftRule()
    shift, at, now = Shift(), {"a": 0.0, "b": 0.0}, 0.0
    tail = []
    while now < 300:
        shares = shift.shares or {"a": 100, "b": 0}
        for name in at:
            at[name] += 0.25 * (rate * shares[name] / 100 - min(at[name], 20.0) / 2.0)
        load = {name: count / 20.0 if count > 20.0 else 0.8 * count / 20.0 for name, count in at.items()}
        shift.look(now, {name: replace(FINE, load=load[name]) for name in at}, rule)
        now += 0.25
        if now > 150:
            tail.append((shift.shares["a"], max(load.values())))
    return tail


@pytest.mark.parametrize(("rate", "kept"), [(9, (100, 100)), (11, (70, 95)), (15, (45, 70))])
def test_spilling_settles(rate: float, kept: tuple[int, int]) -> None:
    """Queues are late to show what moves, and yet the shares come to rest where neither has one."""
    tail = spilled(rate)
    assert len({share for share, _ in tail}) == 1
    assert kept[0] <= tail[-1][0] <= kept[1]
    assert max(full for _, full in tail) <= 1.0


@pytest.mark.parametrize("rate", [19, 25])
def test_two_full_places_do_not_swing(rate: float) -> None:
    """Nor where both have queues, and those of one place take long to show: a turn is smaller than the one before."""
    shares = [share for share, _ in spilled(rate)]
    assert max(shares) - min(shares) <= 20


def test_what_was_tried_before_a_place_was_gone_is_no_news() -> None:
    """Its endpoints drain and are back with the counts that they had: failures of long ago undo no step."""
    rule = replace(RULE, every_s=12.0)
    tried = replace(FINE, tries=100, failures=50)
    play = Play(rule, a=tried, b=FINE)
    del play.seen["a"]
    play.go(5)
    play.seen = {"a": tried, **play.seen}
    assert play.go(12) == [25, 75]


def test_spilling_can_be_switched_off() -> None:
    """And nothing spills over where nobody knows how full a place is."""
    play = Play(replace(RULE, spill_at=None), a=replace(FINE, load=3.0), b=FINE)
    assert play.go(60) == [100, 0]
    assert Play(a=FINE, b=FINE).go(60) == [100, 0]


def test_the_first_look_believes_what_it_sees() -> None:
    """Nothing has been anywhere yet: there is nothing to be gradual about."""
    assert Play(a=ILL, b=FINE).go(0.25) == [0, 100]
    assert Play(a=DARK, b=ILL, c=FINE).go(0.25) == [0, 0, 100]
    assert Play(a=ILL, b=ILL).go(0.25) == [100, 0]


def test_a_nearer_place_that_appears_begins_with_nothing() -> None:
    """Its pods were gone from discovery, and are back, cold; so is one that a policy adds."""
    play = Play(b=FINE, c=FINE)
    assert play.go(4) == [100, 0]
    play.seen = {"a": FINE, **play.seen}
    assert play.go(9) == [0, 100, 0]
    assert play.go(2) == [25, 75, 0]
    del play.seen["a"]
    assert play.go(0.25) == [0, 100, 0]
    assert play.states() == ["offline", "active", "active"]


def test_a_place_whose_endpoints_are_gone_is_dark() -> None:
    """Where it stood, until it is forgotten; with nobody anywhere the shares still add up."""
    play = Play(a=FINE, b=FINE, c=FINE)
    del play.seen["b"]
    assert play.go(599) == [100, 0, 0]
    assert play.states() == ["active", "offline", "active"]
    assert play.shift.rows(play.now)[1]["why"] == "it has no endpoints any more"
    assert play.go(2) == [100, 0]
    play.seen = {}
    assert play.go(10) == [100, 0]
    assert play.go(591) == []


def test_a_nearer_place_that_is_found_late_was_there() -> None:
    """At a start discovery finds one place after the other."""
    play = Play(b=FINE)
    assert play.go(2) == [100]
    play.seen = {"a": FINE, **play.seen}
    assert play.go(0.25) == [100, 0]


def test_the_rule_of_a_new_policy_holds_at_once() -> None:
    """What is under way goes on under it."""
    play = Play(a=FINE, b=FINE)
    play.go(5, a=DARK)
    play.go(1, a=FINE)
    play.rule = replace(RULE, stable_s=2.0, step=100)
    assert play.go(2) == [100, 0]


SEEN = st.builds(
    lambda total, usable, healthy, load, tries, share: Seen(
        total=total,
        usable=min(usable, total),
        healthy=min(healthy, usable, total),
        load=load,
        tries=tries,
        failures=int(tries * share),
    ),
    total=st.integers(1, 6),
    usable=st.integers(0, 6),
    healthy=st.integers(0, 6),
    load=st.none() | st.floats(0, 5),
    tries=st.integers(0, 50),
    share=st.floats(0, 1),
)


@given(
    looks=st.lists(
        st.tuples(st.floats(0, 5), st.dictionaries(st.sampled_from("abc"), SEEN, min_size=1)), min_size=1, max_size=40
    )
)
def test_whatever_is_seen(looks: list[tuple[float, dict[str, Seen]]]) -> None:
    """Shares add up to 100, and no dark place has one while another is not dark."""
    shift, now = Shift(), 0.0
    for passed, seen in looks:
        now += passed
        ordered = {name: seen[name] for name in sorted(seen)}
        shift.look(now, ordered, RULE)
        shares = shift.shares
        assert [name for name in shares if name in seen] == sorted(seen)
        assert sum(shares.values()) == ALL
        assert min(shares.values()) >= 0
        if any(not one.is_dark for one in ordered.values()):
            assert all(not share or not ordered.get(name, DARK).is_dark for name, share in shares.items())
        for row in shift.rows(now):
            assert (row["state"] == "offline") == ordered.get(row["place"], DARK).is_dark


@given(
    dark_s=st.integers(4, 20),
    spells=st.lists(st.tuples(st.sampled_from([FINE, FINE, ILL]), st.integers(1, 60)), max_size=6),
    step=st.integers(1, 100),
)
def test_failback_is_never_early_nor_faster_than_its_steps(
    dark_s: int, spells: list[tuple[Seen, int]], step: int
) -> None:
    """Whatever the place does after it was offline: nothing before it was ready for long enough, and then by steps."""
    play = Play(replace(RULE, step=step), a=FINE, b=FINE)
    play.go(dark_s, a=DARK)
    ready_s, before = 0.0, 0
    for seen in [seen for seen, looks in spells for _ in range(looks)]:
        (share, _) = play.go(0.25, a=seen)
        ready_s = ready_s + 0.25 if seen is FINE else 0.0
        if share > before:
            assert ready_s >= RULE.stable_s
            assert share - before <= step
        before = share


@given(step=st.integers(5, 60))
def test_a_shift_only_goes_one_way(step: int) -> None:
    """As long as nothing else changes, away and back."""
    play = Play(replace(RULE, step=step), a=FINE, b=FINE)
    away = [play.go(0.25, a=ILL)[0] for _ in range(4 * 22)]
    assert away == sorted(away, reverse=True)
    assert away[-1] == 0
    back = [play.go(0.25, a=FINE)[0] for _ in range(4 * 32)]
    assert back == sorted(back)
    assert back[-1] == ALL
