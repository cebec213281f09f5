"""The picker as a whole: playbooks from a request to its end."""

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.blocks import BLOCK_BYTES, block_hashes, tokens_of
from ext_proc.core.decision import Answer
from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    FirstToken,
    Picked,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    StreamEnded,
)
from ext_proc.core.health import SOFT_LIMIT
from ext_proc.core.picker import RESERVATION_SLACK_S, Named, Picker, Rejected, Unpicked, Wanted
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings, ShareSettings
from ext_proc.core.strategies.table import STRATEGIES

SPREADING = [name for name in STRATEGIES if name != "primary-standby"]
"""Strategies that use all of a pool."""

SYSTEM = "You are a helpful assistant. " * 60  # about 430 tokens


def settings(*addresses: str, strategy: str = "kv-aware", **pool: Any) -> PickerSettings:
    """One pool of these endpoints, and a model `big` with the alias `gpt-4`."""
    endpoints = tuple(EndpointSettings(address=address) for address in addresses)
    made = PoolSettings(name="p", cluster="pool/p", strategy=strategy, endpoints=endpoints, **pool)
    return PickerSettings(version="v", pools=(made,), models={"big": "big", "gpt-4": "big"})


def pods(count: int) -> list[str]:
    """Addresses."""
    return [f"10.0.0.{n + 1}:8000" for n in range(count)]


def facts(*texts: str, model: str = "big", cluster: str = "pool/p", **body: Any) -> RequestFacts:
    """A chat of system, user, assistant, user, …"""
    roles = ["system", *["user", "assistant"] * len(texts)]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    data = json.dumps({"model": model, "messages": messages, "stream": True, **body}).encode()
    return RequestFacts(body=data, path="/v1/chat/completions", cluster=cluster)


class Caller:
    """Asks a picker, with a clock and a seed of its own."""

    def __init__(self, picker: Picker, seed: int = 1) -> None:
        self.picker = picker
        self.rng = random.Random(seed)
        self.now = 100.0

    def ask(self, request: RequestFacts) -> Answer:
        """One question, a hundredth of a second later."""
        self.now += 0.01
        return self.picker.decide(request, self.now, self.rng)

    def named(self, request: RequestFacts) -> Named:
        """One question whose answer must be a name."""
        answer = self.ask(request)
        assert isinstance(answer, Named), answer
        return answer

    def end(self, named: Named, status: int = 200) -> None:
        """The request was served as it was meant, and is over."""
        served = named.endpoints[0]
        self.picker.apply(RequestEnded(decision_id=named.decision_id, at=self.now, status=status, served=served))

    def serve(self, request: RequestFacts) -> str:
        """A whole request; the endpoint that served it."""
        named = self.named(request)
        self.end(named)
        return named.endpoints[0]

    def loads(self) -> dict[str, int]:
        """Requests in flight by endpoint."""
        endpoints = self.picker.survey.pools(self.now)["p"]["endpoints"]
        return {endpoint["address"]: endpoint["in_flight"] for endpoint in endpoints}


def test_names_up_to_three_distinct_endpoints() -> None:
    """And no more than there are."""
    assert len(set(Caller(Picker(settings(*pods(5)))).named(facts("hi")).endpoints)) == 3
    assert len(set(Caller(Picker(settings(*pods(2)))).named(facts("hi")).endpoints)) == 2


def fail(caller: Caller, *addresses: str) -> None:
    """One request, and an error of each of these endpoints in turn."""
    named = caller.named(facts("poison"))
    for address in addresses:
        ended = AttemptEnded(decision_id=named.decision_id, address=address, at=caller.now, status=500)
        caller.picker.apply(ended)


def test_one_request_that_fails_again_at_the_same_endpoint() -> None:
    """It counts once, or a single prompt that an engine cannot bear would eject the only endpoint that there is."""
    caller = Caller(Picker(settings(*pods(1))))
    for _ in range(SOFT_LIMIT):
        assert not caller.picker.survey.is_anyone_out
        fail(caller, *pods(1) * 3)
    assert caller.picker.survey.is_anyone_out


