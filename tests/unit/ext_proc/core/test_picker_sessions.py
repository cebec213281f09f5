"""Sessions through the picker: they stay while their pod may be named, move once when it may not, and stay there."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from ext_proc.core.events import AttemptEnded, Probed, RequestEnded, Scraped
from ext_proc.core.picker import Named, Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.sessions import IDLE_S
from ext_proc.core.settings import (
    AdmissionSettings,
    EndpointSettings,
    FilterSettings,
    PickerSettings,
    PoolSettings,
    ShareSettings,
)
from ext_proc.core.strategies.session import Parameters

PODS = [f"10.0.0.{n + 1}:8000" for n in range(4)]
BODY = b'{"model": "m", "prompt": "hi", "user": "%s"}'


def settings(*endpoints: EndpointSettings, **pool: object) -> PickerSettings:
    """One pool; without endpoints it has four."""
    here = endpoints or tuple(EndpointSettings(address=address) for address in PODS)
    made = PoolSettings(name="p", cluster="p", strategy="session", endpoints=here)
    return PickerSettings(version="v", pools=(replace(made, **pool),))  # type: ignore[arg-type]


class Calls:
    """Asks a picker, and tells what came of it."""

    def __init__(self, made: PickerSettings | None = None, key: bytes = b"") -> None:
        self.picker = Picker(made or settings(), session_key=key)
        self.rng = random.Random(1)
        self.now = 100.0

    def ask(self, session: str, body: bytes = BODY) -> Named:
        """One question."""
        self.now += 0.01
        facts = RequestFacts(
            body=body, path="/v1/completions", cluster="p", session=session, headers={"x-session": session}
        )
        named = self.picker.decide(facts, self.now, self.rng)
        assert isinstance(named, Named), named
        return named

    def end(self, named: Named, served: str, status: int = 200) -> None:
        """The end of a request."""
        self.picker.apply(RequestEnded(decision_id=named.decision_id, at=self.now, status=status, served=served))

    def served(self, session: str) -> str:
        """A whole request."""
        named = self.ask(session)
        self.end(named, named.endpoints[0])
        return named.endpoints[0]

    def refuse(self, address: str) -> None:
        """A pod is gone: somebody's connection was refused."""
        self.picker.apply(
            AttemptEnded(decision_id="x", address=address, at=self.now, status=503, flags=("UF",), failure="refused")
        )

    def reason(self, named: Named) -> str:
        """What its record says."""
        record = self.picker.decisions.get(named.decision_id)
        assert record is not None
        return record.reason

    def without(self, *addresses: str) -> None:
        """Some pods drain: they are there, and not to be named."""
        self.picker.apply_settings(
            settings(*(EndpointSettings(address=each, available=each not in addresses) for each in PODS)), self.now
        )


def test_a_session_moves_once_and_stays() -> None:
    """Its pod drains, and comes back: the session does not. Those of other pods never move."""
    calls = Calls()
    names = [f"s{n}" for n in range(40)]
    before = {name: calls.served(name) for name in names}
    gone = before["s0"]
    calls.without(gone)
    during = {name: calls.served(name) for name in names}
    calls.without()
    after = {name: calls.served(name) for name in names}
    assert {name for name in names if during[name] != before[name]} == {name for name in names if before[name] == gone}
    assert after == during
    assert calls.picker.sessions.as_dict()["moved"] == Counter(before.values())[gone]
    rows = calls.picker.survey.pools(calls.now)["p"]["endpoints"]
    assert {row["address"]: row.get("sessions", 0) for row in rows} == {
        each: Counter(after.values())[each] for each in PODS
    }
    assert calls.served("new 4") in PODS


def test_a_session_follows_its_answer() -> None:
    """Envoy's retry served it elsewhere: there its prefix is, and there it stays, also when the first pod is well."""
    calls = Calls()
    named = calls.ask("s")
    first, second, *_ = named.endpoints
    calls.end(named, second)
    assert calls.served("s") == second != first
    assert calls.reason(calls.ask("s")) == f"session: {second} is where the session is"


@pytest.mark.parametrize("status", [0, 500, 503, 429])
def test_failures_move_nobody(status: int) -> None:
    """As long as the pod is not left alone."""
    calls = Calls()
    named = calls.ask("s")
    first, second, *_ = named.endpoints
    calls.end(named, second, status)
    assert calls.served("s") == first


def test_a_dead_pod_is_remembered_by_nobody() -> None:
    """Refused once: its sessions go elsewhere, and stay there when it lives again; one request may try it."""
    calls = Calls()
    home = calls.served("s")
    calls.refuse(home)
    elsewhere = calls.served("s")
    assert elsewhere != home
    calls.now += 60.0
    calls.picker.apply(Probed(address=home, at=calls.now))
    trial = calls.ask("s")
    assert trial.endpoints[:2] == (home, elsewhere)
    assert calls.reason(trial).endswith("is half open, and tried by this one request")
    calls.end(trial, home)
    assert [calls.served("s") for _ in range(5)] == 5 * [elsewhere]


