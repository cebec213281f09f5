"""The ledger: playbooks, and that nothing is ever counted twice or left over, whatever the order of events."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import AttemptEnded, AttemptStarted, Event, FirstToken, Picked, RequestEnded, StreamEnded
from ext_proc.core.ledger import Ledger
from ext_proc.core.slots import INITIAL_CAPACITY, Slots

A, B = "10.0.0.1:8000", "10.0.0.2:8000"


def picked(decision_id: str = "d", at: float = 0.0, address: str = A, max_age_s: float = 60.0) -> Picked:
    """A pick of 100 tokens, 30 of them uncached."""
    return Picked(
        decision_id=decision_id,
        at=at,
        address=address,
        uncached_tokens=30,
        prompt_tokens=100,
        max_age_s=max_age_s,
        blocks=(1, 2),
    )


def new_ledger(*, max_reservations: int = 100) -> tuple[Ledger, Slots]:
    """A ledger that knows A and B."""
    slots = Slots()
    slots.acquire(A)
    slots.acquire(B)
    return Ledger(slots, max_reservations=max_reservations), slots


def _start(address: str, at: float) -> AttemptStarted:
    return AttemptStarted(decision_id="d", address=address, at=at)


def _first(at: float, ttft_ms: float, address: str = A, status: int = 200) -> FirstToken:
    return FirstToken(decision_id="d", address=address, at=at, ttft_ms=ttft_ms, status=status)


def _over(at: float) -> StreamEnded:
    return StreamEnded(decision_id="d", at=at)


def _end(at: float, ttft_ms: float, attempts: int = 1, status: int = 200) -> RequestEnded:
    return RequestEnded(decision_id="d", at=at, status=status, served=A, attempts=attempts, ttft_ms=ttft_ms)


def account(ledger: Ledger, slots: Slots, address: str = A) -> tuple[int, int, int, int]:
    """In flight, queued tokens, decoding, their tokens."""
    slot = slots.acquire(address)
    arrays = (ledger.in_flight, ledger.queued_tokens, ledger.decoding, ledger.decoding_tokens)
    return tuple(int(array[slot]) for array in arrays)  # type: ignore[return-value]


ENDS: tuple[Event, ...] = (
    StreamEnded(decision_id="d", at=2.0),
    RequestEnded(decision_id="d", at=2.0, status=200, served=A),
    RequestEnded(decision_id="d", at=2.0, status=0, aborted=True),
    RequestEnded(decision_id="d", at=2.0, status=503, flags=("UF",)),
)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("late", ENDS)
def test_a_request_from_pick_to_end(end: Event, late: Event) -> None:
    """Queued, then decoding, then nothing; a second end and late records change nothing."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    assert account(ledger, slots) == (1, 30, 0, 0)
    ledger.apply(AttemptStarted(decision_id="d", address=A, at=0.1))
    ledger.apply(FirstToken(decision_id="d", address=A, at=1.0, ttft_ms=1_000))
    assert account(ledger, slots) == (1, 0, 1, 100)
    assert "d" in ledger
    ledger.apply(end)
    assert account(ledger, slots) == (0, 0, 0, 0)
    ledger.apply(late)
    ledger.apply(AttemptStarted(decision_id="d", address=B, at=3.0))
    ledger.apply(FirstToken(decision_id="d", address=A, at=3.0, ttft_ms=1_000))
    assert account(ledger, slots) == account(ledger, slots, B) == (0, 0, 0, 0)
    assert len(ledger) == 0


def test_our_own_closing_of_the_stream_ends_nothing() -> None:
    """At shutdown the stream ends before the request does."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    ledger.apply(StreamEnded(decision_id="d", at=1.0, closed_by_us=True))
    assert account(ledger, slots) == (1, 30, 0, 0)


def test_moves_to_the_endpoint_that_is_really_tried() -> None:
    """A retry elsewhere moves the whole prompt there, and tells what to index."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    ledger.apply(AttemptStarted(decision_id="d", address=A, at=0.1))
    assert ledger.index.size(slots.acquire(B)) == 0
    ledger.apply(AttemptEnded(decision_id="d", address=A, at=0.2, status=503))
    ledger.apply(AttemptStarted(decision_id="d", address=B, at=0.2))
    assert ledger.index.size(slots.acquire(B)) == 2
    assert account(ledger, slots) == (0, 0, 0, 0)
    assert account(ledger, slots, B) == (1, 100, 0, 0)