@pytest.mark.parametrize("tried", ["ab", "aba", "aab", "abba"])
def test_one_request_that_fails_everywhere(tried: str) -> None:
    """It counts for nobody, in whatever order it is tried, and takes back nothing that others have found."""
    one, two = pods(2)
    caller = Caller(Picker(settings(one, two)))
    for _ in range(SOFT_LIMIT - 1):
        fail(caller, two)
    fail(caller, *({"a": one, "b": two}[each] for each in tried))
    for _ in range(SOFT_LIMIT - 1):
        fail(caller, one)
    assert not caller.picker.survey.is_anyone_out
    fail(caller, two)
    assert caller.picker.survey.is_anyone_out


def test_a_conversation_stays() -> None:
    """Every turn goes where the turns before are, also while other conversations come and go."""
    caller = Caller(Picker(settings(*pods(4))))
    history = [[f"rules {c} " * 40, f"question {c}"] for c in range(6)]
    homes = [caller.serve(facts(*turns)) for turns in history]
    for turn in range(5):
        for home, turns in zip(homes, history, strict=True):
            turns += [f"a long answer {turn} " * 40, f"and then {turn}?"]
            assert caller.serve(facts(*turns)) == home


def test_unrelated_prompts_behind_one_system_prompt_spread() -> None:
    """One after another, with nothing else in flight: after a few, every endpoint has a copy of it and its share."""
    caller = Caller(Picker(settings(*pods(4))))
    served = Counter(caller.serve(facts(SYSTEM, f"Question {n}: what is {n} squared?")) for n in range(100))
    assert set(served) == set(pods(4))
    assert max(served.values()) < 60


def test_a_burst_of_new_prompts_spreads() -> None:
    """Requests that arrive before any has ended go to all endpoints alike."""
    caller = Caller(Picker(settings(*pods(4))))
    for n in range(40):
        caller.named(facts(f"prompt {n} " * 200))
    assert all(8 <= load <= 12 for load in caller.loads().values())


def test_siblings_of_one_new_prompt_stay_together_until_it_is_dear() -> None:
    """The prefix is noted at pick time, so the second sample of a prompt follows the first."""
    caller = Caller(Picker(settings(*pods(4))))
    first, second = (caller.named(facts("the same long prompt " * 200)) for _ in range(2))
    assert first.endpoints[0] == second.endpoints[0]


def test_an_alias_is_rewritten() -> None:
    """The engine gets the real name, the cache knows both as one, and a real name needs no new body."""
    caller = Caller(Picker(settings(*pods(4))))
    real = caller.named(facts("hello " * 100))
    assert real.body is None
    caller.end(real)
    alias = caller.named(facts("hello " * 100, model="gpt-4"))
    assert alias.body is not None
    assert json.loads(alias.body)["model"] == "big"
    assert alias.endpoints[0] == real.endpoints[0]
    record = caller.picker.decisions.get(alias.decision_id)
    assert record is not None
    assert record.model == "big"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (facts("hi", model="unknown"), "unknown model"),
        (facts("hi", cluster="pool/other"), "no pool"),
        (facts("hi", max_tokens="many"), "types"),
        (replace(facts("hi"), path="/tokenize"), "path"),
    ],
)
def test_has_no_opinion(request_: RequestFacts, reason: str) -> None:
    """What it does not know is left to Envoy, and nothing is reserved."""
    caller = Caller(Picker(settings(*pods(2))))
    answer = caller.ask(request_)
    assert isinstance(answer, Unpicked)
    assert reason in answer.reason
    assert caller.picker.open_reservations == len(caller.picker.decisions) == 0


