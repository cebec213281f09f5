"""What others' requests are worth: false claims lose it, true ones have it, trials are paid for, memory is heard."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.claims import (
    LATE_S,
    LEAST_HELD,
    LEAST_WORTH,
    MOST_WORTH,
    PATIENCE,
    START_WEIGHT,
    TRIAL_SHARE,
    Claims,
)

SLOTS = np.array([0, 1, 2, 3])


def believed(claims: Claims, *claimed_ms: float) -> list[float]:
    """Of the first slots."""
    slots = SLOTS[: len(claimed_ms)]
    found: list[float] = claims.believed(slots, np.array(claimed_ms)).tolist()
    return found


def check(claims: Claims, slot: int, *, own_ms: float = 50.0, claimed_ms: float = 500.0, ttft_ms: float) -> None:
    """One request beside a claim, and its first token."""
    claims.sent(slot, 0.0, own_ms, claimed_ms, 1_000, among=4)
    claims.answered(slot, own_ms, claimed_ms, ttft_ms)


def warm(capacity: int = 4) -> Claims:
    """Nobody claims anything, and a usual first token takes 50 ms."""
    claims = Claims(capacity)
    for number in range(400):
        claims.sent(number % capacity, 0.0, 50.0, 0.0, 1_000, among=capacity)
    return claims


def test_who_gives_no_cause_for_doubt_is_believed() -> None:
    """Small claims count as told; a large one that nobody has checked is due for a trial."""
    assert believed(warm(), 0.0, 5.0, 24.0, 500.0) == [1.0, 1.0, 1.0, 0.0]


def test_a_trial_is_one_request() -> None:
    """Once it is sent the claim counts again, answered or not."""
    claims = warm()
    claims.sent(0, 0.0, 50.0, 500.0, 1_000, among=4)
    assert believed(claims, 500.0, 500.0) == [1.0, 0.0]


def test_nobody_is_tried_before_anything_was_sent() -> None:
    """The first request of all goes by what is claimed."""
    assert believed(Claims(4), 0.0, 5.0, 500.0, 1e9) == [1.0] * 4


def test_what_is_half_a_trial_is_followed_by_another() -> None:
    """The next request may be one."""
    claims = warm()
    claims.sent(0, 0.0, 50.0, 500.0, 1_000, among=4)
    claims.try_again(0)
    assert believed(claims, 500.0) == [0.0]


def test_invented_load_is_found_out_by_one_check() -> None:
    """Ten times a usual first token was claimed, and nothing was there."""
    claims = warm()
    check(claims, 0, ttft_ms=50.0)
    assert claims.worth[0] == 0.0
    assert believed(claims, 500.0) == [0.0]


@pytest.mark.parametrize(("ttft_ms", "least", "most"), [(25.0, 0.0, 0.3), (100.0, 0.0, 0.3), (1_100.0, 1.0, 2.0)])
def test_a_guess_is_enough_to_refute_a_large_claim(ttft_ms: float, least: float, most: float) -> None:
    """Ten times a usual first token was claimed, of engines that are twice as fast or as slow as was guessed; the more
    that is known of them, the more one row says."""
    guessed, learned = warm(), warm()
    for claims, is_learned in ((guessed, False), (learned, True)):
        claims.sent(0, 0.0, 50.0, 500.0, 1_000, among=4)
        claims.answered(0, 50.0, 500.0, ttft_ms, is_learned=is_learned)
    assert least <= guessed.worth[0] <= most
    assert abs(guessed.worth[1] - 1.0) < abs(learned.worth[1] - 1.0)


def test_true_load_is_believed() -> None:
    """First tokens come as late as was claimed."""
    claims = warm()
    for _ in range(5):
        check(claims, 0, ttft_ms=550.0)
    assert claims.worth[0] == pytest.approx(1.0)


def test_half_of_a_claim_is_worth_half() -> None:
    """A number that counts everything twice is useful still."""
    claims = warm()
    for _ in range(20):
        check(claims, 0, ttft_ms=300.0)
    assert claims.worth[0] == pytest.approx(0.5, abs=0.02)


def test_longer_prompts_of_others_are_worth_more() -> None:
    """Requests of others may take three times as long as own ones, but nobody is believed beyond the limit."""
    claims = warm()
    for _ in range(40):
        check(claims, 0, ttft_ms=1_550.0)
        check(claims, 1, ttft_ms=50_000.0)
    assert claims.worth[0] == pytest.approx(3.0, abs=0.1)
    assert 0.95 * MOST_WORTH < claims.worth[1] <= MOST_WORTH


def test_truth_restores_it() -> None:
    """A pod that lied for long tells the truth now: a few requests that it keeps waiting are enough."""
    claims = warm()
    for _ in range(50):
        check(claims, 0, ttft_ms=50.0)
    assert claims.worth[0] == 0.0
    for _ in range(8):
        check(claims, 0, ttft_ms=550.0)
    assert claims.worth[0] > 0.5


def test_a_stuck_counter_loses_what_it_was_worth() -> None:
    """A pod that told the truth for long does not any more."""
    claims = warm()
    for _ in range(50):
        check(claims, 0, ttft_ms=550.0)
    for _ in range(12):
        check(claims, 0, ttft_ms=50.0)
    assert claims.worth[0] < 0.3


def test_who_is_unchecked_is_worth_what_the_others_are() -> None:
    """One version of an engine that miscounts does so everywhere."""
    claims = warm()
    for slot in range(3):
        check(claims, slot, ttft_ms=50.0)
    assert claims.worth[3] < 0.2
    claims.reset(2)
    assert claims.worth[2] == claims.worth[3]
    check(claims, 3, ttft_ms=550.0)
    assert claims.worth[3] > 0.8


def test_claims_that_change_nothing_say_nothing() -> None:
    """One request that runs makes no difference which a first token would show."""
    claims = warm()
    check(claims, 0, claimed_ms=0.0, ttft_ms=400.0)
    check(claims, 0, claimed_ms=2.0, ttft_ms=400.0)
    assert claims.worth.tolist() == [1.0] * 4


def test_a_dear_trial_is_not_repeated_soon() -> None:
    """What the last one has cost is the price of the next, though less was claimed."""
    claims = warm()
    check(claims, 0, claimed_ms=60.0, ttft_ms=5_000.0)
    worth, spent = float(claims.worth[0]), 0.0
    while believed(claims, 60.0) == [worth]:
        claims.sent(1, 0.0, 50.0, 0.0, 1_000, among=4)
        spent += 50.0
    assert spent == pytest.approx(4 * 4_950.0 / TRIAL_SHARE, rel=0.01)


def test_claims_that_memory_does_not_explain_are_doubted() -> None:
    """Forty run, and nothing is held; or a quarter of what they need at least, or all of it."""
    claims = warm()
    claims.compare(0, 0.0, 40.0, 0.0, 0.0, 0.0)
    claims.compare(1, 0.0, 40.0, 10 * LEAST_HELD, 0.0, 0.0)
    claims.compare(2, 0.0, 40.0, 40 * LEAST_HELD, 0.0, 0.0)
    assert claims.worth.tolist() == [0.0, 0.25, 1.0, 1.0]
    assert believed(claims, 20.0, 20.0, 20.0) == claims.worth[:3].tolist()  # too small for a trial


def test_what_waits_where_nothing_runs_is_doubted_without_memory_for_one() -> None:
    """Requests wait for something that runs."""
    claims = warm()
    claims.compare(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    claims.compare(1, 0.0, 0.0, LEAST_HELD, 0.0, 0.0)
    assert claims.worth[:2].tolist() == [0.0, 1.0]


def test_what_own_requests_may_hold_is_no_news() -> None:
    """Between both bounds of it what was believed before stays, and what was doubted; beyond them memory decides."""
    claims = warm()
    own_least, own_most = 3 * LEAST_HELD, 30_000.0
    claims.compare(0, 0.0, 40.0, 20_000.0, own_least, own_most)
    assert claims.worth[0] == 1.0
    claims.compare(0, 0.0, 40.0, own_least, own_least, own_most)
    assert claims.worth[0] == 0.0
    claims.compare(0, 0.0, 40.0, 20_000.0, own_least, own_most)
    assert claims.worth[0] == 0.0
    claims.compare(0, 0.0, 40.0, own_most + 40 * LEAST_HELD, own_least, own_most)
    assert claims.worth[0] == 1.0


def test_memory_that_own_requests_do_not_fill_tells_nothing() -> None:
    """They run there and nothing is held: the usage is not told, so claims are believed as without it."""
    claims = warm()
    claims.compare(0, 0.0, 40.0, 0.0, 0.0, 1_000.0)
    assert claims.worth[0] == 0.0
    claims.compare(0, 0.0, 40.0, 0.0, LEAST_HELD, 1_000.0)
    assert claims.worth[0] == 1.0


def test_first_tokens_refute_a_doubt() -> None:
    """The usage was wrong: a few requests come as late as was claimed."""
    claims = warm()
    claims.compare(0, 0.0, 40.0, 0.0, 0.0, 0.0)
    check(claims, 0, ttft_ms=550.0)
    assert 0.3 < claims.worth[0] < 0.7
    for _ in range(10):
        check(claims, 0, ttft_ms=550.0)
    assert claims.worth[0] > 0.8


def test_a_doubt_waits_only_so_long_for_its_first_token() -> None:
    """A request was sent on it, and nothing came: claims are believed until something does. Others sent after it do
    not put that off."""
    claims = warm()
    patience_s = LATE_S + PATIENCE * 50.0 / 1e3
    claims.compare(0, 10.0, 40.0, 0.0, 0.0, 0.0)
    claims.sent(0, 10.0, 50.0, 500.0, 1_000, among=4)
    claims.sent(0, 10.0 + patience_s, 50.0, 500.0, 1_000, among=4)
    claims.compare(0, 10.0 + patience_s, 40.0, 0.0, 0.0, 0.0)
    assert claims.worth[0] == 0.0
    claims.compare(0, 10.1 + patience_s, 40.0, 0.0, 0.0, 0.0)
    assert claims.worth[0] == 1.0
    claims.answered(0, 50.0, 0.0, 50.0)
    claims.compare(0, 99.0, 40.0, 0.0, 0.0, 0.0)
    assert claims.worth[0] == 0.0


def test_a_doubt_is_forgotten_with_its_endpoint() -> None:
    """Whoever comes next in its place is believed, and waited for from his first request on."""
    claims = warm()
    claims.compare(0, 10.0, 40.0, 0.0, 0.0, 0.0)
    claims.sent(0, 10.0, 50.0, 500.0, 1_000, among=4)
    claims.reset(0)
    assert claims.worth[0] == 1.0
    check(claims, 1, ttft_ms=550.0)
    assert claims.worth[0] == pytest.approx(1.0)
    claims.compare(0, 99.0, 40.0, 0.0, 0.0, 0.0)
    assert claims.worth[0] == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(10, 5_000)), min_size=20, max_size=200))
def test_trials_of_true_claims_cost_a_bounded_share(requests: list[tuple[int, float]]) -> None:
    """Whoever is named first by the claims that are due: beside the first one of each endpoint, all trials together
    cost less than their share of all first tokens."""
    claims = warm()
    total = 400 * 50.0
    lost, tried = 0.0, set()
    for slot, claimed_ms in requests * 5:
        is_trial = claims.believed(np.array([slot]), np.array([claimed_ms]))[0] == 0.0
        to = slot if is_trial else (slot + 1) % 4
        extra = claimed_ms if is_trial else 0.0
        if is_trial and slot in tried:
            lost += extra
        if is_trial:
            tried.add(slot)
        total += 50.0
        claims.sent(to, 0.0, 50.0, extra, 1_000, among=4)
        claims.answered(to, 50.0, extra, 50.0 + extra)
    assert lost <= TRIAL_SHARE * total * 1.01


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0, 1e7), st.sampled_from("akr")),
        max_size=60,
    )
)
def test_worth_stays_within_its_limits(rows: list[tuple[int, float, float, float, str]]) -> None:
    """Whatever first tokens and memory say: 0, or from the least to the most, for known and for new endpoints."""
    claims = Claims(4)
    for slot, own_ms, claimed_ms, ttft_ms, what in rows:
        claims.sent(slot, 0.0, own_ms, claimed_ms, 1_000, among=4)
        if what == "a":
            claims.answered(slot, own_ms, claimed_ms, ttft_ms)
        elif what == "k":
            claims.compare(slot, own_ms, claimed_ms, ttft_ms, own_ms, 2 * own_ms)
        else:
            claims.reset(slot)
    claims.grow(8)
    assert len(claims.worth) == 8
    for worth in claims.worth:
        assert worth == 0.0 or LEAST_WORTH <= worth <= MOST_WORTH
    assert set(believed(claims, 1e3, 1e3, 1e3, 1e3)) <= {0.0, *claims.worth[:4].tolist()}


def test_the_first_rows_do_not_decide_for_all() -> None:
    """One lucky first token takes less than all belief in the others away."""
    claims = warm()
    check(claims, 0, own_ms=50.0, claimed_ms=50.0, ttft_ms=50.0)
    assert 0.4 < claims.worth[1] < 1.0
    assert START_WEIGHT > 0
