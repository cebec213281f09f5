"""Health: ejection and back-off, signs of life, half open, zones, shares and panic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.evidence import Evidence
from ext_proc.core.health import (
    BACK_OFF_S,
    MAX_BACK_OFF_S,
    MAX_SILENCE_S,
    PROBE_WAIT_S,
    RATE_FAILURES,
    RATE_WINDOW_S,
    SOFT_LIMIT,
    Health,
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


@pytest.mark.parametrize(
    ("evidence", "word"),
    [
        (Evidence.GONE, "connections are refused"),
        (Evidence.HARD, "connections fail or are reset"),
        (Evidence.SOFT, "requests fail"),
        (Evidence.TIMEOUT, "requests get no first byte in time"),
    ],
)
def test_what_it_was_ejected_for(evidence: Evidence, word: str) -> None:
    """An ejection says in words what led to it, and nothing once it is over."""
    health = Health(8)
    fail(health, 2, evidence, at=10.0, times=SOFT_LIMIT - 1)
    assert health.why(2) == (word if evidence in (Evidence.GONE, Evidence.HARD) else "")
    fail(health, 2, evidence, at=10.0)
    assert health.why(2) == word
    assert health.why(1) == ""
    health.judge(2, Evidence.GOOD, started_at=12.0, now=12.0)
    assert health.why(2) == ""


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
    health.undecided(2, started_at=4.0, now=6.0)
    assert named(health, 6.0) == [0, 1, 3]
    health.undecided(2, started_at=5.0, now=6.0)
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


def test_a_first_token_does_not_end_a_trial() -> None:
    """An error has a body as well: whoever answers 500 while on trial is not tried by the next request, too."""
    health = Health(8)
    fail(health, 2, Evidence.SOFT, at=0.0, times=SOFT_LIMIT)
    health.picked(2, 1.0)
    health.judge(2, Evidence.ALIVE, started_at=1.0, now=1.1)
    assert named(health, 1.2) == [0, 1, 3]
    health.judge(2, Evidence.SOFT, started_at=1.0, now=1.3)
    assert health.state(2, 1.3) == "ejected"
    assert named(health, 1.3 + 2 * BACK_OFF_S - 0.1) == [0, 1, 3]


def test_one_failure_ends_a_trial_whichever_record_comes_first() -> None:
    """The request's own record, which says nothing, freed the endpoint for the next one; then the attempt's comes."""
    health = Health(8)
    fail(health, 2, Evidence.SOFT, at=0.0, times=SOFT_LIMIT)
    health.picked(2, 1.0)
    health.undecided(2, started_at=1.0, now=1.2)
    health.judge(2, Evidence.SOFT, started_at=1.0, now=1.3)
    assert health.state(2, 1.3) == "ejected"


def test_timeouts_are_refuted_by_what_began_later() -> None:
    """An old stream that ends well says nothing of an engine that hangs; a token for a later request does."""
    health = Health(8)
    for at in (10.0, 11.0):
        health.judge(2, Evidence.TIMEOUT, started_at=at - 2.0, now=at)
    health.judge(2, Evidence.GOOD, started_at=5.0, now=11.1)
    health.judge(2, Evidence.ALIVE, started_at=8.9, now=11.2)
    health.judge(2, Evidence.TIMEOUT, started_at=9.5, now=11.5)
    assert health.state(2, 11.5) == "ejected"
    for at in (10.0, 11.0):
        health.judge(1, Evidence.TIMEOUT, started_at=at - 2.0, now=at)
    health.judge(1, Evidence.ALIVE, started_at=9.0, now=11.2)
    health.judge(1, Evidence.TIMEOUT, started_at=9.5, now=11.5)
    assert health.state(1, 11.5) == "healthy"


def test_a_share_of_failures_ejects() -> None:
    """Two of three fail, never three in a row; what is older than a minute is another matter."""
    health = Health(8)
    failures = 0
    for n in range(RATE_FAILURES):
        if n % 3 < 2:
            fail(health, 2, Evidence.SOFT, at=float(n))
            failures += 1
        else:
            health.judge(2, Evidence.GOOD, started_at=float(n), now=float(n))
    assert health.state(2, 0.0) == "healthy"
    fail(health, 2, Evidence.SOFT, at=30.0, times=2)
    health.judge(2, Evidence.GOOD, started_at=31.0, now=31.0)
    fail(health, 2, Evidence.SOFT, at=32.0, times=2)
    assert health.state(2, 32.0) == "ejected"
    failures += 4
    assert failures == RATE_FAILURES
    now = 0.0
    for _ in range(3 * RATE_FAILURES):
        now += RATE_WINDOW_S + 1.0
        fail(health, 1, Evidence.SOFT, at=now)
        health.judge(1, Evidence.GOOD, started_at=now, now=now)
    assert health.state(1, now) == "healthy"


def test_few_failures_are_forgotten() -> None:
    """One in three never ejects, and after twenty good ones nothing is held against it."""
    health = Health(8)
    for _ in range(50):
        fail(health, 2, Evidence.SOFT, at=0.0)
        for _ in range(2):
            health.judge(2, Evidence.GOOD, started_at=0.0, now=0.0)
    assert health.state(2, 0.0) == "healthy"


def silent(slot: int = 2, evidence: Evidence = Evidence.HARD) -> Health:
    """Somebody looks after an endpoint that was ejected at 10 s."""
    health = Health(8)
    health.watch(slot, is_watched=True)
    fail(health, slot, evidence, at=10.0, times=SOFT_LIMIT)
    return health


def test_nobody_is_risked_without_a_sign_of_life() -> None:
    """It stays ejected after its back-off, and is half open once a sign was seen after the ejection."""
    health = silent()
    health.alive(2, 10.0)
    assert named(health, 100.0) == [0, 1, 3]
    assert health.state(2, 100.0) == "ejected"
    health.alive(2, 100.0)
    assert (health.state(2, 100.0), named(health, 100.0)) == ("half-open", [0, 1, 2, 3])


def test_a_sign_does_not_shorten_the_back_off() -> None:
    """Who fails each request and looks well is left alone for longer and longer."""
    health = silent()
    health.alive(2, 10.1)
    assert named(health, 10.9) == [0, 1, 3]
    assert named(health, 10.0 + BACK_OFF_S) == [0, 1, 2, 3]


def test_a_sign_that_is_gone_again() -> None:
    """Before anybody was sent there nobody is; while a request is on its way its outcome decides."""
    health = silent()
    health.alive(2, 11.5)
    health.lifeless(2, 12.0)
    assert named(health, 13.0) == [0, 1, 3]
    health.alive(2, 14.0)
    health.picked(2, 14.0)
    health.lifeless(2, 15.0)
    health.judge(2, Evidence.GOOD, started_at=14.0, now=16.0)
    assert health.state(2, 16.0) == "healthy"


def test_who_looks_may_be_broken() -> None:
    """However long there is no sign, one request tries it in the end; at once when nobody looks any more."""
    health = silent()
    assert named(health, 10.0 + MAX_SILENCE_S - 1.0) == [0, 1, 3]
    assert named(health, 10.0 + MAX_SILENCE_S) == [0, 1, 2, 3]
    health = silent()
    health.watch(2, is_watched=False)
    assert named(health, 10.0 + BACK_OFF_S) == [0, 1, 2, 3]


def test_readmission_without_a_request() -> None:
    """After its back-off; one soft failure ejects it again, and for longer, but a good answer forgives."""
    health = silent(evidence=Evidence.SOFT)
    assert not health.readmit(2, 10.5)
    assert health.readmit(2, 11.0)
    assert not health.readmit(2, 11.0)
    assert (health.state(2, 11.0), health.is_anyone_out) == ("healthy", False)
    fail(health, 2, Evidence.SOFT, at=12.0)
    health.alive(2, 12.1)
    assert (health.state(2, 13.9), health.state(2, 14.0)) == ("ejected", "half-open")
    assert health.readmit(2, 14.0)
    health.judge(2, Evidence.GOOD, started_at=14.0, now=14.5)
    fail(health, 2, Evidence.SOFT, at=15.0, times=SOFT_LIMIT - 1)
    assert health.state(2, 15.0) == "healthy"


ZONES = {0: ("r", "a"), 1: ("r", "a"), 2: ("r", "a"), 3: ("r", "b")}


def zoned() -> Health:
    """Three of four in a zone that everybody answered in at 1 s, and the fourth later, too."""
    health = Health(8)
    health.place(ZONES)
    for slot in range(4):
        health.proved(slot, 1.0)
    health.proved(3, 9.0)
    return health


def test_a_zone_that_does_not_answer_goes_at_once() -> None:
    """Two have timed out since anybody there answered: each one more needs a single timeout, and all may go."""
    health = zoned()
    health.judge(0, Evidence.TIMEOUT, started_at=8.0, now=10.0)
    assert named(health, 10.0) == [0, 1, 2, 3]
    health.judge(1, Evidence.TIMEOUT, started_at=8.1, now=10.1)
    assert named(health, 10.1) == [2, 3]
    health.judge(2, Evidence.TIMEOUT, started_at=8.2, now=10.2)
    assert named(health, 10.2) == [3]


def test_a_zone_where_somebody_answers_is_none() -> None:
    """Also when it is one that timed out itself; and where nobody elsewhere answers, it is not the zone."""
    health = zoned()
    health.proved(2, 8.5)
    for slot in (0, 1):
        health.judge(slot, Evidence.TIMEOUT, started_at=8.0, now=10.0)
    assert named(health, 10.0) == [0, 1, 2, 3]
    health = Health(8)
    health.place(ZONES)
    for slot in (0, 1):
        health.judge(slot, Evidence.TIMEOUT, started_at=8.0, now=10.0)
    assert named(health, 10.0) == [0, 1, 2, 3]
    health = zoned()
    health.place(dict.fromkeys(range(4), ("r", "a")))
    for slot in (0, 1):
        health.judge(slot, Evidence.TIMEOUT, started_at=8.0, now=10.0)
    assert named(health, 10.0) == [0, 1, 2, 3]


def test_one_request_is_no_zone() -> None:
    """What the first of two endpoints got for it is taken back, so that the next timeout is the first again."""
    health = zoned()
    health.judge(0, Evidence.TIMEOUT, started_at=8.0, now=10.0)
    health.retract_soft(0)
    health.judge(1, Evidence.TIMEOUT, started_at=8.1, now=10.1)
    assert named(health, 10.1) == [0, 1, 2, 3]


_LIVES = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([*Evidence, "pick", "alive", "lifeless", "readmit"]), st.floats(0, 5)),
    max_size=60,
)


@given(_LIVES)
def test_without_a_sign_nobody_is_named_while_others_are_sound(
    steps: list[tuple[int, Evidence | str, float]],
) -> None:
    """Who has given no sign since its ejection is named only where less than half of the pool would be left; and within
    the longest silence everybody is tried again."""
    health = Health(8)
    now = 0.0
    signs: dict[int, float] = {}
    for slot in range(4):
        health.watch(slot, is_watched=True)
    for slot, what, wait in steps:
        now += wait
        match what:
            case Evidence():
                health.judge(slot, what, started_at=now, now=now)
            case "pick":
                health.picked(slot, now)
            case "alive":
                health.alive(slot, now)
                signs[slot] = now
            case "lifeless":
                health.lifeless(slot, now)
            case _:
                health.readmit(slot, now)
        assert named(health, now)
        out = dict(health.out())
        dead = {each for each, at in out.items() if signs.get(each, -1.0) <= at}
        if len(out) <= 2:  # beyond, soft ejections give way, and who is being tried is out as well
            assert not dead & set(named(health, now))
    assert named(health, now + MAX_SILENCE_S) == [0, 1, 2, 3]
