"""The fleet: what an event changes where, and that endpoints that left are forgotten in time."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.away import MAX_AWAY_S
from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.endpoint_status import status_of
from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    Event,
    FirstToken,
    LoadReported,
    Picked,
    Probed,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    StreamEnded,
)
from ext_proc.core.fleet import Fleet
from ext_proc.core.ledger import START_OUTPUT_TOKENS
from ext_proc.core.record import Candidates, Record
from ext_proc.core.sessions import NOBODY
from ext_proc.core.slots import INITIAL_CAPACITY
from ext_proc.core.speed import Pace

A, B = "10.0.0.1:80", "10.0.0.2:80"

RECORD = Record(
    id="d",
    time=0,
    at=0.0,
    model="m",
    pool="p",
    strategy="kv-aware",
    endpoints=(A,),
    reason="",
    candidates=Candidates((), (), {}),
)


def record() -> Record:
    """A fresh record of a decision at time 0."""
    return replace(RECORD, soft_failures=[])


def fleet(*addresses: str) -> Fleet:
    """A fleet of these."""
    made = Fleet()
    made.want(set(addresses))
    return made


def picked(decision_id: str = "d", address: str = A, at: float = 0.0) -> Picked:
    """A pick of three blocks."""
    return Picked(
        decision_id=decision_id,
        at=at,
        address=address,
        uncached_tokens=30,
        prompt_tokens=100,
        max_age_s=60.0,
        blocks=(1, 2, 3),
    )


def failed(address: str, *, at: float = 1.0, status: int = 500, flag: str = "", failure: str = "") -> AttemptEnded:
    """An attempt that went wrong."""
    flags = (flag,) if flag else ()
    return AttemptEnded(decision_id="d", address=address, at=at, status=status, flags=flags, failure=failure)


def scraped_counters(at: float, tokens: int) -> Scraped:
    """A scrape of an engine that has computed so many tokens."""
    return Scraped(address=A, at=at, running=0, waiting=0, prompt_tokens=tokens, generation_tokens=tokens)


def test_a_scrape_tells_the_capacity_of_the_index() -> None:
    """The next prompt finds room for as many blocks as the engine has."""
    it = fleet(A)
    it.apply(Scraped(address=A, at=0, running=0, waiting=0, kv_tokens=2 * BLOCK_TOKENS), None)
    it.apply(picked(), None)
    assert status_of(it, A, 0.0)["index_blocks"] == 2


def test_of_each_number_the_newest_counts() -> None:
    """A report after a scrape, an answer after that, and a scrape that was overtaken; strangers' reports do nothing."""
    it = fleet(A)
    it.apply(Scraped(address=A, at=1.0, running=4, waiting=2, kv_usage=0.5), None)
    it.apply(LoadReported(address=A, at=2.0, running=6, waiting=3, models=("m",), adapters=("l",)), None)
    it.apply(LoadReported(address=A, at=2.2, source="orca", waiting=5), None)
    it.apply(Scraped(address=A, at=1.5, running=0, waiting=0, kv_usage=0.6), None)
    it.apply(LoadReported(address=B, at=2.5, running=9, waiting=9, models=("m",), draining=True), None)
    status = status_of(it, A, 2.5)
    assert (status["running"], status["waiting"]) == (6.0, 5.0)
    assert {name: (told["value"], told["age_s"], told["source"]) for name, told in status["told"].items()} == {
        "kv_usage": (0.6, 1.0, "scrape"),
        "running": (6, 0.5, "report"),
        "waiting": (5, 0.3, "orca"),
    }
    assert it.models.names(it.slots.acquire(A)) == frozenset({"m", "l"})
    assert it.adapters.members("l", it.slots.capacity).sum() == 1


_SAYINGS = st.tuples(
    st.sampled_from(["scrape", "report", "orca"]),
    st.integers(0, 9),
    st.none() | st.integers(0, 50),
    st.none() | st.integers(0, 50),
)


def busy(at: float, running: int, kv_usage: float | None) -> Scraped:
    """A page of A, whose memory has room for 10,000 tokens."""
    return Scraped(address=A, at=at, running=running, waiting=5, kv_usage=kv_usage, kv_tokens=10_000)


