"""Admission in the picker: places by its ledger and the engines' numbers, who waits for them, and in which order."""

import json
import math
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ext_proc.core.decision import Answer, Named, Rejected, Unpicked, Waiting
from ext_proc.core.events import AttemptEnded, FirstToken, RequestEnded, Scraped, StreamEnded
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import (
    AdmissionSettings,
    EndpointSettings,
    FilterSettings,
    PickerSettings,
    PoolSettings,
    PrioritySettings,
)
from ext_proc.core.waiting_room import Released, without_wait

PRIORITIES = tuple(PrioritySettings(name=name, max_wait_s=30.0) for name in ("high", "normal", "low"))


def admission(**limits: Any) -> AdmissionSettings:
    """One request in flight at each endpoint, unless something else is said."""
    return AdmissionSettings(
        **{"max_in_flight": 1, "headroom": 0.0, "priorities": PRIORITIES, "usual_priority": 1, **limits}
    )


def settings(
    count: int, limits: AdmissionSettings | None, *, strategy: str = "round-robin", **pool: Any
) -> PickerSettings:
    """One pool of so many endpoints."""
    endpoints = pool.pop("endpoints", tuple(EndpointSettings(address=f"10.0.0.{n + 1}:8000") for n in range(count)))
    made = PoolSettings(name="p", cluster="pool/p", strategy=strategy, endpoints=endpoints, admission=limits, **pool)
    return PickerSettings(version="v", pools=(made,))


def facts(priority: str = "", tenant: str = "", text: str = "hello", **headers: str) -> RequestFacts:
    """A completion with these headers."""
    named = {"x-priority": priority, "x-tenant": tenant, **headers}
    body = json.dumps({"model": "m", "prompt": text}).encode()
    return RequestFacts(body=body, path="/v1/completions", cluster="pool/p", headers=named)


class Caller:
    """Asks a picker with admission. Mutable: the clock, what waits, what runs where."""

    def __init__(self, made: PickerSettings) -> None:
        self.picker = Picker(made)
        self.rng = random.Random(1)
        self.now = 100.0
        self.running: dict[str, str] = {}
        """Decision → endpoint."""

    def ask(self, request: RequestFacts) -> Answer | Waiting:
        """One question."""
        answer = self.picker.ask(request, self.now, self.rng)
        self._note(answer)
        return answer

    def waits(self, request: RequestFacts) -> int:
        """One question whose asker has to wait; its ticket."""
        answer = self.ask(request)
        assert isinstance(answer, Waiting), answer
        return answer.ticket

    def named(self, request: RequestFacts) -> Named:
        """One question that is answered with a name."""
        answer = self.ask(request)
        assert isinstance(answer, Named), answer
        return answer

    def end(self, decision_id: str) -> None:
        """A request is over."""
        address = self.running.pop(decision_id)
        self.picker.apply(RequestEnded(decision_id=decision_id, at=self.now, status=200, served=address))

    def released(self) -> list[Released]:
        """Who is answered now."""
        found = list(self.picker.released(self.now, self.rng))
        for each in found:
            self._note(each.answer)
        return found

    def tickets(self) -> list[int]:
        """Who is answered now, by their tickets."""
        return [each.ticket for each in self.released()]

    def scraped(self, address: str, **numbers: Any) -> None:
        """An engine's numbers."""
        self.picker.apply(Scraped(address=address, at=self.now, **{"running": 0, "waiting": 0, **numbers}))

    @property
    def status(self) -> Any:
        """That of the pool's admission."""
        return self.picker.survey.pools(self.now)["p"]["admission"]

    def _note(self, answer: object) -> None:
        if isinstance(answer, Named):
            self.running[answer.decision_id] = answer.endpoints[0]


def test_without_admission_nobody_waits() -> None:
    """It is the policy that asks for it; nothing is said about it otherwise."""
    caller = Caller(settings(1, None))
    for _ in range(100):
        caller.named(facts())
    assert "admission" not in caller.picker.survey.pools(caller.now)["p"]
    assert caller.picker.waiting == 0


def test_a_place_for_each() -> None:
    """Requests go where places are until all are taken, then wait for the next one that comes free."""
    caller = Caller(settings(3, admission()))
    first = [caller.named(facts()) for _ in range(3)]
    assert {each.endpoints[0] for each in first} == {f"10.0.0.{n + 1}:8000" for n in range(3)}
    ticket = caller.waits(facts())
    assert caller.released() == []
    caller.now += 2.0
    caller.end(first[1].decision_id)
    (released,) = caller.released()
    assert isinstance(released.answer, Named)
    assert (released.ticket, released.waited_s) == (ticket, 2.0)
    assert released.answer.endpoints[0] == first[1].endpoints[0]
    record = caller.picker.decisions.get(released.answer.decision_id)
    assert record is not None
    assert record.reason.endswith("; 2 of 3 are full; waited 2 s for a place")
    assert record.as_dict()["waited_ms"] == 2_000.0


