"""Shadows: what they are told, what they count, and that nothing comes of them."""

import json
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.events import FirstToken, RequestEnded, Scraped
from ext_proc.core.picker import Named, Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.shadow import Shadow
from ext_proc.core.strategies.table import STRATEGIES
from ext_proc.core.strategies.view import Ranking, View

PODS = tuple(EndpointSettings(address=f"10.0.0.{n + 1}:8000", weight=n + 1) for n in range(5))
SHARED = "You are a helpful assistant. " * 40


def settings(strategy: str, shadow: str = "", **changes: Any) -> PickerSettings:
    """One pool."""
    pool = PoolSettings(name="p", cluster="p", strategy=strategy, shadow=shadow, endpoints=PODS)
    return PickerSettings(version="v", pools=(replace(pool, **changes),))


def picker_of(strategy: str, shadow: str = "", **changes: Any) -> Picker:
    """A picker whose shadow has chances."""
    return Picker(settings(strategy, shadow, **changes), shadow_rng=random.Random(7))


def facts(number: int) -> RequestFacts:
    """One of many prompts that begin alike."""
    prompt = SHARED + f" Question {number % 7}: " + "why? " * (number % 50)
    body = {"model": "m", "prompt": prompt}
    return RequestFacts(body=json.dumps(body).encode(), path="/v1/completions", cluster="p", session=str(number % 3))


def played(picker: Picker, requests: int, seed: int) -> list[tuple[str, tuple[str, ...]]]:
    """Ids and names of a load in which answers begin and end, some of them badly, and engines tell of themselves."""
    rng, world = random.Random(seed), random.Random(seed + 1)
    found, open_ = [], []
    for number in range(requests):
        now = 100 + 0.05 * number
        named = picker.decide(facts(world.randrange(100)), now, rng)
        assert isinstance(named, Named)
        found.append((named.decision_id, named.endpoints))
        open_.append(named)
        if world.random() < 0.7:
            ended = open_.pop(world.randrange(len(open_)))
            at, served = now + 0.01, ended.endpoints[0]
            picker.apply(FirstToken(decision_id=ended.decision_id, address=served, at=at, ttft_ms=20.0))
            status = 503 if world.random() < 0.1 else 200
            picker.apply(RequestEnded(decision_id=ended.decision_id, at=at, status=status, served=served))
        if world.random() < 0.3:
            pod = world.choice(PODS).address
            picker.apply(Scraped(address=pod, at=now, running=world.randrange(9), waiting=world.randrange(3)))
    return found


def account(picker: Picker) -> list[dict[str, Any]]:
    """What the ledger says of each endpoint."""
    keys = ("address", "health", "in_flight", "queued_tokens", "decoding", "waiting", "running")
    return [{key: row[key] for key in keys} for row in picker.survey.pools(1_000.0)["p"]["endpoints"]]


@pytest.mark.parametrize("shadow", STRATEGIES)
@pytest.mark.parametrize("live", STRATEGIES)
def test_nothing_comes_of_a_shadow(live: str, shadow: str) -> None:
    """Ids, names and the ledger are those of a picker without one, whatever the two are."""
    alone, watched = picker_of(live), picker_of(live, shadow)
    assert played(watched, 60, seed=3) == played(alone, 60, seed=3)
    assert account(watched) == account(alone)
    status = watched.survey.pools(1_000.0)["p"]["shadow"]
    assert (status["strategy"], status["failed"], status["agreed"] + status["differed"]) == (shadow, 0, 60)
    assert "shadow" not in alone.survey.pools(1_000.0)["p"]


@given(seed=st.integers(0, 2**32), live=st.sampled_from(list(STRATEGIES)), shadow=st.sampled_from(list(STRATEGIES)))
def test_nothing_comes_of_a_shadow_of_any_load(seed: int, live: str, shadow: str) -> None:
    """The same for loads that nobody thought of."""
    assert played(picker_of(live, shadow), 25, seed) == played(picker_of(live), 25, seed)


def test_without_chances_there_is_none() -> None:
    """Whoever only asks what the live strategy does, a test or a replay, pays for nothing else."""
    picker = Picker(settings("random", "kv-aware"))
    played(picker, 3, 1)
    assert "shadow" not in picker.survey.pools(0.0)["p"]
    assert next(iter(picker.decisions.latest(1))).shadow is None


def test_a_strategy_agrees_with_itself() -> None:
    """A deterministic one makes the same choice of the same view, and regrets nothing."""
    picker = picker_of("primary-standby", "primary-standby")
    played(picker, 20, 1)
    status = picker.survey.pools(0.0)["p"]["shadow"]
    assert (status["agreed"], status["differed"], status["regret"], status["live_regret"]) == (20, 0, 0.0, 0.0)


