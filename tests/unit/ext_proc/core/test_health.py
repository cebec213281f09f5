"""Health: what counts as evidence, ejection and back-off, half open, shares and panic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import AttemptEnded, RequestEnded
from ext_proc.core.health import (
    BACK_OFF_S,
    MAX_BACK_OFF_S,
    PROBE_WAIT_S,
    SOFT_LIMIT,
    Evidence,
    Health,
    evidence_of_attempt,
    evidence_of_request,
)

POOL = np.arange(4)


def named(health: Health, now: float, pool: "np.typing.NDArray[np.int64]" = POOL) -> list[int]:
    """The slots that may be named."""
    blocked = health.blocked(pool, now)
    return [int(slot) for slot in (pool if blocked is None else pool[~blocked])]


def fail(health: Health, slot: int, evidence: Evidence, *, at: float, times: int = 1) -> None:
    """Requests that begin and fail at once."""
    for _ in range(times):
        health.judge(slot, evidence, started_at=at, now=at)


@pytest.mark.parametrize(
    ("status", "flags", "failure", "evidence"),
    [
        (503, ("UF",), "delayed connect error: Connection refused", Evidence.GONE),
        (503, ("UF",), "immediate connect error: 111", Evidence.GONE),
        (503, ("UF", "URX"), "connection timeout", Evidence.HARD),
        (0, ("UC",), "", Evidence.HARD),
        (503, ("UR",), "", Evidence.HARD),
        (200, ("UC",), "", Evidence.SOFT),
        (504, ("UT",), "", Evidence.SOFT),
        (502, ("UPE",), "", Evidence.SOFT),
        (500, (), "", Evidence.SOFT),
        (501, (), "", Evidence.NONE),
        (503, (), "", Evidence.ALIVE),
        (429, (), "", Evidence.ALIVE),
        (503, ("UO",), "", Evidence.NONE),
        (0, ("DC",), "", Evidence.NONE),
        (200, (), "", Evidence.NONE),
        (400, (), "", Evidence.NONE),
    ],
)
def test_evidence_of_attempts(status: int, flags: tuple[str, ...], failure: str, evidence: Evidence) -> None:
    """Connection troubles are hard, errors and timeouts soft, full is alive, and 200 alone says nothing."""
    event = AttemptEnded(decision_id="d", address="a", at=0, status=status, flags=flags, failure=failure)
    assert evidence_of_attempt(event) is evidence


@pytest.mark.parametrize(
    ("event", "evidence"),
    [
        (RequestEnded(decision_id="d", at=0, status=200, served="a"), Evidence.GOOD),
        (RequestEnded(decision_id="d", at=0, status=404, served="a"), Evidence.GOOD),
        (RequestEnded(decision_id="d", at=0, status=200, served="a", flags=("SI",)), Evidence.SOFT),
        (RequestEnded(decision_id="d", at=0, status=200, served="a", aborted=True), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=200, served="a", flags=("DC",)), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=200), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=429, served="a"), Evidence.NONE),
        (RequestEnded(decision_id="d", at=0, status=500, served="a"), Evidence.NONE),
    ],
)
def test_evidence_of_requests(event: RequestEnded, evidence: Evidence) -> None:
    """A whole answer is good, silence after headers is soft, aborts and errors say nothing here."""
    assert evidence_of_request(event) is evidence


def test_hard_evidence_ejects_at_once() -> None:
    """One refused connection, and the endpoint is left alone for a second."""
    health = Health(8)
    assert health.blocked(POOL, 0.0) is None
    fail(health, 2, Evidence.GONE, at=10.0)
    assert named(health, 10.0) == [0, 1, 3]
    assert health.state(2, 10.0) == "ejected"
    assert health.state(1, 10.0) == "healthy"
    assert named(health, 10.0 + BACK_OFF_S) == [0, 1, 2, 3]
    assert health.state(2, 10.0 + BACK_OFF_S) == "half-open"


def test_soft_evidence_ejects_after_three_in_a_row() -> None:
    """A success in between starts the count anew."""
    health = Health(8)
    fail(health, 2, Evidence.SOFT, at=1.0, times=SOFT_LIMIT - 1)
    health.judge(2, Evidence.GOOD, started_at=0.0, now=1.0)
    fail(health, 2, Evidence.SOFT, at=2.0, times=SOFT_LIMIT - 1)
    assert named(health, 2.0) == [0, 1, 2, 3]
    fail(health, 2, Evidence.SOFT, at=3.0)
    assert named(health, 3.0) == [0, 1, 3]


def test_half_open_lets_one_request_try() -> None:
    """While the probe runs nobody else is sent there; its success opens the endpoint."""
    health = Health(8)
    fail(health, 2, Evidence.HARD, at=0.0)
    health.picked(1, 1.0)
    health.picked(2, 1.0)
    assert named(health, 1.0) == [0, 1, 3]
    assert health.state(2, 1.0) == "half-open"
    health.judge(2, Evidence.GOOD, started_at=1.0, now=2.0)
    assert named(health, 2.0) == [0, 1, 2, 3]
    assert health.state(2, 2.0) == "healthy"


def test_a_probe_without_an_outcome_blocks_for_a_while_only() -> None:
    """When its record never comes, another one may try after PROBE_WAIT_S."""
    health = Health(8)
    fail(health, 2, Evidence.HARD, at=0.0)
    health.picked(2, 1.0)
    assert named(health, 1.0 + PROBE_WAIT_S - 0.1) == [0, 1, 3]
    assert named(health, 1.0 + PROBE_WAIT_S) == [0, 1, 2, 3]


def test_a_probe_that_says_nothing_lets_the_next_one_try() -> None:
    """The client went away: the endpoint stays half open. What began before the probe does not count as it."""
    health = Health(8)
    fail(health, 2, Evidence.HARD, at=0.0)
    health.picked(2, 5.0)
    health.judge(2, Evidence.NONE, started_at=4.0, now=6.0)
    assert named(health, 6.0) == [0, 1, 3]
    health.judge(2, Evidence.NONE, started_at=5.0, now=6.0)
    assert named(health, 6.0) == [0, 1, 2, 3]
    assert health.state(2, 6.0) == "half-open"


def test_back_off_doubles_up_to_its_maximum() -> None:
    """1, 2, 4, 8, 16, 30, 30, … seconds, and 1 again after a success."""
    health = Health(8)
    now, waits = 0.0, []
    for _ in range(8):
        fail(health, 2, Evidence.HARD, at=now)
        start = now
        while 2 not in named(health, now):
            now += 0.5
        waits.append(now - start)
        health.picked(2, now)
    assert waits == [1, 2, 4, 8, 16, MAX_BACK_OFF_S, MAX_BACK_OFF_S, MAX_BACK_OFF_S]
    health.judge(2, Evidence.GOOD, started_at=now, now=now)
    fail(health, 2, Evidence.HARD, at=now)
    assert 2 in named(health, now + BACK_OFF_S)


def test_a_burst_of_failures_is_one_ejection() -> None:
    """Fifty requests cut by one crash do not lengthen the back-off, even when their records come late."""
    health = Health(8)
    fail(health, 2, Evidence.HARD, at=10.0, times=50)
    health.judge(2, Evidence.HARD, started_at=5.0, now=11.5)
    assert named(health, 11.0) == [0, 1, 2, 3]


def test_an_old_stream_that_ends_well_does_not_end_the_ejection() -> None:
    """A draining pod finishes its streams and refuses new ones."""
    health = Health(8)
    fail(health, 2, Evidence.GONE, at=10.0)
    health.judge(2, Evidence.GOOD, started_at=9.0, now=10.5)
    assert named(health, 10.5) == [0, 1, 3]


def test_an_answer_refutes_hard_evidence_only() -> None:
    """A first token ends a hard ejection; after soft evidence only a whole answer does."""
    health = Health(8)
    fail(health, 1, Evidence.HARD, at=0.0)
    fail(health, 2, Evidence.SOFT, at=0.0, times=SOFT_LIMIT)
    health.picked(1, 1.0)
    health.picked(2, 1.0)
    health.judge(1, Evidence.ALIVE, started_at=1.0, now=2.0)
    health.judge(2, Evidence.ALIVE, started_at=1.0, now=2.0)
    assert (health.state(1, 2.0), health.state(2, 2.0)) == ("healthy", "half-open")
    fail(health, 2, Evidence.SOFT, at=2.0)
    health.picked(2, 3.0)
    fail(health, 2, Evidence.SOFT, at=3.0)
    assert health.state(2, 3.0) == "ejected"


def test_a_soft_failure_can_be_taken_back() -> None:
    """Two and one taken back, then one: not three."""
    health = Health(8)
    health.retract_soft(2)
    fail(health, 2, Evidence.SOFT, at=0.0, times=2)
    health.retract_soft(2)
    fail(health, 2, Evidence.SOFT, at=0.0)
    assert health.state(2, 0.0) == "healthy"


def test_soft_ejections_take_half_of_a_pool_at_most() -> None:
    """The third and fourth of four are readmitted, those first that would come back first."""
    health = Health(8)
    for slot, at in ((3, 0.0), (0, 0.1), (1, 0.2)):
        fail(health, slot, Evidence.SOFT, at=at, times=SOFT_LIMIT)
    assert named(health, 0.5) == [2, 3]


def test_hard_ejections_are_not_bounded_by_share() -> None:
    """Three of four refuse connections: the fourth gets everything."""
    health = Health(8)
    for slot in (0, 1, 2):
        fail(health, slot, Evidence.GONE, at=0.0)
    assert named(health, 0.5) == [3]


def test_when_all_are_ejected_none_is() -> None:
    """Panic: all are used, and their failures do not lengthen the back-off."""
    health = Health(8)
    for slot in range(4):
        fail(health, slot, Evidence.GONE, at=0.0)
    assert named(health, 0.5) == [0, 1, 2, 3]
    for slot in range(4):
        fail(health, slot, Evidence.GONE, at=0.5, times=10)
    assert all(health.state(slot, 1.0) == "half-open" for slot in range(4))


def test_grow_and_reset() -> None:
    """New slots are healthy, old states stay until they are forgotten."""
    health = Health(8)
    fail(health, 2, Evidence.HARD, at=0.0)
    health.grow(16)
    health.grow(8)
    assert named(health, 0.5, np.arange(16)) == [0, 1, *range(3, 16)]
    health.reset(2)
    health.reset(3)
    assert health.blocked(POOL, 0.5) is None


_STEPS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([*Evidence, None]), st.floats(0, 5)), max_size=60)


@given(_STEPS)
def test_a_pool_is_never_empty(steps: list[tuple[int, Evidence | None, float]]) -> None:
    """Whatever happens, somebody may be named, and after the longest back-off everybody may."""
    health = Health(8)
    now = 0.0
    for slot, evidence, wait in steps:
        now += wait
        if evidence is None:
            health.picked(slot, now)
        else:
            health.judge(slot, evidence, started_at=now, now=now)
        assert named(health, now)
    assert named(health, now + MAX_BACK_OFF_S) == [0, 1, 2, 3]


def standing(health: Health, now: float) -> tuple[list[int], list[int]] | None:
    """(sound, due) slots of the pool."""
    found = health.standing(POOL, now)
    return None if found is None else (POOL[found.sound].tolist(), POOL[found.due].tolist())


def test_standing_tells_the_half_open_from_the_sound() -> None:
    """Ejected is neither; without a difference there is nothing to tell."""
    health = Health(8)
    assert standing(health, 0.0) is None
    fail(health, 2, Evidence.HARD, at=0.0)
    assert standing(health, 0.5) == ([0, 1, 3], [])
    assert standing(health, BACK_OFF_S) == ([0, 1, 3], [2])
    health.picked(2, BACK_OFF_S)
    assert standing(health, BACK_OFF_S) == ([0, 1, 3], [])
    health.judge(2, Evidence.GOOD, started_at=BACK_OFF_S, now=BACK_OFF_S)
    assert standing(health, BACK_OFF_S) is None


def test_standing_in_panic_and_without_anybody_sound() -> None:
    """All ejected: no difference. All ejected but one that is due: that one is all there is."""
    health = Health(8)
    for slot in range(4):
        fail(health, slot, Evidence.GONE, at=slot * 0.1)
    assert standing(health, 0.5) is None
    assert standing(health, BACK_OFF_S) == ([0], [])


def test_another_pools_trouble_changes_nothing() -> None:
    """Neither its standing nor its trust."""
    health = Health(8)
    health.proved(1, 0.0)
    fail(health, 7, Evidence.GONE, at=0.0)
    assert standing(health, 0.5) is None
    assert health.trusted(POOL) is None


def trusted(health: Health) -> list[int]:
    """The trusted slots of the pool."""
    found = health.trusted(POOL)
    return [] if found is None else POOL[found].tolist()


def test_an_ejection_takes_the_proof_away() -> None:
    """Whoever was in doubt has to prove itself anew, and cannot while it is ejected."""
    health = Health(8)
    fail(health, 0, Evidence.GONE, at=0.0)
    health.proved(2, 1.0)
    health.proved(2, 0.5)
    assert trusted(health) == [2]
    fail(health, 2, Evidence.HARD, at=2.0)
    health.proved(2, 2.5)
    assert trusted(health) == []
    health.judge(2, Evidence.ALIVE, started_at=3.0, now=3.0)
    assert trusted(health) == []
    health.proved(2, 3.0)
    assert trusted(health) == [2]
    health.grow(16)
    assert trusted(health) == [2]
    health.reset(2)
    assert trusted(health) == []