def test_a_first_token_from_elsewhere_moves_too() -> None:
    """Where the record of the start was lost, the first token tells the place."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    ledger.apply(FirstToken(decision_id="d", address=B, at=0.2, ttft_ms=200))
    assert ledger.index.size(slots.acquire(B)) == 2
    assert account(ledger, slots) == (0, 0, 0, 0)
    assert account(ledger, slots, B) == (1, 0, 1, 100)


def test_a_late_record_of_an_earlier_attempt_moves_nothing_back() -> None:
    """Records of attempts may come in any order; the latest attempt counts."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    ledger.apply(AttemptStarted(decision_id="d", address=B, at=5.0))
    ledger.apply(AttemptStarted(decision_id="d", address=A, at=0.1))
    assert account(ledger, slots, B) == (1, 100, 0, 0)


def test_a_retry_in_the_same_instant_moves() -> None:
    """A refused connection and its retry can have one time."""
    ledger, slots = new_ledger()
    ledger.apply(picked(at=1.0))
    ledger.apply(AttemptStarted(decision_id="d", address=B, at=1.0))
    assert account(ledger, slots, B) == (1, 100, 0, 0)


def test_an_unknown_endpoint_takes_the_load_away() -> None:
    """A request that runs on an endpoint that is not ours counts nowhere, until it comes back or ends."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    ledger.apply(AttemptStarted(decision_id="d", address="10.9.9.9:1", at=0.1))
    assert account(ledger, slots) == (0, 0, 0, 0)
    assert len(ledger) == 1
    ledger.apply(AttemptStarted(decision_id="d", address=A, at=0.2))
    assert account(ledger, slots) == (1, 100, 0, 0)
    ledger.apply(StreamEnded(decision_id="d", at=1.0))
    assert account(ledger, slots) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("events", "ttft_ms"),
    [
        ([_start(A, 10.06), _first(10.3, 40)], 40),
        ([_start(A, 10.06), _first(10.05, 50)], 50),
        ([_start(A, 10.06), _end(10.1, 20)], 20),
        ([_first(10.3, 40)], 40),
        ([_first(10.02, 40)], 20),
        ([_start(B, 10.05), _first(10.3, 90, B)], 40),
        ([_start(A, 10.05), _start(A, 10.5), _first(10.8, 600)], 100),
        ([_start(A, 10.05), _start(A, 10.5), _end(10.8, 600, attempts=2)], None),
        ([_over(10.1), _start(A, 10.15), _first(10.15, 40), _end(10.15, 40)], 40),
        ([_over(10.1), _start(A, 10.15), _end(10.15, 40)], 40),
        ([_over(10.1), _end(10.15, 40), _first(10.15, 40)], 40),
        ([_start(A, 10.06), _first(10.3, 40), _over(10.4), _end(10.45, 40)], 40),
        ([_over(10.1), _start(A, 10.15), _start(B, 10.15), _first(10.15, 90, B), _end(10.15, 90, attempts=2)], None),
        ([_over(10.1), _start(A, 10.15), _start(A, 10.15), _first(10.15, 90), _end(10.15, 90, attempts=2)], None),
        ([_start(A, 10.06), _first(10.3, 4, status=500), _end(10.3, 4, status=500)], None),
        ([_over(10.1), _first(10.15, 4, status=503), _end(10.15, 4, status=503)], None),
    ],
)
def test_records_come_later_than_what_they_tell(
    events: list[Event], ttft_ms: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy tells of a start after its flush interval and of a first token up to a quarter of a second late, but how
    long it took to the microsecond: of a short answer after its stream has ended. Further tries begin when they are
    told. What an error takes teaches nothing."""
    ledger, _ = new_ledger()
    learned: list[float] = []
    monkeypatch.setattr(ledger.speed, "learn", lambda _, ms, **__: learned.append(ms))
    ledger.apply(picked(at=10.0))
    for event in events:
        ledger.apply(event)
    assert learned == ([] if ttft_ms is None else [pytest.approx(ttft_ms)])


def test_short_answers_teach() -> None:
    """Their streams end before any record of them comes, which then tells how fast they were and how long."""
    ledger, slots = new_ledger()
    for number in range(20):
        ledger.apply(picked("d", at=float(number)))
        ledger.apply(_over(number + 0.1))
        assert account(ledger, slots) == (0, 0, 0, 0)
        for event in (_start(A, number + 0.15), _first(number + 0.15, ttft_ms=40)):
            ledger.apply(event)
        ended = RequestEnded(decision_id="d", at=number + 0.15, status=200, served=A, ttft_ms=40, completion_tokens=10)
        ledger.apply(ended)
        ledger.apply(ended)
    assert ledger.speed.rows == 20
    assert ledger.mean_output == pytest.approx(10 + 190 * 0.99**20)


