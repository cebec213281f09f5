"""Strategies within the picker: what they are told, what they remember, and whom they never name."""

import json
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from ext_proc.core.events import AttemptEnded, RequestEnded, Scraped
from ext_proc.core.picker import Named, Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies import least_request, queue_depth
from ext_proc.core.strategies.fenced import SLOW_IN_A_ROW
from ext_proc.core.strategies.session import Parameters
from ext_proc.core.strategies.table import STRATEGIES
from ext_proc.core.strategies.view import Ranking, Request, View


def pods(count: int) -> list[str]:
    """Addresses."""
    return [f"10.0.0.{n + 1}:8000" for n in range(count)]


def settings(count: int, strategy: str, weights: tuple[int, ...] = (), **pool: Any) -> PickerSettings:
    """One pool."""
    endpoints = tuple(
        EndpointSettings(address=address, weight=weights[n] if weights else 100)
        for n, address in enumerate(pods(count))
    )
    made = PoolSettings(name="p", cluster="p", strategy=strategy, endpoints=endpoints, **pool)
    return PickerSettings(version="v", pools=(made,))


def facts(text: str = "hi", headers: dict[str, str] | None = None, session: str = "", **body: Any) -> RequestFacts:
    """A completion."""
    data = json.dumps({"model": "m", "prompt": text, **body}).encode()
    return RequestFacts(body=data, path="/v1/completions", cluster="p", session=session, headers=headers or {})


class Caller:
    """Asks a picker, and ends what it asked for."""

    def __init__(self, made: PickerSettings) -> None:
        self.picker = Picker(made)
        self.rng = random.Random(1)
        self.now = 100.0

    def ask(self, request: RequestFacts) -> Named:
        """One question."""
        self.now += 0.01
        named = self.picker.decide(request, self.now, self.rng)
        assert isinstance(named, Named), named
        return named

    def served(self, request: RequestFacts) -> str:
        """A whole request."""
        named = self.ask(request)
        served = named.endpoints[0]
        self.picker.apply(RequestEnded(decision_id=named.decision_id, at=self.now, status=200, served=served))
        return served


@pytest.mark.parametrize(
    ("parameters", "same", "different"),
    [
        ({}, {"session": "s{}"}, {"headers": {"x-a": "s{}"}}),
        ({}, {"user": "s{}"}, {"headers": {"x-a": "s{}"}}),
        ({"session": Parameters(header="x-a")}, {"headers": {"x-a": "s{}"}}, {"session": "s{}"}),
        ({"session": Parameters(cookie="c")}, {"headers": {"cookie": "b=1; c=s{}"}}, {"session": "s{}"}),
        ({"session": Parameters(use_user=True)}, {"user": "s{}"}, {"session": "s{}"}),
    ],
)
def test_sessions_stay(parameters: dict[str, Any], same: dict[str, Any], different: dict[str, Any]) -> None:
    """By the key that the policy names; what is no key draws among the idle ones."""
    caller = Caller(settings(8, "session", parameters=parameters))

    def asked(n: int, template: dict[str, Any]) -> RequestFacts:
        return facts(f"text {n}", **json.loads(json.dumps(template).replace("{}", str(n % 10))))

    homes: dict[int, set[str]] = {}
    for n in range(60):
        homes.setdefault(n % 10, set()).add(caller.served(asked(n, same)))
    assert all(len(home) == 1 for home in homes.values())
    assert len(set.union(*homes.values())) > 3
    assert len({caller.served(asked(0, different)) for _ in range(40)}) > 3


def test_two_pickers_agree_about_sessions() -> None:
    """Without telling each other, whatever else they have seen."""
    one, other = Caller(settings(8, "session")), Caller(settings(8, "session"))
    for n in range(30):
        other.served(facts(session=f"other {n}"))
    assert [one.served(facts(session=f"s{n}")) for n in range(30)] == [
        other.served(facts(session=f"s{n}")) for n in range(30)
    ]