def test_claims_are_held_against_the_memory_in_use() -> None:
    """Forty that run hold something; a page that does not tell of it, or claims nothing, changes nothing."""
    it = fleet(A, B)
    slot = it.slots.acquire(A)
    it.apply(Scraped(address=A, at=0.8, running=0, waiting=0, kv_usage=0.0, kv_tokens=10_000), None)
    it.apply(busy(1.0, 40, None), None)
    assert it.ledger.claims.worth[slot] == 1.0
    it.apply(busy(1.2, 40, 0.0), None)
    assert it.ledger.claims.worth[slot] == 0.0
    it.apply(Scraped(address=A, at=1.4, running=0, waiting=0, kv_usage=0.0), None)
    it.apply(busy(1.6, 40, None), None)
    assert it.ledger.claims.worth[slot] == 0.0
    it.apply(busy(1.8, 40, 0.9), None)
    assert it.ledger.claims.worth.tolist() == [1.0] * len(it.ledger.claims.worth)


def test_usage_that_knows_nothing_of_own_requests_is_not_heard() -> None:
    """One runs there, and no memory is in use: claims are believed, as where nothing is told of it."""
    it = fleet(A, B)
    slot = it.slots.acquire(A)
    it.apply(busy(1.0, 40, 0.0), None)
    it.apply(picked(at=1.1), None)
    it.apply(busy(1.2, 40, 0.0), None)
    assert it.ledger.claims.worth[slot] == 0.0
    it.apply(FirstToken(decision_id="d", address=A, at=1.3, ttft_ms=200.0), None)
    it.apply(busy(1.4, 40, 0.0), None)
    assert it.ledger.claims.worth[slot] == 1.0


def test_what_own_requests_hold_explains_no_claims() -> None:
    """A prompt of 100 tokens and a usual answer: 300 tokens in use are no more than they may hold."""
    it = fleet(A, B)
    slot = it.slots.acquire(A)
    it.apply(busy(1.0, 40, 0.0), None)
    it.apply(picked(at=1.1), None)
    assert it.ledger.most_held(slot) == 100 + START_OUTPUT_TOKENS
    it.apply(busy(1.2, 40, 0.03), None)
    assert it.ledger.claims.worth[slot] == 0.0
    it.apply(busy(1.4, 40, 0.3), None)
    assert it.ledger.claims.worth[slot] == 1.0


@given(st.lists(_SAYINGS, max_size=20))
def test_whoever_tells_last_counts(sayings: list[tuple[str, int, int | None, int | None]]) -> None:
    """Without requests of its own the picker believes, of each number, what was told with the latest time, in whatever
    order sources interleave."""
    it = fleet(A)
    for source, tenths, running, waiting in sayings:
        at = tenths / 10
        if source == "scrape":
            event: Event = Scraped(address=A, at=at, running=running or 0, waiting=waiting or 0)
        else:
            kind: Literal["report", "orca"] = "report" if source == "report" else "orca"
            event = LoadReported(address=A, at=at, source=kind, running=running, waiting=waiting)
        it.apply(event, None)
    status = status_of(it, A, 0.95)
    for name, position in (("running", 2), ("waiting", 3)):
        said = [
            (tenths, number, saying[position] or 0)
            for number, saying in enumerate(sayings)
            for tenths in (saying[1],)
            if saying[0] == "scrape" or saying[position] is not None
        ]
        assert status[name] == (max(said)[2] if said else 0)
        assert all(told["age_s"] >= 0 for told in status["told"].values())


def test_cache_events_tell_how_many_blocks_there_are() -> None:
    """As a number like others, with age and source."""
    it = fleet(A)
    it.apply(BlocksStored(address=A, at=1.0, blocks=(1, 2, 3)), None)
    it.apply(BlocksRemoved(address=A, at=2.0, blocks=(3,)), None)
    assert status_of(it, A, 2.5)["told"] == {"cached_blocks": {"value": 2, "age_s": 0.5, "source": "events"}}


def test_an_endpoint_is_believed_for_as_long_as_it_is_seldom_heard() -> None:
    """Scraped every 4 s: 6 s later its numbers are as good as new; scraped every 0.2 s they are not."""
    it = fleet(A, B)
    for n in range(4):
        it.apply(Scraped(address=A, at=4.0 * n, running=4, waiting=2, kv_usage=0.5), None)
        it.apply(Scraped(address=B, at=11.4 + 0.2 * n, running=4, waiting=2, kv_usage=0.5), None)
    assert (status_of(it, A, 18.0)["waiting"], status_of(it, A, 18.0)["running"]) == (2.0, 4.0)
    assert status_of(it, B, 18.0)["running"] < 3.0