def test_the_warm_one_is_not_taken_when_it_is_full() -> None:
    """A limit is a limit for `kv-aware` too: who is full is only named for retries."""
    caller = Caller(settings(2, admission(), strategy="kv-aware"))
    text = "Once upon a time " * 500
    warm = caller.named(facts(text=text))
    cold = caller.named(facts(text=text))
    assert cold.endpoints == (cold.endpoints[0], warm.endpoints[0])
    assert cold.endpoints[0] != warm.endpoints[0]


def test_headroom() -> None:
    """The limit is for the mean: with headroom the best one takes more than its share while others are below it."""
    caller = Caller(settings(2, admission(max_in_flight=4, headroom=0.5), strategy="primary-standby"))
    text = "Once upon a time " * 500
    served = Counter(caller.named(facts(text=text)).endpoints[0] for _ in range(8))
    assert served == {"10.0.0.1:8000": 6, "10.0.0.2:8000": 2}
    caller.waits(facts(text=text))


def test_without_headroom_the_strategy_decides() -> None:
    """The mean alone is limited; what is beyond it goes to an idle one, or waits."""
    caller = Caller(settings(3, admission(max_in_flight=2, headroom=math.inf), strategy="primary-standby"))
    assert [caller.named(facts()).endpoints[0][7] for _ in range(8)] == list("11111123")
    caller.waits(facts())


def test_an_idle_one_is_a_place_though_others_have_more_than_the_mean() -> None:
    """Nobody waits while an endpoint has nothing to do."""
    caller = Caller(settings(2, admission(headroom=1.0)))
    for _ in range(2):
        caller.scraped("10.0.0.1:8000", running=2)
    assert caller.named(facts()).endpoints[0] == "10.0.0.2:8000"
    caller.waits(facts())


def test_prefill_tokens() -> None:
    """An endpoint with that many prompt tokens before their first token is full; the first token makes room."""
    caller = Caller(settings(1, admission(max_in_flight=None, max_prefill_tokens=1_000)))
    long = caller.named(facts(text="x" * 8_000))
    ticket = caller.waits(facts())
    caller.picker.apply(FirstToken(decision_id=long.decision_id, address=long.endpoints[0], at=caller.now, ttft_ms=1))
    assert caller.tickets() == [ticket]


def test_kv_usage() -> None:
    """An endpoint whose memory is full is full, until its metrics say otherwise."""
    caller = Caller(settings(1, admission(max_in_flight=None, max_kv_usage=0.9)))
    first = caller.named(facts())
    caller.scraped(first.endpoints[0], running=1, kv_usage=0.95, kv_tokens=100_000)
    ticket = caller.waits(facts())
    caller.now += 0.2
    caller.scraped(first.endpoints[0], running=1, kv_usage=0.6)
    assert caller.tickets() == [ticket]


def test_what_others_send_takes_places() -> None:
    """Requests that an engine has from elsewhere count; an engine that is no longer heard is judged by the ledger."""
    caller = Caller(settings(1, admission(max_in_flight=4)))
    caller.scraped("10.0.0.1:8000", running=3, waiting=1)
    ticket = caller.waits(facts())
    caller.now += 20.0
    assert caller.tickets() == [ticket]


def test_an_idle_endpoint_has_a_place() -> None:
    """Whatever its metrics say: else a wrong number would stop the pool for ever."""
    caller = Caller(settings(1, admission(max_prefill_tokens=1, max_kv_usage=0.5)))
    caller.scraped("10.0.0.1:8000", kv_usage=1.0)
    caller.named(facts(text="x" * 100_000))
    caller.waits(facts())


def test_filters_are_wishes() -> None:
    """A place at another endpoint is taken before anybody waits."""
    endpoints = (
        EndpointSettings(address="10.0.0.1:8000", labels={"class": "big"}),
        EndpointSettings(address="10.0.0.2:8000"),
    )
    filters = (FilterSettings(labels={"class": "big"}),)
    caller = Caller(settings(2, admission(), endpoints=endpoints, filters=filters))
    assert [caller.named(facts()).endpoints[0] for _ in range(2)] == ["10.0.0.1:8000", "10.0.0.2:8000"]
    caller.waits(facts())