def test_conversations_without_a_key_stay_as_well() -> None:
    """`kv-aware` forgets what a dead pod held: the conversation is where it went on, also when that is back."""
    calls = Calls(settings(strategy="kv-aware"))
    said = "word " * 2_000

    def turn() -> str:
        nonlocal said
        said += "and so on " * 50
        named = calls.ask("", b'{"model": "m", "prompt": "%s"}' % said.encode())
        calls.end(named, named.endpoints[0])
        return named.endpoints[0]

    first = turn()
    assert turn() == first
    calls.refuse(first)
    second = turn()
    assert second != first
    calls.now += 60.0
    for _ in range(5):
        for address in PODS:
            calls.picker.apply(Probed(address=address, at=calls.now))
            calls.picker.apply(Scraped(address=address, at=calls.now, running=0, waiting=0))
        assert turn() == second


def test_full_homes_lend_single_requests() -> None:
    """Above the bound a request goes on; the next one that finds room comes home."""
    calls = Calls()
    home = calls.served("s")
    running = [calls.ask("s") for _ in range(3)]
    places = [each.endpoints[0] for each in running]
    assert places[0] == home != places[2]
    assert "too much to do" in calls.reason(running[2])
    for named in running:
        calls.end(named, named.endpoints[0])
    assert calls.served("s") == home
    assert calls.picker.sessions.as_dict()["moved"] == 0


def test_new_sessions_keep_to_the_bound() -> None:
    """They begin where there is room, and that is their home."""
    calls = Calls()
    full = calls.ask("s")
    name = next(f"o{n}" for n in range(50) if Calls().served(f"o{n}") == full.endpoints[0])
    home = calls.served(name)
    assert home != full.endpoints[0]
    calls.end(full, full.endpoints[0])
    assert calls.served(name) == home


def test_sessions_follow_levels() -> None:
    """Whoever is in a level that is not used is home to nobody: sessions leave it, and come back with the level."""
    near, far = PODS[:2], PODS[2:]

    def arranged(*available: str) -> PickerSettings:
        return settings(
            *(EndpointSettings(address=each, priority=int(each in far), available=each in available) for each in PODS)
        )

    calls = Calls(arranged(*PODS))
    names = [f"s{n}" for n in range(20)]
    assert {calls.served(name) for name in names} == set(near)
    calls.picker.apply_settings(arranged(*far))
    away = {name: calls.served(name) for name in names}
    assert set(away.values()) == set(far)
    assert {name: calls.served(name) for name in names} == away
    calls.picker.apply_settings(arranged(*PODS))
    back = {name: calls.served(name) for name in names}
    assert set(back.values()) == set(near)
    assert {name: calls.served(name) for name in names} == back


@pytest.mark.parametrize("key", [Parameters(), Parameters(header="x-session")])
def test_sessions_follow_a_gradual_shift(key: Parameters) -> None:
    """Each step of it moves the sessions of that step, once; the others stay, and so do all while nothing shifts."""

    def shifted(far_percent: int) -> PickerSettings:
        shares = (ShareSettings(priority=0, percent=100 - far_percent), ShareSettings(priority=1, percent=far_percent))
        here = (EndpointSettings(address=each, priority=int(each in PODS[2:])) for each in PODS)
        return settings(*here, shares=shares, parameters={"session": key})

    calls = Calls(shifted(0))
    names = [f"s{n}" for n in range(60)]
    far = set[str]()
    homes = {name: calls.served(name) for name in names}
    for before, percent in pairwise((0, 20, 60, 100, 40, 0)):
        calls.picker.apply_settings(shifted(percent))
        later = {name: calls.served(name) for name in names}
        assert {name: calls.served(name) for name in names} == later
        there = {name for name in names if later[name] in PODS[2:]}
        assert there > far if percent > before else there < far
        assert {name for name in names if later[name] != homes[name]} == there ^ far
        homes, far = later, there
    assert not far


def test_filters_and_limits_move_nobody() -> None:
    """They are about single requests."""
    labelled = tuple(
        EndpointSettings(address=each, labels={"memory": "large"} if each == PODS[0] else {}) for each in PODS
    )
    calls = Calls(settings(*labelled, filters=(FilterSettings(minimum_tokens=500, labels={"memory": "large"}),)))
    name = next(f"s{n}" for n in range(20) if calls.served(f"s{n}") != PODS[0])
    home = calls.served(name)
    long = b'{"model": "m", "prompt": "%s"}' % (b"word " * 1_000)
    named = calls.ask(name, long)
    assert named.endpoints[0] == PODS[0]
    calls.end(named, PODS[0])
    assert calls.served(name) == home
    limited = settings(*labelled, admission=AdmissionSettings(max_in_flight=1, headroom=0.0))
    calls.picker.apply_settings(limited)
    first, second = calls.ask(name), calls.ask(name)
    assert first.endpoints[0] == home != second.endpoints[0]
    calls.end(second, second.endpoints[0])
    calls.end(first, home)
    assert calls.served(name) == home