def test_a_request_that_moved_is_indexed_where_it_runs() -> None:
    """The endpoint that Envoy tried instead computes the prompt, so it holds it."""
    it = fleet(A, B)
    it.apply(picked(), None)
    it.apply(AttemptStarted(decision_id="d", address=B, at=0.1), None)
    assert (
        status_of(it, A, 1)["in_flight"],
        status_of(it, B, 1)["in_flight"],
        status_of(it, B, 1)["index_blocks"],
    ) == (0, 1, 3)


def test_an_endpoint_that_left_is_forgotten_after_its_last_request() -> None:
    """Until then it is accounted for; afterwards its slot is free."""
    it = fleet(A, B)
    it.apply(picked(), None)
    slot = it.slots.get(A)
    it.want({B})
    assert it.slots.get(A) == slot
    it.apply(StreamEnded(decision_id="d", at=5.0), None)
    assert it.slots.get(A) is None
    it.want({B, "10.0.0.3:80"})
    assert it.slots.get("10.0.0.3:80") == slot
    assert status_of(it, "10.0.0.3:80", 5.0)["index_blocks"] == 0


def test_an_endpoint_that_comes_back_in_time_keeps_everything() -> None:
    """Its index and its requests are what they were."""
    it = fleet(A, B)
    it.apply(picked(), None)
    it.want({B})
    it.want({A, B})
    it.apply(StreamEnded(decision_id="d", at=5.0), None)
    assert status_of(it, A, 5.0)["index_blocks"] == 3


@pytest.mark.parametrize(("away_s", "factor"), [(5.0, 2.0), (MAX_AWAY_S + 1, 1.0)])
def test_how_fast_an_endpoint_is_outlives_a_moment_away(away_s: float, factor: float) -> None:
    """And nothing else: its cache may be empty. After that it is an endpoint like the others."""
    it = fleet(A, B)
    it.apply(picked(), None)
    slot = it.slots.get(A)
    assert slot is not None
    it.ledger.speed.resume(slot, Pace(2.0, 30.0, 10.0))
    it.want({B}, 1.0)
    it.apply(StreamEnded(decision_id="d", at=5.0), None)
    it.want({B, "10.0.0.3:80"}, 5.0)
    assert status_of(it, "10.0.0.3:80", 5.0)["speed_factor"] == 1.0
    it.want({A, B}, 5.0 + away_s)
    status = status_of(it, A, 5.0 + away_s)
    assert (status["speed_factor"], status["index_blocks"]) == (factor, 0)


def test_nothing_is_inherited_with_a_slot() -> None:
    """The next endpoint with the slot of an ejected, scraped one starts clean."""
    it = fleet(A, B)
    slot = it.slots.get(A)
    it.apply(failed(A, flag="UC", status=0), None)
    it.apply(Scraped(address=A, at=1.0, running=5, waiting=5), None)
    it.want({B})
    it.want({B, "10.0.0.3:80"})
    assert it.slots.get("10.0.0.3:80") == slot
    status = status_of(it, "10.0.0.3:80", 1.0)
    assert (status["health"], status["running"], status["scrape_age_s"]) == ("healthy", 0.0, None)


def test_age_lets_a_leaving_endpoint_go() -> None:
    """A reservation whose end was never told does not hold it for ever."""
    it = fleet(A, B)
    it.apply(picked(), None)
    it.want({B})
    assert it.expire(59.0) == 0
    assert it.expire(60.0) == 1
    assert it.slots.get(A) is None


def test_grows_beyond_the_first_capacity() -> None:
    """Every part has a place for every endpoint."""
    addresses = [f"10.0.1.{n}:80" for n in range(INITIAL_CAPACITY + 1)]
    it = fleet(*addresses)
    for n, address in enumerate(addresses):
        it.apply(picked(f"d{n}", address), None)
        it.apply(Scraped(address=address, at=0, running=1, waiting=0), None)
        it.apply(failed(address, flag="UC", status=0), None)
    assert {status_of(it, address, 1.0)["health"] for address in addresses} == {"ejected"}


REFUSED = failed(A, flag="UF", status=503, failure="delayed connect error: Connection refused")
HANGS = failed(A, flag="UT", status=504)