def test_places_further_away() -> None:
    """A farther level is used when the nearer one is full."""
    endpoints = tuple(EndpointSettings(address=f"10.0.0.{n + 1}:8000", priority=n) for n in range(2))
    caller = Caller(settings(2, admission(), endpoints=endpoints))
    assert [caller.named(facts()).endpoints for _ in range(2)] == [
        ("10.0.0.1:8000", "10.0.0.2:8000"),
        ("10.0.0.2:8000", "10.0.0.1:8000"),
    ]
    caller.waits(facts())


def test_an_ejected_endpoint_has_no_place() -> None:
    """Only who may be named counts; while it is out, others wait for the rest."""
    caller = Caller(settings(2, admission()))
    first, second = caller.named(facts()), caller.named(facts())
    gone = AttemptEnded(
        decision_id=first.decision_id, address=first.endpoints[0], at=caller.now, status=503, flags=("UF",),
        failure="delayed_connect_error:_Connection_refused",
    )  # fmt: skip
    caller.picker.apply(gone)
    caller.picker.apply(RequestEnded(decision_id=first.decision_id, at=caller.now, status=503))
    ticket = caller.waits(facts())
    assert caller.released() == []
    caller.end(second.decision_id)
    assert caller.tickets() == [ticket]


def test_refusals() -> None:
    """429 with words, code and seconds; a full queue refuses the newcomer, the clock the one that waited too long."""
    caller = Caller(settings(1, admission(max_waiting=1)))
    caller.named(facts())
    ticket = caller.waits(facts())
    full = caller.ask(facts())
    assert isinstance(full, Rejected)
    assert (full.status, full.error.code, full.error.type) == (429, "pool_saturated", "rate_limit_error")
    assert full.retry_after_s is not None
    assert full.retry_after_s >= 1
    assert "too many requests are waiting for it" in full.error.message
    caller.now += 30.0
    (released,) = caller.released()
    assert isinstance(released.answer, Rejected)
    assert (released.ticket, released.waited_s) == (ticket, None)
    assert "no place came free in time" in released.answer.error.message
    assert caller.status["rejected"] == {"full": 1, "expired": 1, "no-wait": 0}


def test_who_is_pushed_out_is_told() -> None:
    """A higher priority takes the place of a lower one in a full queue; that one gets its 429 at once."""
    caller = Caller(settings(1, admission(max_waiting=1)))
    caller.named(facts())
    low = caller.waits(facts("low"))
    high = caller.waits(facts("high"))
    (released,) = caller.released()
    assert released.ticket == low
    assert isinstance(released.answer, Rejected)
    caller.end(next(iter(caller.running)))
    assert caller.tickets() == [high]


def test_bad_requests_do_not_wait() -> None:
    """What is refused or left to Envoy anyway needs no place."""
    caller = Caller(settings(1, admission()))
    caller.named(facts())
    bad = RequestFacts(body=b"{", path="/v1/completions", cluster="pool/p")
    assert isinstance(caller.ask(bad), Rejected)
    assert isinstance(caller.ask(RequestFacts(path="/metrics", cluster="pool/p")), Unpicked)
    assert caller.picker.waiting == 0


def test_a_new_policy_keeps_who_waits() -> None:
    """More places let them in, in order; without admission, or without the pool, they are left to Envoy."""
    caller = Caller(settings(1, admission()))
    caller.named(facts())
    tickets = [caller.waits(facts()) for _ in range(4)]
    caller.picker.apply_settings(settings(1, admission(max_in_flight=3)))
    assert caller.tickets() == tickets[:2]
    caller.picker.apply_settings(settings(2, admission(max_in_flight=3)))
    assert caller.tickets() == tickets[2:]
    caller.named(facts())
    last = caller.waits(facts())
    caller.picker.apply_settings(settings(1, None))
    (released,) = caller.released()
    assert released == Released(ticket=last, answer=Unpicked("nobody waits for this pool any more"))
    assert caller.picker.waiting == 0


def test_a_pool_that_loses_all_endpoints() -> None:
    """Who waits is told what newcomers are told: there is nobody, and when to come back."""
    caller = Caller(settings(1, admission()))
    caller.named(facts())
    tickets = [caller.waits(facts(priority)) for priority in ("low", "high")]
    unavailable = replace(settings(1, None).pools[0].endpoints[0], available=False)
    caller.picker.apply_settings(settings(1, admission(), endpoints=(unavailable,)))
    refused = caller.ask(facts())
    assert isinstance(refused, Rejected)
    assert (refused.status, refused.retry_after_s) == (503, 1)
    assert caller.released() == [Released(ticket=ticket, answer=refused) for ticket in tickets]
    assert (caller.picker.waiting, caller.status["waiting_tokens"], caller.status["left"]) == (0, 0, 0)
    caller.picker.apply_settings(settings(2, admission()))
    assert caller.released() == []
    caller.named(facts())