def test_turns_by_weight_go_on_over_reloads() -> None:
    """What a strategy remembers lives as long as its name and parameters; endpoints may change."""
    caller = Caller(settings(3, "weighted-round-robin", weights=(5, 1, 1)))
    served = [caller.served(facts()) for _ in range(3)]
    for version in ("w", "x", "y", "z"):
        caller.picker.apply_settings(replace(settings(3, "weighted-round-robin", weights=(5, 1, 1)), version=version))
        served.append(caller.served(facts()))
    a, b, c = pods(3)
    assert served == [a, a, b, a, c, a, a]


def test_other_parameters_make_another_strategy() -> None:
    """They count from the next pick on."""
    caller = Caller(settings(2, "queue-depth"))
    for address, waiting in zip(pods(2), (4, 6), strict=True):
        caller.picker.apply(Scraped(address=address, at=100.0, running=1, waiting=waiting))
    assert caller.served(facts()) == pods(2)[0]
    record = caller.picker.decisions.latest(1)[0]
    assert "shortest queue" in record.reason
    parameters = {"queue-depth": queue_depth.Parameters(maximum_depth=3)}
    caller.picker.apply_settings(settings(2, "queue-depth", parameters=parameters))
    caller.served(facts())
    assert "all queues full" in caller.picker.decisions.latest(1)[0].reason


def test_the_primary_serves_while_it_can() -> None:
    """A standby takes over when it refuses, and gives back when it answers again."""
    caller = Caller(settings(3, "primary-standby"))
    assert {caller.served(facts()) for _ in range(10)} == {pods(3)[0]}
    named = caller.ask(facts())
    refused = AttemptEnded(
        decision_id=named.decision_id, address=pods(3)[0], at=caller.now, status=503, flags=("UF",), failure="refused"
    )
    caller.picker.apply(refused)
    caller.picker.apply(
        RequestEnded(decision_id=named.decision_id, at=caller.now, status=200, served=pods(3)[1], attempts=2)
    )
    assert {caller.served(facts()) for _ in range(10)} == {pods(3)[1]}
    caller.now += 60
    assert {caller.served(facts()) for _ in range(10)} == {pods(3)[0]}


def test_failing_endpoints_lose_traffic_under_weighted() -> None:
    """An engine that is full answers 429 at once; it must not look like the quickest."""
    caller = Caller(settings(3, "weighted"))
    full = pods(3)[1]
    picks: Counter[str] = Counter()
    for _ in range(400):
        named = caller.ask(facts())
        served = named.endpoints[0]
        picks[served] += 1
        status, took = (429, 1.0) if served == full else (200, 800.0)
        caller.picker.apply(AttemptEnded(decision_id=named.decision_id, address=served, at=caller.now, status=status))
        ended = RequestEnded(
            decision_id=named.decision_id, at=caller.now, status=status, served=served, duration_ms=took, ttft_ms=took
        )
        caller.picker.apply(ended)
        caller.now += 0.1
    assert picks[full] < 0.75 * min(picks[pods(3)[0]], picks[pods(3)[2]])


class Longest:
    """A user's own: the highest address for long prompts, the lowest for others; it remembers what it saw."""

    needs_prompt = False

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.limit = parameters["limit"]
        self.seen: list[Request] = []
        self.picks: list[str] = []

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """By the position."""
        self.seen.append(view.request)
        ranking = least_request.rank(view, rng)
        order = sorted(range(len(view.slots)), key=view.address, reverse=view.request.tokens > self.limit)
        return replace(ranking, order=np.array(order[: len(ranking.order)]))

    def picked(self, view: View, position: int) -> None:
        """Keeps its address."""
        self.picks.append(view.address(position))


def test_a_strategy_of_the_users() -> None:
    """It is made once from the pool's parameters, is told about the request, and about its picks."""
    made: list[Longest] = []

    def maker(parameters: dict[str, Any]) -> Longest:
        made.append(Longest(parameters))
        return made[-1]

    pool = settings(3, "acme.longest", own=maker, parameters={"acme.longest": {"limit": 10}})
    caller = Caller(pool)
    assert caller.served(facts("short", max_tokens=5, user="u", headers={"x-a": "b"}, session="s")) == pods(3)[0]
    caller.picker.apply_settings(replace(pool, version="w"))
    assert caller.served(facts("long " * 100)) == pods(3)[2]
    (own,) = made
    assert own.seen[0] == Request(
        kind="completion", model="m", tokens=1, max_tokens=5, session="s", user="u", headers={"x-a": "b"}
    )
    assert own.picks == [pods(3)[0], pods(3)[2]]
    assert caller.picker.decisions.latest(1)[0].strategy == "acme.longest"