def test_kv_aware_beside_a_blind_strategy() -> None:
    """It knows the prompts although the live strategy does not ask for them, and says what that loses."""
    picker = picker_of("round-robin", "kv-aware")
    rng = random.Random(1)
    for number in range(4):  # one conversation, which round-robin tears apart
        named = picker.decide(facts(7), 100.0 + number, rng)
        assert isinstance(named, Named)
        served = named.endpoints[0]
        picker.apply(RequestEnded(decision_id=named.decision_id, at=100.5 + number, status=200, served=served))
    first, *later = reversed(picker.decisions.latest(4))
    assert [record.shadow.address == first.endpoints[0] for record in later if record.shadow] == [True] * 3
    status = picker.survey.pools(200.0)["p"]["shadow"]
    assert status["agreed"] + status["differed"] == 4
    assert status["differed"] >= 3
    assert status["live_regret"] > 0


def test_edits_keep_the_counts_unless_they_are_about_it() -> None:
    """Endpoints come and go; another strategy begins anew, a removed one is gone."""
    picker = picker_of("round-robin", "random")
    played(picker, 10, 1)
    before = picker.survey.pools(0.0)["p"]["shadow"]
    picker.apply_settings(settings("round-robin", "random", endpoints=PODS[:3]))
    assert picker.survey.pools(0.0)["p"]["shadow"] == before
    picker.apply_settings(settings("least-request", "random"))
    assert picker.survey.pools(0.0)["p"]["shadow"]["agreed"] == 0
    picker.apply_settings(settings("least-request"))
    assert "shadow" not in picker.survey.pools(0.0)["p"]


def test_an_unknown_one_changes_nothing() -> None:
    """Settings are taken as a whole or not at all."""
    picker = picker_of("round-robin")
    with pytest.raises(ValueError, match="unknown strategy 'no-such'"):
        picker.apply_settings(settings("random", "no-such"))
    assert picker.settings.pools[0].strategy == "round-robin"


class Broken:
    """A strategy of somebody's own with a bug."""

    needs_prompt = False

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Fails."""
        raise ZeroDivisionError


def test_a_broken_one_costs_nobody_anything() -> None:
    """It is counted, and the pick is as without it."""
    watched = picker_of("random", "acme.broken", shadow_own=lambda parameters: Broken())
    assert played(watched, 5, 1) == played(picker_of("random"), 5, 1)
    status = watched.survey.pools(0.0)["p"]["shadow"]
    assert (status["failed"], status["agreed"] + status["differed"]) == (5, 0)
    assert watched.decisions.latest(1)[0].as_dict()["shadow"] is None


class Fixed:
    """Takes one position at a fixed price each."""

    needs_prompt = False

    def __init__(self, *cost: float) -> None:
        self.cost = np.array(cost)

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Cheapest first."""
        return Ranking(np.argsort(self.cost, kind="stable"), self.cost, "")


@pytest.mark.parametrize(
    ("live", "other", "regret", "live_regret"),
    [
        ((1.0, 5.0), (3.0, 2.0), 4.0, 1.0),
        ((1.0, 5.0), (2.0, 3.0), 0.0, 0.0),
        ((1.0, float("inf")), (3.0, 2.0), 0.0, 1.0),  # a guard is no price
    ],
)
def test_regret_is_by_both_reckonings(
    live: tuple[float, ...], other: tuple[float, ...], regret: float, live_regret: float
) -> None:
    """What the shadow's choice costs more by the live costs, and the live choice by the shadow's."""
    picker = picker_of("round-robin", endpoints=PODS[:2])
    view = View(np.array([0, 1]), np.ones(2), picker._fleet, 0.0, 0, 1.0)
    shadow = Shadow("fixed", Fixed(*other))
    beside = shadow.look(view, Fixed(*live).rank(view, random.Random(1)), random.Random(1))
    assert beside is not None
    assert (beside.regret, beside.live_regret) == (shadow.regret, shadow.live_regret) == (regret, live_regret)


def test_a_choice_beside_the_cost_is_no_gain() -> None:
    """Where the live strategy itself took a dearer one (near ties, guards), nothing is given back."""
    picker = picker_of("round-robin", endpoints=PODS[:2])
    view = View(np.array([0, 1]), np.ones(2), picker._fleet, 0.0, 0, 1.0)
    shadow = Shadow("fixed", Fixed(1.0, 2.0))
    live = Ranking(np.array([1, 0]), np.array([1.0, 3.0]), "a tie")
    assert shadow.look(view, live, random.Random(1)) is not None
    assert (shadow.differed, shadow.regret, shadow.live_regret) == (1, 0.0, 1.0)