def test_homes_outlive_reloads() -> None:
    """Other settings, and other parameters of the strategy that name the same key."""
    calls = Calls()
    home = calls.served("s")
    calls.without(home)
    moved = calls.served("s")
    calls.picker.apply_settings(replace(settings(), version="w"))
    assert calls.served("s") == moved
    calls.picker.apply_settings(settings(parameters={"session": Parameters(load_factor=2.0)}))
    assert calls.served("s") == moved != home


def test_nobody_is_remembered_who_need_not_be() -> None:
    """Requests without a key, pools with another strategy, and sessions that were not heard of for an hour."""
    calls = Calls(settings(strategy="least-request"))
    calls.served("s")
    assert calls.picker.sessions.as_dict()["known"] == 0
    calls.picker.apply_settings(settings(parameters={"session": Parameters(header="x-none")}))
    calls.served("s")
    assert calls.picker.sessions.as_dict()["known"] == 0
    calls.picker.apply_settings(settings())
    calls.served("s")
    assert calls.picker.sessions.as_dict()["known"] == 1
    calls.picker.expire(calls.now + IDLE_S + 1)
    assert calls.picker.sessions.as_dict()["known"] == 0


def test_over_a_restart() -> None:
    """What one picker knew the next one does, by the same key; pods that are not there any more are dropped."""
    calls = Calls(key=b"k")
    names = [f"s{n}" for n in range(20)]
    for name in names:
        calls.served(name)
    calls.without(PODS[0])
    before = {name: calls.served(name) for name in names}
    kept = list(calls.picker.sessions.snapshot(calls.now).homes())
    later = Calls(key=b"k")
    assert later.picker.sessions.restore(kept, later.now) == len(names)
    assert {name: later.served(name) for name in names} == before
    other = Calls(settings(*(EndpointSettings(address=each) for each in PODS if each != PODS[1])), key=b"k")
    stayed = [name for name in names if before[name] != PODS[1]]
    assert other.picker.sessions.restore(kept, other.now) == len(stayed)
    assert {name: other.served(name) for name in stayed} == {name: before[name] for name in stayed}


def test_pools_are_apart() -> None:
    """The same session may be at home in each of them."""
    pools = tuple(
        PoolSettings(
            name=name,
            cluster=name,
            strategy="session",
            endpoints=tuple(EndpointSettings(address=each) for each in some),
        )
        for name, some in (("p", PODS[:2]), ("q", PODS[2:]))
    )
    calls = Calls(PickerSettings(version="v", pools=pools))
    home = calls.served("s")
    facts = RequestFacts(body=BODY, path="/v1/completions", cluster="q", session="s")
    other = calls.picker.decide(facts, calls.now, calls.rng)
    assert isinstance(other, Named)
    assert other.endpoints[0] in PODS[2:]
    assert calls.served("s") == home
    assert calls.picker.sessions.as_dict() == {"known": 2, "limit": 65_536, "moved": 0}


_ACTIONS = st.lists(
    st.tuples(st.sampled_from(["serve", "serve", "serve", "retry", "refuse", "drain", "restart"]), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


@effort(max_examples=60)
@given(actions=_ACTIONS, seed=st.integers(0, 2**32))
def test_a_session_moves_only_when_its_home_is_lost(actions: list[tuple[str, int]], seed: int) -> None:
    """It never moves while its pod may be named and lives, and at most once for each loss; one request at a time, so
    that nobody is above the bound."""
    calls = Calls()
    calls.rng = random.Random(seed)
    home: dict[str, str] = {}
    out: set[str] = set()
    lost: set[str] = set()
    count = 1_000
    for address in PODS:
        calls.picker.apply(Scraped(address=address, at=calls.now, running=0, waiting=0, prompt_tokens=count))
    for action, number in actions:
        address, name = PODS[number], f"s{number}"
        if action in ("serve", "retry"):
            named = calls.ask(name)
            first = named.endpoints[0]
            if "half open" in calls.reason(named):
                calls.end(named, first)
                continue
            if name in home and name not in lost and len(out) < len(PODS):
                assert first == home[name], "it may be named"
            served = named.endpoints[1] if action == "retry" and len(named.endpoints) > 1 else first
            calls.end(named, served)
            home[name] = served
            lost.discard(name)
        elif action == "refuse":
            calls.refuse(address)
            calls.now += 0.1
            calls.picker.apply(Probed(address=address, at=calls.now))
            lost |= {each for each, at in home.items() if at == address}
            # Ejected for now: let it be well again by an answer, or stay out.
            out.discard(address)
        elif action == "restart":
            count -= 1
            calls.picker.apply(Scraped(address=address, at=calls.now, running=0, waiting=0, prompt_tokens=count))
            lost |= {each for each, at in home.items() if at == address}
        elif action == "drain":
            (out.discard if address in out else out.add)(address)
            if len(out) == len(PODS):
                out.discard(address)
            calls.without(*out)
        lost |= {each for each, at in home.items() if at in out}