def test_a_strategy_of_the_users_that_is_slow() -> None:
    """It is switched off, which is said; `kv-aware` stands in, also over a reload; other parameters are another try."""
    took, now = [1.0], [0.0]

    def maker(parameters: dict[str, Any]) -> Longest:
        class Slow(Longest):
            def rank(self, view: View, rng: random.Random) -> Ranking:
                now[0] += took[0]
                return super().rank(view, rng)

        return Slow(parameters)

    pool = settings(3, "acme.longest", own=maker, parameters={"acme.longest": {"limit": 10}})
    caller = Caller(pool)
    caller.picker = Picker(pool, own_clock=lambda: now[0])
    for _ in range(SLOW_IN_A_ROW):
        assert caller.picker.survey.switched_off() == []
        caller.served(facts("long " * 100))
    ((name, why),) = caller.picker.survey.switched_off()
    assert (name, caller.picker.survey.pools(caller.now)["p"]["strategy_off"]) == ("p", why)
    caller.picker.apply_settings(replace(pool, version="w"))
    caller.served(facts("long " * 100))
    assert caller.picker.decisions.latest(1)[0].reason.startswith("cache: 0 of ")
    other = replace(pool.pools[0], parameters={"acme.longest": {"limit": 11}})
    caller.picker.apply_settings(replace(pool, pools=(other,)))
    assert caller.picker.survey.switched_off() == []
    assert "strategy_off" not in caller.picker.survey.pools(caller.now)["p"]


_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "wait", "fail", "drain", "remove", "heal"]), st.integers(0, 5)),
    min_size=1,
    max_size=40,
)


@pytest.mark.parametrize("strategy", STRATEGIES)
@effort(max_examples=40)
@given(actions=_ACTIONS, levels=st.lists(st.integers(0, 1), min_size=6, max_size=6), seed=st.integers(0, 2**32))
def test_never_names_whom_it_must_not(
    strategy: str, actions: list[tuple[str, int]], levels: list[int], seed: int
) -> None:
    """Whatever happens in between: nobody who was removed or is drained, and nobody who is ejected while another of the
    pool is not; a half-open endpoint may be tried by one request, and counts as ejected until that one has ended."""
    made = settings(6, strategy)
    endpoints = {
        e.address: replace(e, priority=level) for e, level in zip(made.pools[0].endpoints, levels, strict=True)
    }
    there = dict(endpoints)
    on_trial: set[str] = set()
    caller = Caller(made)
    caller.rng = random.Random(seed)

    def reload() -> None:
        pool = replace(made.pools[0], endpoints=tuple(there.values()))
        caller.picker.apply_settings(replace(made, pools=(pool,)))

    reload()
    for action, number in actions:
        address = pods(6)[number]
        caller.now += 0.1
        if action == "remove" and len(there) > 1:
            there.pop(address, None)
            reload()
        elif action == "drain" and address in there:
            there[address] = replace(there[address], available=not there[address].available)
            reload()
        elif action == "wait":
            caller.now += 0.5  # an ejection ends in the meantime; a trial whose end nobody tells does not (30 s)
        elif action == "heal":
            there[address] = endpoints[address]
            reload()
        elif action == "fail":
            failed = AttemptEnded(
                decision_id="d", address=address, at=caller.now, status=503, flags=("UF",), failure="refused"
            )
            caller.picker.apply(failed)
            on_trial.discard(address)
        elif action == "ask" and any(each.available for each in there.values()):
            usable = {each.address for each in there.values() if each.available}
            health = {
                each["address"]: each["health"]
                for each in caller.picker.survey.pools(caller.now + 0.01)["p"]["endpoints"]
            }
            fit = {each for each in usable if health[each] != "ejected" and each not in on_trial} or usable
            named = caller.ask(facts(f"text {number}", session=f"s{number}")).endpoints
            assert set(named) <= fit
            if health[named[0]] == "half-open":
                on_trial.add(named[0])