def test_the_end_of_the_picker() -> None:
    """Who waits is left to Envoy, and who comes is picked for without a wait."""
    caller = Caller(settings(1, admission()))
    caller.named(facts())
    tickets = [caller.waits(facts()) for _ in range(3)]
    caller.picker.close()
    released = caller.released()
    assert [each.ticket for each in released] == tickets
    assert {each.answer for each in released} == {Unpicked("shutting down")}
    caller.named(facts())


def test_leaving_twice_or_after_the_answer() -> None:
    """Is harmless, also between the decision and its being fetched."""
    caller = Caller(settings(1, admission(max_waiting=1)))
    caller.named(facts())
    low = caller.waits(facts("low"))
    caller.waits(facts("high"))
    caller.picker.leave(low)
    caller.picker.leave(low)
    assert caller.released() == []
    assert caller.picker.waiting == 1


def test_a_failure_inside_costs_one_pick() -> None:
    """What the caller meets as an exception, the client of that request meets as no pick; others follow."""
    caller = Caller(settings(1, admission()))
    first = caller.named(facts())
    tickets = [caller.waits(facts()) for _ in range(2)]
    caller.end(first.decision_id)
    room = caller.picker._reception._room
    with pytest.raises(ZeroDivisionError):
        list(room.released(caller.now, lambda _: True, lambda *_: 1 / 0, lambda _: False))  # type: ignore[arg-type]
    released = caller.released()
    assert [each.ticket for each in released] == tickets
    assert released[0].answer == Unpicked("internal error")
    assert isinstance(released[1].answer, Named)


def test_a_thousand_clients_that_give_up() -> None:
    """Nothing of them stays: neither waiting, nor tokens, nor places."""
    caller = Caller(settings(2, admission(max_waiting=2_000)))
    first = [caller.named(facts()) for _ in range(2)]
    tickets = [caller.waits(facts(tenant=f"t{n % 7}")) for n in range(1_000)]
    random.Random(5).shuffle(tickets)
    for ticket in tickets:
        caller.picker.leave(ticket)
    assert caller.picker.waiting == 0
    assert caller.status == {
        "waiting": {"high": 0, "normal": 0, "low": 0},
        "waiting_tokens": 0,
        "admitted_per_s": caller.status["admitted_per_s"],
        "rejected": {"full": 0, "expired": 0, "no-wait": 0},
        "left": 1_000,
    }
    for each in first:
        caller.end(each.decision_id)
    assert caller.released() == []
    assert len(caller.picker._reception._room._guests) == caller.picker.open_reservations == 0
    caller.named(facts())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(("high", "normal", "low")), st.sampled_from("abc")),
        st.tuples(st.just("end"), st.integers(0, 9), st.just("")),
        st.tuples(st.just("leave"), st.integers(0, 9), st.just("")),
        st.tuples(st.just("pass"), st.integers(1, 20), st.just("")),
    ),
    max_size=60,
)


@hypothesis_settings(deadline=None, max_examples=60)
@given(STEPS, st.integers(1, 3), st.integers(1, 2), st.sampled_from((0.0, 1.0, math.inf)))
def test_nobody_waits_while_a_place_is_free(
    steps: list[tuple[str, Any, str]], count: int, most: int, headroom: float
) -> None:
    """After every event: either nobody waits or the pool is full; no endpoint has more than it may; nobody is lost."""
    limits = admission(max_in_flight=most, max_waiting=6, headroom=headroom)
    caller = Caller(settings(count, limits, strategy="primary-standby"))
    there: set[int] = set()
    for what, value, tenant in steps:
        if what == "ask":
            answer = caller.ask(facts(value, tenant))
            if isinstance(answer, Waiting):
                there.add(answer.ticket)
        elif what == "end" and caller.running:
            caller.end(sorted(caller.running)[value % len(caller.running)])
        elif what == "leave" and there:
            ticket = sorted(there)[value % len(there)]
            there.remove(ticket)
            caller.picker.leave(ticket)
        elif what == "pass":
            caller.now += value
        for each in caller.released():
            there.remove(each.ticket)
        loads = Counter(caller.running.values())
        assert all(load <= most * (1 + headroom) for load in loads.values())
        assert sum(loads.values()) <= count * most + count - 1
        assert not there or (sum(loads.values()) >= count * most and len(loads) == count)
        assert caller.picker.waiting == len(there)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "end", "drain", "remove", "back", "fail", "pass"]), st.integers(0, 3)),
    max_size=50,
)