def test_prefill_is_where_it_was_sent() -> None:
    """And where it was sent again; an endpoint that is forgotten has had none."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    here, there = slots.acquire(A), slots.acquire(B)
    both = np.array([here, there])
    assert ledger.prefills.recent_ms(both, 0.0).tolist() == [ledger.speed.prefill_ms(30, 100), 0]
    ledger.apply(_start(B, at=0.0))
    assert ledger.prefills.recent_ms(both, 0.0)[1] == ledger.speed.prefill_ms(100, 100)
    ledger.forget(here)
    assert ledger.prefills.recent_ms(both, 0.0)[0] == 0


def test_only_so_many_records_are_waited_for() -> None:
    """Of what has ended, the oldest teaches nothing when there are too many; nor does an endpoint that is forgotten."""
    ledger, slots = new_ledger(max_reservations=2)
    for name in "abcd":
        ledger.apply(picked(name))
        ledger.apply(StreamEnded(decision_id=name, at=0.1))
    for name, rows in (("a", 0), ("b", 0), ("c", 1)):
        ledger.apply(FirstToken(decision_id=name, address=A, at=0.15, ttft_ms=40))
        assert ledger.speed.rows == rows
    ledger.forget(slots.acquire(A))
    ledger.apply(FirstToken(decision_id="d", address=A, at=0.15, ttft_ms=40))
    assert ledger.speed.rows == 1


def test_an_answer_in_one_piece_keeps_nobody_waiting() -> None:
    """Its first byte is its last, long after its prefill: what was due behind it is due no later for that, and it
    teaches nothing."""
    ledger, slots = new_ledger()
    whole = replace(picked("whole"), is_whole=True)
    ledger.apply(whole)
    ledger.apply(picked("d", at=0.01))
    slot = slots.acquire(A)
    assert ledger.backlog.left_ms(slot, 9.0) == 0
    ledger.apply(FirstToken(decision_id="whole", address=A, at=9.0, ttft_ms=9_000))
    assert ledger.backlog.left_ms(slot, 9.0) == 0
    assert ledger.speed.rows == 0


def test_the_same_pick_twice_is_one() -> None:
    """A repeated event is ignored."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    ledger.apply(picked(address=B))
    assert account(ledger, slots) == (1, 30, 0, 0)
    assert account(ledger, slots, B) == (0, 0, 0, 0)


def test_age_ends_what_nothing_else_ended() -> None:
    """Each reservation ends at its own age, not before."""
    ledger, slots = new_ledger()
    ledger.apply(picked("old", at=0.0, max_age_s=60.0))
    ledger.apply(picked("short", at=10.0, max_age_s=5.0))
    ledger.apply(picked("new", at=10.0, max_age_s=60.0))
    assert ledger.expire(14.9) == 0
    assert ledger.expire(15.0) == 1
    assert "short" not in ledger
    assert ledger.expire(60.0) == 1
    assert "new" in ledger
    assert ledger.expire(1_000.0) == 1
    assert account(ledger, slots) == (0, 0, 0, 0)


def test_beyond_the_limit_the_oldest_is_given_up() -> None:
    """The number of reservations is bounded, and the arrays agree with it."""
    ledger, slots = new_ledger(max_reservations=3)
    for n in range(5):
        ledger.apply(picked(f"d{n}"))
    assert [f"d{n}" in ledger for n in range(5)] == [False, False, True, True, True]
    assert account(ledger, slots) == (3, 90, 0, 0)


def test_grows_with_the_slots() -> None:
    """New slots have a place, old accounts stay."""
    ledger, slots = new_ledger()
    ledger.apply(picked())
    for n in range(INITIAL_CAPACITY):
        slots.acquire(f"a{n}")
    ledger.grow()
    ledger.apply(picked("e", address=f"a{INITIAL_CAPACITY - 1}"))
    assert account(ledger, slots) == account(ledger, slots, f"a{INITIAL_CAPACITY - 1}") == (1, 30, 0, 0)