def test_engines_are_asked_by_the_name_they_know() -> None:
    """That of the route before that of the model; the record keeps the canonical name, the cache the engine's."""
    caller = Caller(
        Picker(replace(settings(*pods(2)), engine_models={"big": "engine-big"}, rewrites={"rule/r": "engine-r"}))
    )
    for route, model, wanted in (
        ("model/big", "gpt-4", "engine-big"),
        ("model/big", "big", "engine-big"),
        ("rule/r", "big", "engine-r"),
        ("rule/r", "engine-r", None),
    ):
        settings_ = replace(caller.picker.settings, open_routes=frozenset({"rule/r"}))
        caller.picker.apply_settings(settings_)
        named = caller.named(replace(facts("hello " * 100, model=model), route=route))
        assert (json.loads(named.body)["model"] if named.body else None) == wanted
        record = caller.picker.decisions.get(named.decision_id)
        assert record is not None
        assert record.model == ("big" if model != "engine-r" else "engine-r")


def test_a_rule_takes_models_that_nobody_knows() -> None:
    """On its routes a name stands for itself; elsewhere it stands for nothing."""
    caller = Caller(Picker(replace(settings(*pods(2)), open_routes=frozenset({"rule/r"}))))
    unknown = facts("hi", model="unknown")
    assert isinstance(caller.ask(unknown), Unpicked)
    assert caller.named(replace(unknown, route="rule/r")).body is None


def test_a_route_with_a_timeout_of_its_own() -> None:
    """It bounds the first byte and the reservation in place of the pool's."""
    caller = Caller(Picker(replace(settings(*pods(2), first_byte_s=2.0), timeouts_s={"model/big": 1.5})))
    assert caller.named(replace(facts("hi"), route="model/big")).first_byte_ms is None
    assert caller.picker.expire(caller.now + 1.6 + RESERVATION_SLACK_S) == 1
    assert caller.named(facts("hi")).first_byte_ms == 2_000


def test_without_models_every_name_is_taken() -> None:
    """A policy that configures no models still picks."""
    caller = Caller(Picker(replace(settings(*pods(2)), models={})))
    assert caller.named(facts("hi", model="anything")).body is None


def test_refuses_a_bad_request() -> None:
    """400 with an error that names the trouble."""
    answer = Caller(Picker(settings(*pods(2)))).ask(replace(facts("hi"), body=b"{"))
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.error.type) == (400, "invalid_request_error")


@pytest.mark.parametrize("count", [0, 3])
def test_refuses_when_no_endpoint_is_available(count: int) -> None:
    """503 with Retry-After: no endpoints at all, or none that may be used."""
    made = settings(*pods(count))
    pool = made.pools[0]
    endpoints = tuple(replace(each, available=False) for each in pool.endpoints)
    picker = Picker(replace(made, pools=(replace(pool, endpoints=endpoints),)))
    answer = Caller(picker).ask(facts("hi"))
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.error.type, answer.retry_after_s) == (503, "service_unavailable", 1)
    assert {each["health"] for each in picker.survey.pools(0)["p"]["endpoints"]} <= {"unavailable"}


def test_never_names_the_unavailable() -> None:
    """Not first, not as a substitute, and not although it holds the prefix."""
    caller = Caller(Picker(settings(*pods(3))))
    home = caller.serve(facts("hello " * 500))
    made = caller.picker.settings
    endpoints = tuple(replace(each, available=each.address != home) for each in made.pools[0].endpoints)
    caller.picker.apply_settings(replace(made, pools=(replace(made.pools[0], endpoints=endpoints),)))
    named = caller.named(facts("hello " * 500))
    assert set(named.endpoints) == set(pods(3)) - {home}


def test_an_ejected_endpoint_is_not_named() -> None:
    """After a refused connection its conversations go elsewhere, and stay there when it is back, empty."""
    caller = Caller(Picker(settings(*pods(3))))
    named = caller.named(facts("hello " * 500))
    home = named.endpoints[0]
    caller.picker.apply(
        AttemptEnded(
            decision_id=named.decision_id,
            address=home,
            at=caller.now,
            status=503,
            flags=("UF",),
            failure="delayed connect error: Connection refused",
        )
    )
    caller.picker.apply(AttemptStarted(decision_id=named.decision_id, address=named.endpoints[1], at=caller.now))
    caller.picker.apply(
        RequestEnded(decision_id=named.decision_id, at=caller.now, status=200, served=named.endpoints[1], attempts=2)
    )
    assert home not in caller.named(facts("hello " * 500)).endpoints
    caller.now += 60
    assert caller.named(facts("hello " * 500)).endpoints[0] == named.endpoints[1]