@pytest.mark.parametrize("strategy", ["kv-aware", "round-robin", "session"])
@hypothesis_settings(deadline=None, max_examples=150)
@given(CHANGES, st.sampled_from((0.0, math.inf)))
def test_who_waited_is_not_sent_where_nobody_may_be(
    strategy: str, steps: list[tuple[str, int]], headroom: float
) -> None:
    """Endpoints drain, leave and fail while requests wait: nobody who was let in, at once or later, is sent to one that
    may not be named, nor to an ejected one while another is sound; and nobody waits for a pool without endpoints."""
    made = settings(4, admission(max_in_flight=1, headroom=headroom), strategy=strategy)
    there = {each.address: each for each in made.pools[0].endpoints}
    everybody = dict(there)
    caller = Caller(made)
    caller.now = 1_000.0

    def check(answer: object, health: dict[str, str]) -> None:
        if isinstance(answer, Named):
            usable = {address for address, each in there.items() if each.available}
            # While the only half-open one is being tried all the others are left, the ejected ones too.
            is_one_sound = any(health[address] == "healthy" for address in usable)
            assert set(answer.endpoints) <= usable
            assert not is_one_sound or "ejected" not in {health[address] for address in answer.endpoints}

    for what, number in steps:
        address = sorted(everybody)[number]
        caller.now += 0.01
        if what == "drain" and address in there:
            there[address] = replace(there[address], available=not there[address].available)
        elif what == "remove":
            there.pop(address, None)
        elif what == "back":
            there[address] = everybody[address]
        elif what == "fail":
            refused = AttemptEnded(
                decision_id="d", address=address, at=caller.now, status=503, flags=("UF",), failure="refused"
            )
            caller.picker.apply(refused)
        elif what == "end" and caller.running:
            caller.end(sorted(caller.running)[number % len(caller.running)])
        elif what == "pass":
            caller.now += number
        caller.picker.apply_settings(replace(made, pools=(replace(made.pools[0], endpoints=tuple(there.values())),)))
        rows = caller.picker.survey.pools(caller.now)["p"]["endpoints"]
        health = {row["address"]: row["health"] for row in rows}
        if what == "ask":
            check(caller.ask(facts(text=f"text {number}")), health)
        for each in caller.released():
            check(each.answer, health)
        if not any(each.available for each in there.values()):
            assert caller.picker.waiting == 0


def test_waiting_is_not_held_against_the_endpoint() -> None:
    """Envoy counts from the request's coming; what is learned of an endpoint is without the wait before it."""
    token = FirstToken(decision_id="d", address="a", at=9.0, ttft_ms=2_500.0)
    assert without_wait(token, 2.0) == FirstToken(decision_id="d", address="a", at=9.0, ttft_ms=500.0)
    assert without_wait(token, 0.0) is token
    assert without_wait(token, 9.0) == FirstToken(decision_id="d", address="a", at=9.0, ttft_ms=0.0)
    end = RequestEnded(decision_id="d", at=9.0, status=200, duration_ms=3_000.0)
    assert without_wait(end, 2.0) == RequestEnded(decision_id="d", at=9.0, status=200, duration_ms=1_000.0)
    other = StreamEnded(decision_id="d", at=9.0)
    assert without_wait(other, 2.0) is other


def test_latency_is_learned_without_the_wait() -> None:
    """An endpoint that answers in 100 ms is known for that, also when the request had waited for minutes before."""
    caller = Caller(
        settings(1, admission(priorities=(PrioritySettings(name="n", max_wait_s=300.0),), usual_priority=0))
    )
    first = caller.named(facts())
    caller.waits(facts())
    caller.now += 200.0
    caller.end(first.decision_id)
    (released,) = caller.released()
    assert isinstance(released.answer, Named)
    told = FirstToken(
        decision_id=released.answer.decision_id, address="10.0.0.1:8000", at=caller.now + 0.1, ttft_ms=200_100.0
    )
    caller.picker.apply(told)
    fleet = caller.picker._fleet
    slot = fleet.slots.get("10.0.0.1:8000")
    assert slot is not None
    assert fleet.latencies.seconds(np.array([slot]), caller.now + 0.1)[0] < 0.2
    record = caller.picker.decisions.get(released.answer.decision_id)
    assert record is not None
    assert record.outcome.ttft_ms == 200_100.0