@pytest.mark.parametrize(
    ("evidence", "is_forgotten"),
    [
        ((REFUSED,), True),
        ((Probed(address=A, at=1.0, fault="refused", is_refused=True),), True),
        ((scraped_counters(1.0, 9), scraped_counters(2.0, 9)), True),
        ((scraped_counters(1.0, 9), scraped_counters(2.0, 10)), False),
        ((failed(A, flag="UC", status=503),), False),
        ((HANGS, HANGS, HANGS, HANGS), False),
        ((Probed(address=A, at=1.0, fault="HTTP 503"),), False),
        ((Probed(address=A, at=1.0),), False),
        ((ScrapeFailed(address=A, at=1.0, reason="no page within 1 s"),), False),
        ((scraped_counters(1.0, 10),), False),
        ((RequestEnded(decision_id="d", at=1.0, status=500, served=A),), False),
    ],
)
def test_what_a_dead_endpoint_held_is_forgotten(evidence: tuple[Event, ...], is_forgotten: bool) -> None:
    """Nobody listens, or its counters began anew: the process is gone, and its cache, its queue, its adapters and
    sessions with it. Who is reset, hangs or says that it is not ready may have all of it, and so has its neighbour."""
    it = fleet(A, B)
    for n, address in enumerate((A, B)):
        it.apply(replace(picked(f"d{n}", address), session=address.encode()), None)
        it.apply(
            replace(scraped_counters(0.0, 10), address=address, waiting=7, running_loras=("l",), max_loras=2), None
        )
        it.apply(LoadReported(address=address, at=0.0, models=("m",)), None)
    for event in evidence:
        it.apply(event, None)
    here, other = (it.slots.acquire(each) for each in (A, B))
    held = [
        status_of(it, A, 1.0)["index_blocks"] > 0,
        it.sessions.home(A.encode(), 1.0) == here,
        bool(it.adapters.members("l", it.slots.capacity)[here]),
        it.models.names(here) is not None,
    ]
    assert held == 4 * [not is_forgotten]
    if is_forgotten:
        assert status_of(it, A, 1.0)["waiting"] <= 1.0
    assert status_of(it, B, 1.0)["index_blocks"] == 3
    assert it.sessions.home(B.encode(), 1.0) == other
    assert it.models.names(other) == frozenset("m")


def test_what_engines_tell_of_their_blocks_outlives_counters() -> None:
    """They tell of a restart themselves, and may have told of new blocks before the next scrape."""
    it = fleet(A)
    it.apply(scraped_counters(0.0, 10), None)
    it.apply(BlocksStored(address=A, at=0.5, blocks=(1, 2)), None)
    it.apply(replace(picked("d"), blocks=(), session=b"s"), None)
    for at in (1.0, 2.0):
        it.apply(scraped_counters(at, 9), None)
    assert status_of(it, A, 2.0)["index_blocks"] == 2
    assert it.sessions.home(b"s", 2.0) == NOBODY


def test_a_restart_counts_once() -> None:
    """Who was refused has ended; that its next process counts from the start is no second end."""
    it = fleet(A)
    it.apply(scraped_counters(0.0, 10), None)
    it.apply(REFUSED, None)
    it.apply(replace(picked("d"), session=b"s"), None)
    for at in (1.0, 2.0):
        it.apply(scraped_counters(at, 1), None)
    assert it.sessions.home(b"s", 2.0) == it.slots.get(A)
    assert status_of(it, A, 2.0)["index_blocks"] == 3


def test_a_session_is_where_it_was_answered() -> None:
    """Well, that is: a failure, a full engine and a client that left say nothing."""
    it = fleet(A, B)
    for n, (status, is_aborted, home) in enumerate([(500, False, A), (429, False, A), (200, True, A), (200, False, B)]):
        it.apply(replace(picked(f"d{n}"), session=b"s"), None)
        it.apply(RequestEnded(decision_id=f"d{n}", at=1.0, status=status, served=B, aborted=is_aborted), None)
        assert it.sessions.home(b"s", 1.0) == it.slots.get(home)


def test_three_requests_that_fail_are_the_endpoints_fault() -> None:
    """Different requests, one endpoint: ejected."""
    it = fleet(A, B)
    for _ in range(3):
        assert status_of(it, A, 1.0)["health"] == "healthy"
        it.apply(failed(A), record())
    assert status_of(it, A, 1.0)["health"] == "ejected"