_IDS = st.sampled_from(["d0", "d1", "d2", "d3"])
_WHERE = st.sampled_from([A, B, "10.9.9.9:1"])
_AT = st.floats(0, 100)
_STATUS = st.sampled_from([200, 500])
_EVENTS = st.one_of(
    st.builds(picked, _IDS, _AT, _WHERE, st.sampled_from([10.0, 50.0])),
    st.builds(lambda i, a, t: AttemptStarted(decision_id=i, address=a, at=t), _IDS, _WHERE, _AT),
    st.builds(
        lambda i, a, t, s: FirstToken(decision_id=i, address=a, at=t, ttft_ms=1, status=s), _IDS, _WHERE, _AT, _STATUS
    ),
    st.builds(lambda i, a, t: AttemptEnded(decision_id=i, address=a, at=t, status=0), _IDS, _WHERE, _AT),
    st.builds(
        lambda i, a, t, s: RequestEnded(decision_id=i, at=t, status=s, served=a, ttft_ms=1), _IDS, _WHERE, _AT, _STATUS
    ),
    st.builds(lambda i, t, ours: StreamEnded(decision_id=i, at=t, closed_by_us=ours), _IDS, _AT, st.booleans()),
    _AT,
)


@given(st.lists(_EVENTS, max_size=40))
def test_conserves_under_any_order_of_events(events: list[Event | float]) -> None:
    """No count is ever negative, none exceeds what is open, and all are zero when all have ended."""
    ledger, slots = new_ledger()
    for event in events:
        if isinstance(event, float):
            ledger.expire(event)
        else:
            ledger.apply(event)
        counts = [account(ledger, slots, address) for address in (A, B)]
        assert min(min(count) for count in counts) >= 0
        assert sum(count[0] for count in counts) <= len(ledger) <= 4
        assert all(decoding <= in_flight for in_flight, _, decoding, _ in counts)
        assert all(tokens == 100 * decoding for _, _, decoding, tokens in counts)
    for n in range(4):
        ledger.apply(StreamEnded(decision_id=f"d{n}", at=200.0))
    assert len(ledger) == 0
    assert not any(array.any() for array in (ledger.in_flight, ledger.queued_tokens, ledger.decoding))
    assert not ledger.decoding_tokens.any()
    assert not ledger.backlog.owed_ms(np.array([slots.acquire(A), slots.acquire(B)])).any()
    assert ledger.expire(1e9) == 0


def claiming_ledger(rows: int) -> tuple[Ledger, Slots, int]:
    """One that has learned from so many first tokens of 100 ms; then A says that ten requests of others wait there."""
    ledger, slots = new_ledger()
    for number in range(rows):
        ledger.apply(picked("d", at=float(number)))
        ledger.apply(_first(number + 0.2, ttft_ms=100))
        ledger.apply(_end(number + 0.3, ttft_ms=100))
    slot = slots.acquire(A)
    ledger.gauges.told(slot, float(rows), running=4, waiting=10, in_flight=0, decoding=0)
    return ledger, slots, slot


def test_first_tokens_check_what_was_claimed() -> None:
    """Ten requests of others wait before this one, and it does not wait: they are not there."""
    ledger, _, slot = claiming_ledger(20)
    for number in range(3):
        ledger.apply(picked("d", at=20.0 + number))
        ledger.apply(_first(20.2 + number, ttft_ms=100))
        ledger.apply(_end(20.3 + number, ttft_ms=100))
    assert ledger.claims.worth[slot] == 0
    ledger.forget(slot)
    assert ledger.claims.worth[slot] < 1


def test_first_tokens_confirm_what_was_claimed() -> None:
    """Whoever waits as long as that much work takes has found it."""
    ledger, _, slot = claiming_ledger(20)
    claimed_ms = float(ledger.others_ms(10.0, 4.0, 1.0))
    for number in range(3):
        ledger.apply(picked("d", at=20.0 + number))
        ledger.apply(_end(20.3 + number, ttft_ms=100 + claimed_ms))
    assert ledger.claims.worth[slot] == pytest.approx(1.0, abs=0.1)


def test_nothing_is_checked_before_times_are_known() -> None:
    """The first of all first tokens only tells how fast engines are; the trial is to come."""
    ledger, _, slot = claiming_ledger(0)
    ledger.apply(picked("d", at=2.0))
    ledger.apply(_first(2.2, ttft_ms=100))
    assert ledger.claims.worth[slot] == 1
    assert ledger.claims.believed(np.array([slot]), np.array([1e6])).tolist() == [0]


def test_the_second_first_token_checks_what_was_claimed() -> None:
    """A guess is enough to refute the work of ten requests, and not the last word: the next trial is due."""
    ledger, _, slot = claiming_ledger(1)
    ledger.apply(picked("d", at=2.0))
    ledger.apply(_first(2.2, ttft_ms=100))
    assert not ledger.speed.is_learned
    assert ledger.claims.worth[slot] < 0.3
    assert ledger.claims.believed(np.array([slot]), np.array([1e6])).tolist() == [0]
