"""What strategies are shown of a pool, and what a record says. Whole picks are in `test_picker.py`."""

import random
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from ext_proc.core.choice import Choice
from ext_proc.core.fleet import Fleet
from ext_proc.core.history import History
from ext_proc.core.pool import deciders, prepared
from ext_proc.core.settings import AdmissionSettings, EndpointSettings, FilterSettings, PoolSettings
from ext_proc.core.strategies.session import Parameters
from ext_proc.core.strategies.view import Ranking, Request, View
from ext_proc.core.truth import Truth
from ext_proc.core.wanted import Wanted

PODS = tuple(
    EndpointSettings(address=f"10.0.0.{n}:8000", labels={"class": "big" if n > 1 else "small"}) for n in (1, 2, 3)
)
REQUEST = Request(kind="chat", model="m", tokens=100, max_tokens=7, session="s")
WANTED = Wanted(model="big", tokens=100, blocks=(1, 2, 3), timeout_s=9.0, request=REQUEST, waited_s=2.0)


class Seeing:
    """Takes the first, and notes what it was shown. Mutable: `seen`."""

    def __init__(self, *, needs_prompt: bool) -> None:
        self.needs_prompt = needs_prompt
        self.seen: list[View] = []

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Notes it."""
        self.seen.append(view)
        return Ranking(np.arange(len(view.slots)), np.arange(len(view.slots), dtype=np.float64), "seen")


def choice_of(strategy: Seeing, shadow: Seeing | None = None, **changes: object) -> Choice:
    """A choice among three, of which the second holds two blocks of the prompt."""
    given: Mapping[str, object] = {"endpoints": PODS, **changes}
    if shadow is not None:
        given = {**given, "shadow": "their.own", "shadow_own": lambda parameters: shadow}
    settings = PoolSettings(name="p", cluster="c", strategy="my.own", own=lambda parameters: strategy, **given)  # type: ignore[arg-type]
    fleet = Fleet()
    fleet.want({pod.address for pod in PODS})
    pool = prepared(settings, deciders(settings, None, has_shadows=True), fleet.slots)
    fleet.index.insert(fleet.slots.acquire(PODS[1].address), (1, 2))
    history = History(turn=4, mean_uncached=77.0, gap_s=0.25)
    return Choice(pool=pool, history=history, fleet=fleet, wanted=WANTED, blocks=WANTED.blocks, now=50.0)


@pytest.mark.parametrize("needs_prompt", [False, True])
def test_what_is_shown(needs_prompt: bool) -> None:
    """Everything that is known; the prompt where it is asked for, with what each endpoint holds of it."""
    strategy = Seeing(needs_prompt=needs_prompt)
    choice = choice_of(strategy)
    naming = choice.naming(random.Random(1))
    (view,) = strategy.seen
    assert naming.view is view
    assert naming.addresses == tuple(pod.address for pod in PODS)
    assert (view.turn, view.mean_uncached, view.gap_s, view.now) == (4, 77.0, 0.25, 50.0)
    assert view.request is REQUEST
    assert view.endpoint(2) is PODS[2]
    if needs_prompt:
        assert view.prompt is not None
        assert view.prompt.tokens == 100
        assert view.prompt.uncached[0] == view.prompt.uncached[2] == 100 > view.prompt.uncached[1]
    else:
        assert view.prompt is None


def test_a_shadow_sees_what_the_live_one_saw() -> None:
    """The same view; where only the shadow looks at prompts, the same endpoints with the prompt."""
    both = choice_of(live := Seeing(needs_prompt=False), shadow := Seeing(needs_prompt=False))
    beside = both.beside(both.naming(random.Random(1)), random.Random(2))
    assert beside is not None
    assert shadow.seen[0] is live.seen[0]
    other = choice_of(live := Seeing(needs_prompt=False), shadow := Seeing(needs_prompt=True))
    other.beside(other.naming(random.Random(1)), random.Random(2))
    assert shadow.seen[0].prompt is not None
    assert shadow.seen[0].slots is live.seen[0].slots


def test_without_a_shadow_there_is_nothing_beside() -> None:
    """Nor are chances needed for it."""
    choice = choice_of(Seeing(needs_prompt=False))
    assert choice.beside(choice.naming(random.Random(1)), None) is None


def test_filters_and_limits_narrow() -> None:
    """First by wish, then by limit: whoever is left is ranked first."""
    strategy = Seeing(needs_prompt=False)
    limits = AdmissionSettings(max_in_flight=1, headroom=0.0)
    choice = choice_of(strategy, filters=(FilterSettings(labels={"class": "big"}),), admission=limits)
    assert choice.naming(random.Random(1)).addresses[:2] == (PODS[1].address, PODS[2].address)
    choice.fleet.ledger.in_flight[choice.fleet.slots.acquire(PODS[1].address)] = 1
    assert choice.naming(random.Random(1)).addresses[0] == PODS[2].address


def test_the_record() -> None:
    """What was asked, when by both clocks, who was named, and how long it had waited."""
    choice = choice_of(Seeing(needs_prompt=True), endpoints=(EndpointSettings(address="x", available=False), *PODS))
    record = choice.record("id", choice.naming(random.Random(1)), None, wall_offset_s=1_000.0)
    assert (record.id, record.at, record.time, record.waited_s) == ("id", 50.0, 1_050.0, 2.0)
    assert record.reason == "seen; waited 2 s for a place"
    assert (record.model, record.request.engine_model, record.request.has_session) == ("big", "m", True)
    assert (record.left_out_count, record.left_out[0][0]) == (1, "x")
    assert record.predicted.cached_tokens == 0


def test_a_session_is_what_the_pool_knows_it_by() -> None:
    """The record says whether there is one: here none, since the pool's sessions are in a cookie."""
    choice = choice_of(Seeing(needs_prompt=False), parameters={"session": Parameters(cookie="sid")})
    assert not choice.record("id", choice.naming(random.Random(1)), None, wall_offset_s=0.0).request.has_session


def test_what_the_index_is_worth() -> None:
    """Where engines do not find what is believed, it counts less, and the reason says so; the belief itself is kept."""
    strategy = Seeing(needs_prompt=True)
    truth = Truth("p")
    choice = replace(choice_of(strategy), truth=truth)
    choice.naming(random.Random(1))
    assert strategy.seen[0].prompt is not None
    assert strategy.seen[0].prompt.uncached.tolist() == [100, 1, 100]
    truth.judge.trust = 0.5
    naming = choice.naming(random.Random(1))
    assert strategy.seen[1].prompt is not None
    assert strategy.seen[1].prompt.uncached.tolist() == [100, 51, 100]
    assert strategy.seen[1].prompt.held is not None
    assert strategy.seen[1].prompt.held.tolist() == [0, 99, 0]
    record = choice.record("id", naming, None, wall_offset_s=0.0)
    assert record.reason.endswith("; what is believed cached counts 50%: engines do not find it")
    assert (record.predicted.cached_tokens, record.predicted.held_tokens) == (0, 0)


def test_tokens_of_a_block_are_the_prompts_own() -> None:
    """Two of three blocks of a prompt of 100 tokens in blocks of 40: the last 20 are to be computed."""
    strategy = Seeing(needs_prompt=True)
    choice = choice_of(strategy)
    choice = replace(choice, wanted=replace(choice.wanted, block_tokens=40.0, size=777))
    naming = choice.naming(random.Random(1))
    assert strategy.seen[0].prompt is not None
    assert strategy.seen[0].prompt.uncached.tolist() == [100, 20, 100]
    assert choice.record("id", naming, None, wall_offset_s=0.0).request.size == 777
