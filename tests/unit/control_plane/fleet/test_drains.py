"""Drains: who is out when, what outlives a restart, what words mean, and that nothing is ever named that drains."""

from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from control_plane.fleet.drains import (
    FORGET_S,
    SETTLE_S,
    Drain,
    DrainRefusedError,
    Drains,
    Key,
    as_json,
    elsewhere,
    emptied,
    restored,
    targets,
)
from control_plane.fleet.model import Endpoint, Fleet, Health

A, B = ("p", "10.0.0.1:80"), ("p", "10.0.0.2:80")
C = ("q", "[fd00::1]:80")
ALL = (A, B, C)


def fleet(*keys: Key, health: Health = Health.HEALTHY) -> Fleet:
    """These endpoints, and both pools."""
    return Fleet(
        pools={
            pool: tuple(Endpoint(pool=pool, address=each[1], health=health) for each in keys if each[0] == pool)
            for pool in ("p", "q")
        }
    )


def states(drains: Drains, *keys: Key) -> list[Health]:
    """How these endpoints are shown."""
    return [each.health for pool in drains.shown(fleet(*keys)).pools.values() for each in pool]


def look(
    drains: Drains, now: float, listed: Collection[Key], running: int | None, *, is_confirmed: bool = True
) -> frozenset[str]:
    """A look when so many requests run everywhere."""
    return drains.look(now, listed, lambda key: running, lambda key: is_confirmed)


def test_served_elsewhere() -> None:
    """The same address in other pools, unless it drains there as well."""
    other = ("q", A[1])
    drains = Drains()
    drains.begin([A], 100.0, 160.0)
    assert elsewhere(drains, (*ALL, other), [A]) == (other,)
    drains.begin([other], 100.0, 160.0)
    assert elsewhere(drains, (*ALL, other), [A]) == ()


def test_a_life() -> None:
    """DRAINING at once; REMOVED when nothing runs there, DRAINED when Envoys know; back when it is ended."""
    drains = Drains()
    assert drains.begin([A], 100.0, 160.0) == {"p"}
    assert states(drains, *ALL) == [Health.DRAINING, Health.HEALTHY, Health.HEALTHY]
    assert look(drains, 101.0, ALL, 1) == frozenset()
    assert look(drains, 102.0, ALL, 0) == {"p"}
    assert states(drains, *ALL) == [Health.REMOVED, Health.HEALTHY, Health.HEALTHY]
    assert look(drains, 103.0, ALL, 0, is_confirmed=False) == frozenset()
    assert look(drains, 104.0, ALL, 1) == frozenset(), "a retry that had been named before"
    assert look(drains, 105.0, ALL, 0) == {"p"}
    assert states(drains, *ALL) == [Health.DRAINED, Health.HEALTHY, Health.HEALTHY]
    assert look(drains, 106.0, ALL, 0) == frozenset()
    assert drains.end([A, B]) == {"p"}
    assert states(drains, *ALL) == [Health.HEALTHY] * 3
    assert drains.end([A]) == frozenset()


def test_not_before_what_is_on_its_way_can_be_counted() -> None:
    """An idle endpoint, too, is taken out after a moment only; a clock that was set back does not prolong that."""
    drains = Drains()
    drains.begin([A], 100.0, 160.0)
    assert not look(drains, 100.0 + SETTLE_S / 2, ALL, 0)
    assert look(drains, 100.0 + SETTLE_S, ALL, 0)
    drains.begin([B], 100.0, 160.0)
    assert look(drains, 50.0, ALL, 0) == {"p"}


@pytest.mark.parametrize("running", [3, None])
def test_the_deadline(running: int | None) -> None:
    """Whatever runs, or if nobody knows, it is out then; a second order moves the deadline."""
    drains = Drains()
    drains.begin([A], 100.0, 110.0)
    assert drains.begin([A], 105.0, 130.0) == frozenset()
    assert not look(drains, 129.0, ALL, running)
    assert look(drains, 130.0, ALL, running) == {"p"}


def test_who_leaves() -> None:
    """Forgotten after a while, and not before: a host that is rebooted does not come back by itself."""
    drains = Drains()
    drains.begin([A], 0.0, 10.0)
    look(drains, 20.0, [B], 0)
    look(drains, 20.0 + FORGET_S - 1, ALL, 0)
    assert states(drains, A) == [Health.DRAINED]
    look(drains, 1_000.0, [B], 0)
    look(drains, 1_000.0 + FORGET_S, [B], 0)
    assert len(drains) == 0


def test_a_pods_own_word() -> None:
    """DRAINING in all pools of its address while it says so, never out; an operator's drain is not ended by it."""
    drains = Drains()
    assert drains.announce(A[1], "asleep")
    assert not drains.announce(A[1], "draining")
    assert drains.announced == {A[1]: "draining"}
    assert states(drains, *ALL) == [Health.DRAINING, Health.HEALTHY, Health.HEALTHY]
    assert not look(drains, 1e9, ALL, 0)
    drains.begin([A], 0.0, 10.0)
    assert drains.announce(A[1], "")
    assert not drains.announce(A[1], "")
    assert states(drains, *ALL)[0] is Health.DRAINING
    drains.announce(B[1], "draining")
    look(drains, 1.0, [A], 1)
    assert drains.announced == {}


def test_nothing_to_show() -> None:
    """Without any the fleet is the same object; pools that have none keep theirs."""
    drains, found = Drains(), fleet(*ALL)
    assert drains.shown(found) is found
    drains.begin([A], 0.0, 10.0)
    assert drains.shown(found).pools["q"] is found.pools["q"]