def test_one_request_that_fails_everywhere_is_its_own_fault() -> None:
    """It counts against nobody, however often it comes."""
    it = fleet(A, B)
    for _ in range(10):
        poison = record()
        for address in (A, B, "10.9.9.9:1"):
            it.apply(failed(address), poison)
    assert [status_of(it, each, 1.0)["health"] for each in (A, B)] == ["healthy", "healthy"]


def test_a_silent_stream_is_soft_evidence() -> None:
    """Headers, then nothing: three such requests eject the endpoint that served them."""
    it = fleet(A, B)
    for _ in range(3):
        it.apply(AttemptEnded(decision_id="d", address=A, at=9.0, status=200), record())
        it.apply(RequestEnded(decision_id="d", at=9.0, status=200, served=A, flags=("SI",), duration_ms=9_000), None)
    assert status_of(it, A, 9.0)["health"] == "ejected"


def test_old_successes_do_not_end_an_ejection() -> None:
    """With the record gone, the duration tells when a request began."""
    it = fleet(A, B)
    it.apply(failed(A, at=10.0, flag="UC", status=0), None)
    it.apply(RequestEnded(decision_id="old", at=10.5, status=200, served=A, duration_ms=5_000), None)
    assert status_of(it, A, 10.5)["health"] == "ejected"
    it.apply(picked("probe", A, at=11.0), None)
    it.apply(RequestEnded(decision_id="probe", at=12.0, status=200, served=A, duration_ms=1_000), None)
    assert status_of(it, A, 12.0)["health"] == "healthy"


def test_a_first_token_of_an_old_request_does_not_end_an_ejection() -> None:
    """It may come after the ejection; what counts is when the request began."""
    it = fleet(A, B)
    it.apply(failed(A, at=10.0, flag="UC", status=0), None)
    it.apply(FirstToken(decision_id="old", address=A, at=10.2, ttft_ms=1_000), None)
    assert status_of(it, A, 10.2)["health"] == "ejected"
    it.apply(FirstToken(decision_id="new", address=A, at=10.9, ttft_ms=200), None)
    assert status_of(it, A, 10.9)["health"] == "healthy"


_ADDRESSES = [f"10.0.0.{n}:80" for n in range(4)]
_STEPS = st.lists(
    st.one_of(
        st.sets(st.sampled_from(_ADDRESSES)),
        st.tuples(st.sampled_from(["pick", "end", "try"]), st.integers(0, 4), st.sampled_from(_ADDRESSES)),
    ),
    max_size=40,
)


@given(_STEPS)
def test_slots_in_use_are_wanted_or_busy(steps: list[set[str] | tuple[str, int, str]]) -> None:
    """Whatever comes and goes: every wanted endpoint has a slot, any other one only while a request runs on it."""
    it = Fleet()
    wanted: set[str] = set()
    for step in steps:
        match step:
            case set():
                wanted = step
                it.want(step)
            case ("pick", number, address) if address in wanted:
                it.apply(picked(f"d{number}", address), None)
            case ("try", number, address):
                it.apply(AttemptStarted(decision_id=f"d{number}", address=address, at=1.0), None)
            case (_, number, _):
                it.apply(StreamEnded(decision_id=f"d{number}", at=1.0), None)
        for address in _ADDRESSES:
            slot = it.slots.get(address)
            assert (slot is not None) or address not in wanted
            assert slot is None or address in wanted or it.ledger.in_flight[slot] > 0
    it.want(frozenset())
    it.expire(1e9)
    assert len(it.slots) == len(it.index) == len(it.ledger) == 0


def test_answers_and_scrapes_are_proofs() -> None:
    """A first token, a whole answer and a scrape; a full engine's refusal and an aborted request are none."""
    told: list[tuple[Event, bool]] = [
        (FirstToken(decision_id="d", address=B, at=2.0, ttft_ms=1), True),
        (RequestEnded(decision_id="d", at=2.0, status=200, served=B), True),
        (Scraped(address=B, at=2.0, running=0, waiting=0), True),
        (AttemptEnded(decision_id="d", address=B, at=2.0, status=503), False),
        (RequestEnded(decision_id="d", at=2.0, status=200, served=B, aborted=True), False),
    ]
    for event, is_proof in told:
        it = fleet(A, B)
        it.apply(failed(A, flag="UF", failure="refused"), None)
        it.apply(event, None)
        it.apply(FirstToken(decision_id="d", address="10.9.9.9:1", at=2.0, ttft_ms=1), None)
        slots = np.array([it.slots.acquire(address) for address in (A, B)])
        found = it.health.trusted(slots)
        assert (found is not None and found.tolist() == [False, True]) == is_proof


