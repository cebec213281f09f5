"""Whom the picker asks for a token itself, when, and what follows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.evidence import Evidence
from ext_proc.core.health import SOFT_LIMIT, Health
from ext_proc.core.settings import HealthSettings, TrialSettings
from ext_proc.core.trials import (
    AGAIN_S,
    CALM_S,
    FIRST_S,
    LOST_S,
    MAX_AT_ONCE,
    MAX_OF_POOL,
    MAX_PAUSE_S,
    UNABLE_S,
    Trials,
)

TRIAL = TrialSettings(timeout_s=5.0)
SETTINGS = HealthSettings(trial=TRIAL)


ONLY = np.array([1])
"""The slots of a pool of one."""


class Bench:
    """Slots 0 to 3, all but the last of which may be asked. Mutable: health and trials."""

    def __init__(self) -> None:
        self.health = Health(8)
        self.trials = Trials(self.health)
        self.trials.configure({**dict.fromkeys(range(3), SETTINGS), 3: HealthSettings()})
        for slot in range(3):
            self.health.watch(slot, is_watched=True)

    def fail(self, slot: int, at: float, evidence: Evidence = Evidence.HARD) -> None:
        """Requests fail until it is ejected."""
        for _ in range(SOFT_LIMIT):
            self.health.judge(slot, evidence, started_at=at, now=at)

    def try_(self, slot: int, at: float, evidence: Evidence | None) -> bool:
        """It is due, is asked, and that comes of it at once."""
        assert self.trials.due(at) == [slot]
        self.trials.began(slot, at)
        assert self.trials.due(at) == []
        return self.trials.ended(slot, evidence, at, at)

    def next_due(self, slot: int, after: float) -> float:
        """When it is due next, by tenths of a second."""
        return next(after + n / 10 for n in range(1_000) if slot in self.trials.due(after + n / 10))


def test_who_failed_is_asked_less_and_less_often() -> None:
    """After one second, then two, four, five, five more; nobody else is asked."""
    bench = Bench()
    bench.fail(1, 10.0)
    bench.fail(3, 10.0)
    now, pauses = 10.0, []
    for _ in range(5):
        due = bench.next_due(1, now)
        pauses.append(round(due - now, 1))
        bench.try_(1, due, Evidence.GONE)
        now = due
    assert pauses == [FIRST_S, 2.0, 4.0, MAX_PAUSE_S, MAX_PAUSE_S]
    assert bench.health.state(1, now) == "ejected"


def test_two_answers_end_an_ejection() -> None:
    """The first is a sign of life, so that a request may try it; with the second it needs none."""
    bench = Bench()
    bench.fail(1, 10.0)
    assert not bench.try_(1, 11.0, Evidence.GOOD)
    assert bench.health.state(1, 11.0) == "half-open"
    assert bench.next_due(1, 11.0) == 11.0 + AGAIN_S
    assert bench.try_(1, 12.0, Evidence.GOOD)
    assert bench.health.state(1, 12.0) == "healthy"
    assert bench.trials.due(100.0) == []


def test_an_answer_that_fails_again() -> None:
    """Nobody is sent there any more, and answers are counted from the start."""
    bench = Bench()
    bench.fail(1, 10.0)
    bench.try_(1, 11.0, Evidence.GOOD)
    bench.try_(1, 12.0, Evidence.TIMEOUT)
    assert bench.health.state(1, 12.0) == "ejected"
    bench.try_(1, 14.0, Evidence.GOOD)
    assert bench.health.state(1, 14.0) == "half-open"


def test_full_is_alive_and_no_more() -> None:
    """A request may try it; it is not readmitted by that alone."""
    bench = Bench()
    bench.fail(1, 10.0)
    for at in (11.0, 12.0, 13.0):
        assert not bench.try_(1, at, Evidence.ALIVE)
    assert bench.health.state(1, 13.0) == "half-open"


def test_a_longer_back_off_is_waited_for() -> None:
    """It fails what users send and answers us: it comes back later and later."""
    bench = Bench()
    bench.fail(1, 10.0, Evidence.SOFT)
    bench.try_(1, 11.0, Evidence.GOOD)
    bench.health.picked(1, 11.1)
    bench.health.judge(1, Evidence.SOFT, started_at=11.1, now=11.2)
    assert not bench.try_(1, 12.2, Evidence.GOOD)
    assert bench.health.state(1, 12.2) == "ejected"
    assert bench.try_(1, 13.2, Evidence.GOOD)
    assert bench.health.state(1, 13.2) == "healthy"


def test_a_suspect_is_asked_until_it_is_ejected() -> None:
    """One request got an error; two of ours do: it is out. What is merely slow is left alone."""
    bench = Bench()
    bench.health.judge(1, Evidence.SOFT, started_at=10.0, now=10.0)
    bench.trials.suspect(1, 10.0)
    bench.try_(1, 10.0, Evidence.SOFT)
    assert bench.health.state(1, 10.0) == "healthy"
    bench.try_(1, 10.1, Evidence.SOFT)
    assert bench.health.state(1, 10.1) == "ejected"
    bench.health.judge(2, Evidence.SOFT, started_at=10.0, now=10.0)
    bench.trials.suspect(2, 10.2)
    bench.try_(2, 10.2, Evidence.TIMEOUT)
    assert bench.health.state(2, 10.2) == "healthy"


def poisoned(bench: Bench, at: float, *, own: Evidence) -> None:
    """Three requests in a row fail at slot 1; after the first one our own token is answered like that."""
    for n in range(SOFT_LIMIT):
        bench.health.judge(1, Evidence.SOFT, started_at=at + n / 10, now=at + n / 10)
        bench.trials.suspect(1, at + n / 10)
        if n == 0:
            bench.try_(1, at, own)


def test_prompts_that_break_it_do_not_lose_a_pool() -> None:
    """The only endpoint of a pool fails three requests and answers ours: it is out, but the pool is not lost. A good
    answer forgives it all."""
    bench = Bench()
    poisoned(bench, 10.0, own=Evidence.GOOD)
    assert bench.health.state(1, 10.3) == "ejected"
    assert not bench.health.is_lost(ONLY)
    assert bench.health.blocked(ONLY, 10.3) is None
    bench.health.judge(1, Evidence.GOOD, started_at=10.4, now=10.5)
    assert bench.health.state(1, 10.5) == "healthy"


@pytest.mark.parametrize("own", [Evidence.TIMEOUT, Evidence.NONE])
def test_who_does_not_answer_us_loses_it(own: Evidence) -> None:
    """Then it is not the requests, as far as anybody knows."""
    bench = Bench()
    poisoned(bench, 10.0, own=own)
    assert bench.health.is_lost(ONLY)


def test_an_engine_that_answers_only_us_loses_it() -> None:
    """One request more that fails, and the pool is lost; the second time in a row nobody believes our token."""
    bench = Bench()
    poisoned(bench, 10.0, own=Evidence.GOOD)
    bench.health.judge(1, Evidence.SOFT, started_at=10.5, now=10.6)
    assert bench.health.is_lost(ONLY)
    bench.try_(1, 11.2, Evidence.GOOD)
    assert not bench.health.is_lost(ONLY)
    bench.health.picked(1, 11.3)
    bench.health.judge(1, Evidence.SOFT, started_at=11.3, now=11.4)
    assert bench.health.is_lost(ONLY)
    bench.try_(1, bench.next_due(1, 11.4), Evidence.GOOD)
    assert bench.health.is_lost(ONLY)


def test_hard_evidence_loses_it() -> None:
    """Nobody vouches for one that refuses connections, whatever it answered before; nor is one that others find broken
    saved by that."""
    bench = Bench()
    poisoned(bench, 10.0, own=Evidence.GOOD)
    bench.health.found(1, is_down=True, is_degraded=False)
    assert bench.health.is_lost(ONLY)
    bench = Bench()
    bench.health.judge(1, Evidence.SOFT, started_at=10.0, now=10.0)
    bench.trials.suspect(1, 10.0)
    bench.try_(1, 10.0, Evidence.GOOD)
    bench.health.judge(1, Evidence.GONE, started_at=10.1, now=10.1)
    assert bench.health.is_lost(ONLY)


def test_one_found_broken_that_does_not_answer() -> None:
    """Then slow is no excuse: three times in vain, and it is out."""
    bench = Bench()
    bench.health.found(1, is_down=True, is_degraded=False)
    bench.trials.suspect(1, 10.0)
    for at in (10.0, 15.0, 20.0):
        assert bench.health.state(1, at) == "healthy"
        bench.try_(1, at, Evidence.TIMEOUT)
    assert bench.health.state(1, 20.0) == "ejected"


def test_a_suspect_that_answers_is_asked_seldom() -> None:
    """Some requests fail there, ours do not: one look in a second, and only while there are errors."""
    bench = Bench()
    bench.trials.suspect(1, 10.0)
    bench.try_(1, 10.0, Evidence.GOOD)
    bench.trials.suspect(1, 10.5)
    assert bench.trials.due(10.5) == []
    assert bench.trials.due(20.0) == []
    bench.trials.suspect(1, 20.0)
    assert bench.trials.due(20.0) == [1]
    assert bench.next_due(1, 20.0) == 20.0
    assert CALM_S == 1.0


def test_nobody_is_tried_where_requests_eject_nobody() -> None:
    """The policy does not want to hear of failures; tries would eject in their place."""
    bench = Bench()
    bench.trials.configure({1: HealthSettings(trial=TRIAL, attempts=False)})
    bench.trials.suspect(1, 10.0)
    assert bench.trials.due(10.0) == []
    assert not bench.trials.looks_after(1)


@pytest.mark.parametrize("slot", [1, 3])
def test_nobody_is_asked_without_reason(slot: int) -> None:
    """Who is well, and whose pool does not want it."""
    bench = Bench()
    if slot == 3:
        bench.fail(3, 10.0)
        bench.trials.suspect(3, 10.0)
    assert bench.trials.due(1_000.0) == []


def test_who_cannot_be_asked() -> None:
    """It is left alone for a minute; then it is asked again if it is still out."""
    bench = Bench()
    bench.fail(1, 10.0)
    bench.try_(1, 11.0, None)
    assert not bench.trials.looks_after(1)
    assert bench.trials.look(12.0) == []
    assert bench.trials.due(12.0) == []
    assert bench.trials.look(11.0 + UNABLE_S) == [1]
    assert bench.trials.looks_after(1)
    assert bench.trials.due(11.0 + UNABLE_S) == [1]


def test_a_try_that_is_lost() -> None:
    """Nobody ever tells what came of it: long after its limit another one is made."""
    bench = Bench()
    bench.fail(1, 10.0)
    assert bench.trials.due(11.0) == [1]
    bench.trials.began(1, 11.0)
    assert bench.next_due(1, 11.0) == pytest.approx(11.0 + TRIAL.timeout_s + LOST_S, abs=0.11)


def test_who_waits_longest_is_asked_first() -> None:
    """Where there is room for one only: whoever was asked, and failed, does not keep the others from it."""
    bench = Bench()
    for slot in range(3):
        bench.fail(slot, 10.0)
    asked, now = [], 20.0
    for _ in range(6):
        slot = bench.trials.due(now)[0]
        asked.append(slot)
        bench.trials.began(slot, now)
        now += TRIAL.timeout_s
        bench.trials.ended(slot, Evidence.TIMEOUT, now - TRIAL.timeout_s, now)
    assert asked == [0, 1, 2, 0, 1, 2]


def test_a_pool_that_hangs_leaves_places_to_the_others() -> None:
    """A hundred of one pool are out and take each try's whole limit; who is out elsewhere is asked as if they were not,
    and where two pools are large, the third one gets the next place that is free."""
    health = Health(210)
    trials = Trials(health)
    pools = {slot: "large" if slot < 100 else "other" if slot < 200 else "small" for slot in range(210)}
    trials.configure(dict.fromkeys(pools, SETTINGS), pools)

    def begin(now: float, most: int) -> list[str]:
        slots = trials.due(now, most)
        for slot in slots:
            trials.began(slot, now)
        return [pools[slot] for slot in slots]

    for slot in range(100):
        health.judge(slot, Evidence.GONE, started_at=0.0, now=0.0)
    assert begin(10.0, MAX_AT_ONCE) == ["large"] * MAX_OF_POOL
    assert begin(10.1, MAX_AT_ONCE - MAX_OF_POOL) == []
    for slot in range(100, 210):
        health.judge(slot, Evidence.GONE, started_at=11.0, now=11.0)
    first = begin(12.0, MAX_AT_ONCE - MAX_OF_POOL)
    assert (first.count("other"), first.count("small")) == (8, 8)
    for slot in range(200, 203):
        trials.ended(slot, Evidence.TIMEOUT, 12.0, 12.1)
    assert begin(12.2, 3) == ["small", "small", "other"], "as many as they have"


def test_whose_pages_come_back_is_asked_at_once() -> None:
    """A pod that was restarted; one whose pages never went away is not asked more often for that."""
    bench = Bench()
    bench.fail(1, 10.0)
    bench.try_(1, 11.0, Evidence.GONE)
    bench.try_(1, 13.0, Evidence.GONE)
    bench.trials.page(1, 13.5, is_there=False)
    bench.trials.page(1, 14.0, is_there=True)
    assert bench.trials.due(14.0) == [1]
    bench.try_(1, 14.0, Evidence.GONE)
    bench.trials.page(1, 14.5, is_there=True)
    assert bench.trials.due(14.5) == []
    bench.trials.page(0, 14.5, is_there=True)


def test_other_settings() -> None:
    """Who is not to be asked any more is not, not even if it was due; a result that comes late changes nothing."""
    bench = Bench()
    bench.fail(1, 10.0)
    assert bench.trials.due(11.0) == [1]
    bench.trials.began(1, 11.0)
    bench.trials.configure({})
    assert bench.trials.due(12.0) == []
    assert not bench.trials.ended(1, Evidence.GOOD, 11.0, 12.0)
    assert bench.health.state(1, 12.0) == "ejected"


_STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from([*Evidence, None, "page", "dark", "request", "pick"]), st.floats(0, 4)
    ),
    max_size=50,
)


@given(_STEPS)
def test_whoever_lives_comes_back(steps: list[tuple[int, Evidence | str | None, float]]) -> None:
    """Whatever happened before: once tries are answered, nobody is out after the longest waits. No two tries run."""
    bench, now = Bench(), 0.0
    running: dict[int, float] = {}
    for slot, what, wait in steps:
        now += wait
        for due in bench.trials.due(now):
            assert due not in running or now - running[due] > TRIAL.timeout_s
            bench.trials.began(due, now)
            running[due] = now
        match what:
            case "page" | "dark":
                bench.trials.page(slot, now, is_there=what == "page")
            case "request":
                bench.health.judge(slot, Evidence.SOFT, started_at=now, now=now)
                bench.trials.suspect(slot, now)
            case "pick":
                bench.health.picked(slot, now)
            case _ if slot in running:
                bench.trials.ended(slot, what, running.pop(slot), now)  # type: ignore[arg-type]
            case _:
                pass
    for _ in range(200):
        now += 1.0
        bench.trials.look(now)
        for due in bench.trials.due(now):
            bench.trials.began(due, now)
            bench.trials.ended(due, Evidence.GOOD, now, now)
    assert not list(bench.health.out())