def test_state_outlives_new_settings() -> None:
    """The cache view and what is in flight are kept, though the pool is new."""
    caller = Caller(Picker(settings(*pods(4))))
    first = caller.named(facts("hello " * 500))
    caller.picker.apply_settings(replace(settings(*reversed(pods(4))), version="v2"))
    assert caller.picker.settings.version == "v2"
    assert sum(caller.loads().values()) == 1
    caller.end(first)
    assert caller.serve(facts("hello " * 500)) == first.endpoints[0]


def test_bad_settings_change_nothing() -> None:
    """An unknown strategy is refused as a whole."""
    picker = Picker(settings(*pods(2)))
    with pytest.raises(ValueError, match="unknown strategy"):
        picker.apply_settings(settings("10.9.9.9:1", strategy="best"))
    assert [each["address"] for each in picker.survey.pools(0)["p"]["endpoints"]] == pods(2)


def test_round_robin_takes_turns_over_reloads() -> None:
    """The turn belongs to the pool, not to its settings."""
    caller = Caller(Picker(settings(*pods(4), strategy="round-robin")))
    served = [caller.serve(facts("hi")) for _ in range(3)]
    caller.picker.apply_settings(settings(*pods(4), strategy="round-robin"))
    served += [caller.serve(facts("hi")) for _ in range(5)]
    assert served == pods(4) * 2


def test_decisions_can_be_explained() -> None:
    """The record has the time, the candidates with their terms, the reason, and later the outcome."""
    caller = Caller(Picker(settings(*pods(3)), wall_offset_s=1_000.0))
    text = "hello " * 500
    caller.serve(facts(text))
    named = caller.named(facts(text, "and more?"))
    caller.picker.apply(AttemptStarted(decision_id=named.decision_id, address=named.endpoints[0], at=caller.now))
    caller.end(named)
    value = json.loads(json.dumps(caller.picker.decisions.latest(1)[0].as_dict()))
    assert value["time"] == pytest.approx(1_100.02)
    assert (value["id"], value["endpoints"]) == (named.decision_id, list(named.endpoints))
    assert value["reason"].startswith("cache: 704 of ")
    assert [each["address"] for each in value["candidates"]] == list(named.endpoints)
    best, second = value["candidates"][:2]
    assert best["terms"]["cached_tokens"] == 704
    assert best["cost"] < second["cost"]
    assert (value["outcome"]["served"], value["outcome"]["status"]) == (named.endpoints[0], 200)


def test_ids_are_unique_and_come_from_the_rng() -> None:
    """Sixteen hexadecimal digits, the same from the same seed."""
    first = [Caller(Picker(settings(*pods(2))), seed=5).named(facts("hi")).decision_id for _ in range(2)]
    assert first[0] == first[1]
    assert len(first[0]) == 16
    caller = Caller(Picker(settings(*pods(2))))
    assert len({caller.named(facts("hi")).decision_id for _ in range(100)}) == 100


def test_what_is_reserved_is_what_the_best_computes() -> None:
    """The uncached tokens of the chosen endpoint stand in its queue until the first token."""
    caller = Caller(Picker(settings(*pods(3))))
    caller.serve(facts("hello " * 500))
    named = caller.named(facts("hello " * 500, "and " * 200))
    best = caller.picker.decisions.latest(1)[0].candidates.as_list()[0]
    queued = {
        each["address"]: each["queued_tokens"] for each in caller.picker.survey.pools(caller.now)["p"]["endpoints"]
    }
    assert best["terms"]["uncached_tokens"] < 300
    assert queued == dict.fromkeys(pods(3), 0) | {named.endpoints[0]: best["terms"]["uncached_tokens"]}