def test_what_an_endpoint_tells_of_its_cache_is_what_it_holds() -> None:
    """Blocks that it stored are there, those that it removed and those of an earlier guess are not."""
    it = fleet(A)
    it.apply(picked(), None)
    it.apply(StreamEnded(decision_id="d", at=1.0), None)
    assert status_of(it, A, 1.0)["index_blocks"] == 3
    it.apply(BlocksStored(address=A, at=2.0, blocks=(7, 8, 9)), None)
    it.apply(BlocksRemoved(address=A, at=2.0, blocks=(9,)), None)
    it.apply(BlocksStored(address="10.9.9.9:1", at=2.0, blocks=(1,)), None)
    assert status_of(it, A, 2.0)["index_blocks"] == 2
    assert [mask for mask, _ in it.index.match((7, 8, 9)).runs] == [1]
    it.apply(CacheCleared(address=A, at=3.0), None)
    assert status_of(it, A, 3.0)["index_blocks"] == 0


def test_an_endpoint_whose_events_are_not_believed() -> None:
    """The index begins anew with it, of the size that it told."""
    it = fleet(A)
    it.apply(Scraped(address=A, at=0, running=0, waiting=0, kv_tokens=2 * BLOCK_TOKENS), None)
    it.apply(BlocksStored(address=A, at=0, blocks=(8, 9)), None)
    it.disbelieve(A)
    it.disbelieve(B)
    assert status_of(it, A, 0.0)["index_blocks"] == 0
    it.apply(picked(), None)
    assert status_of(it, A, 0.0)["index_blocks"] == 2


def eject(made: Fleet, address: str, at: float) -> None:
    """Three requests in a row fail there by errors."""
    for n in range(3):
        made.apply(AttemptEnded(decision_id=f"bad{n}", address=address, at=at, status=500), replace(record(), at=at))


def on_trial(made: Fleet, at: float) -> Record:
    """A request that tries A, which is half open."""
    kept = replace(record(), at=at)
    made.apply(picked(at=at), kept)
    assert made.health.state(made.slots.acquire(A), at + 0.01) == "half-open"
    return kept


@pytest.mark.parametrize("is_end_first", [True, False])
def test_a_trial_that_fails_at_once_is_one_trial(*, is_end_first: bool) -> None:
    """The error has a body, whose first byte is told; nobody else is sent there, whichever record comes first."""
    made = fleet(A, B)
    eject(made, A, 1.0)
    kept = on_trial(made, 2.0)
    slot = made.slots.acquire(A)
    made.apply(FirstToken(decision_id="d", address=A, at=2.1, ttft_ms=5.0, status=500), kept)
    assert made.health.blocked(np.array([slot, made.slots.acquire(B)]), 2.1) is not None
    failed = AttemptEnded(decision_id="d", address=A, at=2.2, status=500)
    ended = RequestEnded(decision_id="d", at=2.2, status=200, served=B, attempts=2)
    for event in (ended, failed) if is_end_first else (failed, ended):
        made.apply(event, kept)
    assert made.health.state(slot, 2.3) == "ejected"


def test_a_client_that_leaves_ends_a_trial() -> None:
    """Before anything came back, or before there was a connection: the next request may try it."""
    for served in (A, ""):
        made = fleet(A, B)
        eject(made, A, 1.0)
        kept = on_trial(made, 2.0)
        made.apply(RequestEnded(decision_id="d", at=2.5, status=0, served=served, aborted=True, attempts=1), kept)
        due = made.health.standing(np.array([made.slots.acquire(A), made.slots.acquire(B)]), 2.5)
        assert due is not None
        assert due.due.tolist() == [True, False]


def test_full_ends_a_trial() -> None:
    """429 says nothing of an engine that failed; the request went on to somebody else."""
    made = fleet(A, B)
    eject(made, A, 1.0)
    kept = on_trial(made, 2.0)
    made.apply(AttemptEnded(decision_id="d", address=A, at=2.2, status=429), kept)
    due = made.health.standing(np.array([made.slots.acquire(A), made.slots.acquire(B)]), 2.2)
    assert due is not None
    assert due.due.tolist() == [True, False]