def test_kept_for_a_restart() -> None:
    """All but what is looked up again."""
    drains = Drains()
    drains.begin([A, C], 100.0, 160.0)
    drains.look(101.0, ALL, {A: 0, C: 1}.get, lambda key: True)
    again = restored(as_json(drains))
    assert list(again) == [
        Drain(pool="p", address=A[1], since=100.0, deadline=160.0, stage=Health.REMOVED),
        Drain(pool="q", address=C[1], since=100.0, deadline=160.0),
    ]
    assert len(restored(None)) == 0


@pytest.mark.parametrize("value", [7, "text", [1], [{}], [{"pool": "p", "address": "a", "since": None}]])
def test_what_was_not_kept_by_us(value: Any) -> None:
    """Damage is an error for whoever loads it."""
    with pytest.raises((KeyError, TypeError, ValueError)):
        restored(value)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("p/10.0.0.1:80", [A]),
        ("p", [A, B]),
        ("p/*", [A, B]),
        ("*/10.0.0.2:80", [B]),
        ("*", [A, B, C]),
        ("q/[fd00::1]:80", [C]),
        ("q/*fd00*:80", [C]),
        ("p/10.*.1:*", [A]),
    ],
)
def test_words(word: str, meant: list[Key]) -> None:
    """An endpoint, a pool, or a pattern; `[` is a character like any other."""
    assert targets([word], ALL, "endpoint") == tuple(meant)


@pytest.mark.parametrize(
    "word", ["", "x", "p/", "p/10.0.0.9:80", "10.0.0.1:80", "p/10.0.0.1", "q/[fd0]*", "p/*1*1*1*1*1*"]
)
def test_words_for_nobody(word: str) -> None:
    """Said so, with the word; one wrong word stops all of an order."""
    with pytest.raises(DrainRefusedError, match="is no endpoint"):
        targets(["p", word], ALL, "endpoint")


def test_who_would_be_left() -> None:
    """Pools that lose their last one that serves; those that nobody would name do not count, unless that is all."""
    found = fleet(*ALL)
    assert emptied(found, [A], lambda key: True) == ()
    assert emptied(found, [A, B], lambda key: True) == ("p",)
    assert emptied(found, [A], lambda key: key != B) == ("p",)
    assert emptied(found, [B], lambda key: key != B) == ()
    assert emptied(found, [B], lambda key: False) == ()
    assert emptied(fleet(*ALL, health=Health.UNHEALTHY), ALL, lambda key: True) == ()


class Life(RuleBasedStateMachine):
    """Orders, pods' words, time and discovery in any order, against the simplest model there is."""

    def __init__(self) -> None:
        super().__init__()
        self.drains = Drains()
        self.now = 1_000.0
        self.listed = set(ALL)
        self.running = dict.fromkeys(ALL, 0)
        self.model: set[Key] = set()
        self.stages: dict[Key, Health] = {}
        self.is_confirmed = True
        self.said: set[str] = set()

    @rule(key=st.sampled_from(ALL), timeout_s=st.floats(0, 100))
    def drain(self, key: Key, timeout_s: float) -> None:
        """An order."""
        self.drains.begin([key], self.now, self.now + timeout_s)
        self.model.add(key)
        self.stages.setdefault(key, Health.DRAINING)

    @rule(key=st.sampled_from(ALL))
    def undrain(self, key: Key) -> None:
        """The other order."""
        self.drains.end([key])
        self.model.discard(key)
        self.stages.pop(key, None)

    @rule(key=st.sampled_from(ALL), says=st.booleans())
    def announce(self, key: Key, says: bool) -> None:
        """A pod's word."""
        self.drains.announce(key[1], "draining" if says else "")
        (self.said.add if says else self.said.discard)(key[1])

    @rule(key=st.sampled_from(ALL), number=st.integers(0, 3))
    def work(self, key: Key, number: int) -> None:
        """Requests come and end."""
        self.running[key] = number

    @rule(is_confirmed=st.booleans())
    def answer(self, is_confirmed: bool) -> None:
        """Envoys come and go."""
        self.is_confirmed = is_confirmed

    @rule(key=st.sampled_from(ALL), is_there=st.booleans())
    def discover(self, key: Key, is_there: bool) -> None:
        """Discovery changes its mind."""
        (self.listed.add if is_there else self.listed.discard)(key)

    @rule(seconds=st.floats(0, 2 * FORGET_S))
    def wait(self, seconds: float) -> None:
        """Time passes, and it is looked."""
        self.now += seconds
        before = {drain.key: drain for drain in self.drains}
        self.drains.look(self.now, self.listed, self.running.get, lambda key: self.is_confirmed)
        for drain in self.drains:
            was = before[drain.key].stage
            if drain.stage is Health.REMOVED is not was:
                assert self.running[drain.key] == 0 or self.now >= drain.deadline
                assert was is Health.DRAINING
            if drain.stage is Health.DRAINED is not was:
                assert self.running[drain.key] == 0
                assert self.is_confirmed
                assert was is Health.REMOVED
            self.stages[drain.key] = drain.stage
        gone = set(before) - {drain.key for drain in self.drains}
        assert not gone & self.listed, "whoever is listed is not forgotten"
        self.model -= gone
        for key in gone:
            del self.stages[key]
        self.said &= {address for _, address in self.listed}

    @rule()
    def restart(self) -> None:
        """kvpilot ends and begins again; pods say their word again."""
        self.drains = restored(as_json(self.drains))
        for address in self.said:
            self.drains.announce(address, "draining")

    @invariant()
    def shown_as_it_is(self) -> None:
        """Each endpoint is in the state of its drain, else in that of its own word."""
        for pool in self.drains.shown(fleet(*ALL)).pools.values():
            for each in pool:
                key = (each.pool, each.address)
                if key in self.model:
                    assert each.health is self.stages[key]
                else:
                    assert each.health is (Health.DRAINING if key[1] in self.said else Health.HEALTHY)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=30)