def test_other_strategies_reserve_the_whole_prompt() -> None:
    """Without an index nothing is known to be cached."""
    caller = Caller(Picker(settings(*pods(1), strategy="least-request")))
    for _ in range(2):
        caller.named(facts("x" * 396))
    assert caller.picker.survey.pools(0)["p"]["endpoints"][0]["queued_tokens"] == 2 * ((396 + len("\0msystem\0t")) // 4)


def test_the_usual_prompt_and_pace_are_learned() -> None:
    """The closer requests come, the more weighs what one does to later ones."""

    def later_ms(gap_s: float) -> float:
        caller = Caller(Picker(settings(*pods(1))))
        for n in range(300):
            caller.end(caller.named(facts(f"{n:06}" + "x" * 5_000)))
            caller.now += gap_s - 0.01
        return float(caller.picker.decisions.latest(1)[0].candidates.terms["later_ms"][0])

    assert later_ms(1.0) / later_ms(10.0) == pytest.approx(10, rel=0.01)


def test_several_system_prompts_are_not_everybodys() -> None:
    """Three applications in one pool, one after another: each stays where its system prompt is."""
    caller = Caller(Picker(settings(*pods(3))))
    homes: dict[int, set[str]] = {}
    for n in range(60):
        home = caller.serve(facts(f"{n % 3} {SYSTEM}", f"Question {n}: what is {n} squared?"))
        homes.setdefault(n % 3, set()).add(home)
    assert sorted(map(len, homes.values())) == [1, 1, 1]


def test_a_reservation_ends_by_age() -> None:
    """A request whose end is never told is given up after its timeout and some slack."""
    caller = Caller(Picker(settings(*pods(2), request_timeout_s=30.0)))
    caller.named(facts("hi"))
    assert caller.picker.expire(caller.now + 30.0) == 0
    assert caller.picker.expire(caller.now + 30.1 + RESERVATION_SLACK_S) == 1
    assert sum(caller.loads().values()) == caller.picker.open_reservations == 0


def test_the_first_byte_limit_comes_with_the_name() -> None:
    """Of this request and its pool."""
    caller = Caller(Picker(settings(*pods(2), first_byte_s=2.0)))
    assert caller.named(facts("hi")).first_byte_ms == 2_000
    assert caller.named(facts("hi", stream=False, max_tokens=10)).first_byte_ms == 3_000


def wanted(request: RequestFacts) -> Wanted:
    """What a request comes to when somebody else has read it."""
    parsed = parse_request(request)
    assert isinstance(parsed, ParsedRequest)
    text = b"".join(parsed.prompt_parts)
    return Wanted(model="big", tokens=tokens_of(text), blocks=block_hashes(text, "big"), timeout_s=600.0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_place_is_what_a_decision_leads_to(strategy: str) -> None:
    """Requests that were read elsewhere get the same names, records and reservations as those with a body."""
    callers = [Caller(Picker(settings(*pods(5), strategy=strategy))) for _ in range(2)]
    for n in range(40):
        request = facts("hello " * 100 * (1 + n % 3), *(f"turn {t}" for t in range(n % 7)))
        asked = callers[0].named(request)
        callers[1].now = callers[0].now
        placed = callers[1].picker.place("pool/p", wanted(request), callers[1].now, callers[1].rng)
        assert placed == Named(decision_id=asked.decision_id, endpoints=asked.endpoints)
        records = [caller.picker.decisions.latest(1)[0].as_dict() for caller in callers]
        for record in records:
            del record["request"]  # who has no body knows little of it
        assert records[0] == records[1]
    first, second = (caller.picker.survey.pools(callers[0].now)["p"]["endpoints"] for caller in callers)
    assert first == second
    ages = {caller.picker.expire(callers[0].now + 600 + RESERVATION_SLACK_S) for caller in callers}
    assert ages == {40}


def test_there_is_no_place_where_there_is_no_pool() -> None:
    """The answers are those of `decide`."""
    rng = random.Random(1)
    request = Wanted(model="big", tokens=9, timeout_s=1.0)
    assert Picker(settings(*pods(1))).place("pool/q", request, 0.0, rng) == Unpicked("the route leads to no pool")
    answer = Picker(settings()).place("pool/p", request, 0.0, rng)
    assert isinstance(answer, Rejected)
    assert (answer.status, answer.error.code) == (503, "no_endpoint")


def test_picks_of_a_peer_count() -> None:
    """A pick that another sidecar made is in the ledger and in the index, once."""
    caller = Caller(Picker(settings(*pods(2))))
    peer = Caller(Picker(settings(*pods(2))), seed=9)
    theirs = peer.named(facts("hello " * 500))
    told = Picked(
        decision_id=theirs.decision_id,
        at=caller.now,
        address=theirs.endpoints[0],
        uncached_tokens=700,
        prompt_tokens=700,
        max_age_s=60.0,
        pool="p",
        blocks=(1, 2, 3),
    )
    caller.picker.apply(told)
    caller.picker.apply(told)
    caller.picker.apply(replace(told, decision_id="other pool", pool="gone"))
    assert caller.loads()[theirs.endpoints[0]] == 2
    blocks = {
        each["address"]: each["index_blocks"] for each in caller.picker.survey.pools(caller.now)["p"]["endpoints"]
    }
    assert blocks[theirs.endpoints[0]] == 3


def test_scrapes_show_in_the_status() -> None:
    """A scrape, a failed one, and one of an endpoint that is not ours."""
    picker = Picker(settings(*pods(2)))
    picker.apply(Scraped(address=pods(1)[0], at=1.0, running=3, waiting=2))
    picker.apply(ScrapeFailed(address=pods(1)[0], at=1.5, reason="timeout"))
    picker.apply(Scraped(address="10.9.9.9:1", at=1.0, running=3, waiting=2))
    status = picker.survey.pools(1.5)["p"]
    assert status["strategy"] == "kv-aware"
    assert [(each["running"], each["waiting"], each["scrape_age_s"]) for each in status["endpoints"]] == [
        (3.0, 2.0, 0.5),
        (0.0, 0.0, None),
    ]


def test_late_events_resurrect_nothing() -> None:
    """Records that come after the end only complete the decision's record."""
    caller = Caller(Picker(settings(*pods(2))))
    named = caller.named(facts("hi"))
    caller.picker.apply(StreamEnded(decision_id=named.decision_id, at=caller.now))
    caller.picker.apply(AttemptStarted(decision_id=named.decision_id, address=pods(2)[1], at=caller.now))
    caller.end(named, status=429)
    assert sum(caller.loads().values()) == 0
    record = caller.picker.decisions.get(named.decision_id)
    assert record is not None
    assert record.outcome.status == 429


@given(st.integers(0, 10_000), st.binary(max_size=3), st.sampled_from(["big", "gpt-4"]))
def test_no_body_makes_it_raise(place: int, noise: bytes, model: str) -> None:
    """A body with some bytes replaced gets some answer, with or without an alias."""
    body = facts("hello", "world", model=model, tools=[{"a\\": "\u00fc", "\nx": None}]).body
    place %= len(body)
    noisy = body[:place] + noise + body[place + len(noise) :]
    answer = Caller(Picker(settings(*pods(2)))).ask(RequestFacts(body=noisy, path="/v1/chat/completions"))
    assert isinstance(answer, Unpicked | Rejected)
    request = RequestFacts(body=noisy, path="/v1/chat/completions", cluster="pool/p")
    assert isinstance(Caller(Picker(settings(*pods(2)))).ask(request), Named | Unpicked | Rejected)


_BLOCK = "x" * BLOCK_BYTES
_ASKED = st.tuples(st.integers(0, 3), st.integers(0, 4), st.booleans())


@pytest.mark.parametrize("strategy", STRATEGIES)
@given(asked=st.lists(_ASKED, max_size=25), seed=st.integers(0, 2**32))
def test_everything_is_released(strategy: str, asked: list[tuple[int, int, bool]], seed: int) -> None:
    """Whatever is asked and ended, in flight is what has not ended, and in the end nothing."""
    caller = Caller(Picker(settings(*pods(3), strategy=strategy)), seed)
    running: list[Named] = []
    for letter, blocks, ends in asked:
        named = caller.named(facts(str(letter) + _BLOCK * blocks))
        assert set(named.endpoints) <= set(pods(3))
        running.append(named)
        if ends:
            caller.end(running.pop(letter % len(running)))
        assert sum(caller.loads().values()) == len(running) == caller.picker.open_reservations
    for named in running:
        caller.end(named)
    assert sum(caller.loads().values()) == 0


def in_levels(*priorities: int, strategy: str = "kv-aware") -> PickerSettings:
    """One pool whose endpoints have these priorities."""
    made = settings(*pods(len(priorities)), strategy=strategy)
    endpoints = zip(made.pools[0].endpoints, priorities, strict=True)
    placed = tuple(replace(endpoint, priority=priority) for endpoint, priority in endpoints)
    return replace(made, pools=(replace(made.pools[0], endpoints=placed),))


class Mesh(Caller):
    """A caller behind an Envoy that tries the names one after another; pods that are dead refuse connections."""

    def __init__(self, made: PickerSettings, seed: int = 1) -> None:
        super().__init__(Picker(made), seed)
        self.dead: set[str] = set()

    def tried(self, request: RequestFacts) -> tuple[str, int]:
        """(who served the request, after how many tries); nobody where all names are dead."""
        named = self.named(request)
        for tries, address in enumerate(named.endpoints, 1):
            self.picker.apply(AttemptStarted(decision_id=named.decision_id, address=address, at=self.now))
            if address not in self.dead:
                self.picker.apply(FirstToken(decision_id=named.decision_id, address=address, at=self.now, ttft_ms=1))
                self._end(named, 200, address, tries)
                return address, tries
            self.picker.apply(
                AttemptEnded(
                    decision_id=named.decision_id,
                    address=address,
                    at=self.now,
                    status=503,
                    flags=("UF",),
                    failure="delayed connect error: Connection refused",
                )
            )
        self._end(named, 503, "", len(named.endpoints))
        return "", len(named.endpoints)

    def scrape(self) -> None:
        """Whoever lives answers a scrape."""
        for address in self.loads():
            if address not in self.dead:
                self.picker.apply(Scraped(address=address, at=self.now, running=0, waiting=0))

    def _end(self, named: Named, status: int, served: str, tries: int) -> None:
        ended = RequestEnded(decision_id=named.decision_id, at=self.now, status=status, served=served, attempts=tries)
        self.picker.apply(ended)


@pytest.mark.parametrize("strategy", SPREADING)
def test_the_nearest_level_serves_until_it_is_gone(strategy: str) -> None:
    """Requests leave the level when all of it refuses, at the cost of retries only, and return when it is back."""
    mesh = Mesh(in_levels(0, 1, 0, 1, strategy=strategy))
    near, far = set(pods(4)[::2]), set(pods(4)[1::2])
    assert {mesh.tried(facts(f"a{n}"))[0] for n in range(12)} == near
    mesh.dead = near
    assert {mesh.tried(facts(f"b{n}"))[0] for n in range(12)} == far
    assert mesh.picker.decisions.latest(1)[0].reason.endswith("priority 1, nobody nearer may be named")
    mesh.dead = set()
    mesh.now += 60.0
    assert {mesh.tried(facts(f"c{n}"))[0] for n in range(12)} == near


def test_a_cache_further_away_is_left_alone() -> None:
    """Priorities come before costs: a prefix in the next level does not call its conversation there."""
    made = in_levels(0, 0, 1)
    mesh = Mesh(made)
    mesh.dead = set(pods(2))
    assert mesh.tried(facts("hello " * 500))[0] == pods(3)[2]
    mesh.dead = set()
    mesh.now += 60.0
    assert mesh.tried(facts("hello " * 500))[0] in pods(2)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_mostly_dead_pool_serves(strategy: str) -> None:
    """200 dead pods and 2 live ones: once a live one has been found by a request, no request fails, also while the dead
    ones come up for trial again and again."""
    mesh = Mesh(settings(*pods(202), strategy=strategy))
    mesh.dead = set(pods(202)) - {pods(202)[77], pods(202)[150]}
    served = []
    for n in range(1_000):
        mesh.now += 0.1
        served.append(mesh.tried(facts(f"question {n}"))[0])
    found = next(n for n, address in enumerate(served) if address)
    assert found <= 200 / 3, "every request that fails finds three dead ones"
    assert "" not in served[found:]
    live = set(pods(202)) - mesh.dead
    assert set(served[found:]) == (live if strategy in SPREADING else {pods(202)[77]}), "all that are to be used are"


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_scrapes_show_who_lives_in_a_mostly_dead_pool(strategy: str) -> None:
    """When 200 of 202 busy pods die at once, what answers a scrape is trusted before any request has found it."""
    mesh = Mesh(settings(*pods(202), strategy=strategy))
    for n in range(300):
        mesh.tried(facts(f"before {n}"))
    mesh.scrape()
    mesh.now += 10.0
    mesh.dead = set(pods(202)) - {pods(202)[77], pods(202)[150]}
    mesh.scrape()
    served = [mesh.tried(facts(f"after {n}"))[0] for n in range(300)]
    assert served.count("") <= 1, "the first failure puts the pool in doubt"
    assert served[0] in ("", *pods(202))
    assert "" not in served[1:]


def shifted(made: PickerSettings, *percents: int) -> PickerSettings:
    """The same, while requests move between levels."""
    shares = tuple(ShareSettings(priority=n, percent=each, why="failover") for n, each in enumerate(percents))
    return replace(made, pools=(replace(made.pools[0], shares=shares),))


@pytest.mark.parametrize("strategy", SPREADING)
def test_levels_get_their_shares(strategy: str) -> None:
    """About, by what conversations begin with or by turns; exactly all and nothing at the ends."""
    near, far = set(pods(4)[::2]), set(pods(4)[1::2])
    for percent in (0, 30, 100):
        mesh = Mesh(shifted(in_levels(0, 1, 0, 1, strategy=strategy), 100 - percent, percent))
        served = [mesh.tried(facts(f"question {n}"))[0] for n in range(200)]
        moved = sum(address in far for address in served) / 2
        assert abs(moved - percent) <= (0 if percent in (0, 100) else 10)
        assert set(served) == (near if not percent else far if percent == 100 else near | far)


def test_a_conversation_stays_where_it_is_while_shares_do() -> None:
    """It grows behind a system prompt that all begin with; a step of the shift moves some, and nobody back."""
    made = in_levels(0, 1, 0, 1)
    mesh = Mesh(shifted(made, 60, 40))
    far = set(pods(4)[1::2])
    system = "you are helpful. " * 200

    def homes(turns: int) -> list[bool]:
        return [
            mesh.tried(facts(system + f"{n} said something. " * 30 + "more words. " * 50 * turns))[0] in far
            for n in range(40)
        ]

    homes(0)  # what is common to all shows
    first = homes(1)
    assert 5 <= sum(first) <= 27
    assert homes(2) == first
    mesh.picker.apply_settings(shifted(made, 20, 80), mesh.now)
    later = homes(3)
    assert all(now or not before for before, now in zip(first, later, strict=True))
    assert sum(later) > sum(first)


def test_a_session_stays_where_it_is_while_shares_do() -> None:
    """Whatever it asks."""
    mesh = Mesh(shifted(in_levels(0, 1, 0, 1, strategy="round-robin"), 50, 50))
    far = set(pods(4)[1::2])
    homes = [
        {mesh.tried(replace(facts(f"{n} {turn}"), session=f"s{n}"))[0] in far for turn in range(5)} for n in range(30)
    ]
    assert all(len(each) == 1 for each in homes)
    assert 5 <= sum(each == {True} for each in homes) <= 25
