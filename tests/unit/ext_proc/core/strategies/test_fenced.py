"""Users' strategies that try to end more than a pick."""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from ext_proc.core.shadow import Shadow
from ext_proc.core.strategies import round_robin
from ext_proc.core.strategies.fenced import (
    SLOW_IN_A_ROW,
    SLOW_S,
    Fenced,
    FencedRemembering,
    OwnStrategyError,
    fenced,
)
from ext_proc.core.strategies.table import strategy
from ext_proc.core.strategies.view import Ranking, Remembering, View
from tests.unit.ext_proc.core.strategies.pool import Pool

ENDS = [SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]


class Raising:
    """A user's own; it raises what it is told to, and ranks in turn otherwise."""

    needs_prompt = False

    def __init__(self, parameters: dict[str, BaseException]) -> None:
        self._raised = parameters
        self._raise("made")

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """In turn."""
        self._raise("rank")
        return round_robin.rank(view, rng)

    def _raise(self, when: str) -> None:
        if when in self._raised:
            raise self._raised[when]


class RaisingLater(Raising):
    """One that wants to know its picks."""

    def picked(self, view: View, position: int) -> None:
        """Is told."""
        self._raise("picked")


@pytest.mark.parametrize("error", ENDS, ids=lambda error: type(error).__name__)
def test_what_ends_programs_is_a_failure(error: BaseException) -> None:
    """Whatever it raises, whenever: callers see an exception that they deal with, and its cause."""
    view = Pool(2).view()
    with pytest.raises(OwnStrategyError, match=rf"a\.b raised {type(error).__name__}") as found:
        strategy("a.b", {"rank": error}, Raising).rank(view, random.Random(1))
    assert found.value.__cause__ is error
    made = strategy("a.b", {"picked": error}, RaisingLater)
    assert isinstance(made, Remembering)
    with pytest.raises(OwnStrategyError):
        made.picked(view, 0)
    with pytest.raises(OwnStrategyError):
        strategy("a.b", {"made": error}, Raising)


def test_usual_exceptions_are_themselves() -> None:
    """What a strategy raises of the usual kind tells best what happened."""
    with pytest.raises(ZeroDivisionError):
        strategy("a.b", {"rank": ZeroDivisionError()}, Raising).rank(Pool(2).view(), random.Random(1))
    with pytest.raises(ValueError, match="wrong"):
        strategy("a.b", {"made": ValueError("wrong")}, Raising)


def test_it_is_the_strategy_otherwise() -> None:
    """Its rankings come through, and only who asks for it is told about picks."""
    view = Pool(3).view()
    made = strategy("a.b", {}, Raising)
    assert made.rank(view, random.Random(1)).order.tolist() == round_robin.rank(view, random.Random(1)).order.tolist()
    assert not isinstance(made, Remembering)
    assert not made.needs_prompt


def test_a_shadow_that_exits() -> None:
    """Counts as failed, like any other."""

    def exiting(parameters: Any) -> Raising:
        return Raising({"rank": SystemExit(1)})

    view = Pool(2).view()
    shadow = Shadow("a.b", strategy("a.b", None, exiting))
    assert shadow.look(view, round_robin.rank(view, random.Random(1)), random.Random(1)) is None
    assert shadow.failed == 1


class Slow:
    """A user's own whose rankings take as long as it is told. Mutable: that, the time, and who it was told of."""

    needs_prompt = False

    def __init__(self, took_s: float = 0.0) -> None:
        self.now = 0.0
        self.took_s = took_s
        self.told: list[int] = []

    def clock(self) -> float:
        """The time."""
        return self.now

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """In turn."""
        self.now += self.took_s
        return round_robin.rank(view, rng)

    def picked(self, view: View, position: int) -> None:
        """Is told."""
        self.now += self.took_s
        self.told.append(position)


def test_who_is_slow_again_and_again_is_switched_off() -> None:
    """`kv-aware` stands in, by the load alone until there are prompts; the strategy hears of no pick any more."""
    slow, view = Slow(2 * SLOW_S), Pool(3).view()
    made = fenced("a.b", slow, slow.clock)
    assert isinstance(made, FencedRemembering)
    for n in range(SLOW_IN_A_ROW):
        assert not made.why_off
        made.rank(replace(view, now=float(n)), random.Random(1))
    assert made.why_off == "a.b took more than 50 ms 10 times in a row, in which nobody else was answered"
    assert made.needs_prompt
    before = slow.now
    ranking = made.rank(view, random.Random(1))
    assert ranking.reason.startswith("cache: ")
    assert ranking.reason.endswith("; a.b is switched off")
    assert made.rank(replace(view, prompt=None), random.Random(1)).reason.startswith("least load")
    made.picked(view, 0)
    assert (slow.now, slow.told) == (before, [])


def test_who_is_slow_now_and_then_is_not() -> None:
    """Nor who is as slow as may be, nor anybody whose time nobody takes."""
    slow, view = Slow(), Pool(3).view()
    made = fenced("a.b", slow, slow.clock)
    for n in range(5 * SLOW_IN_A_ROW):
        slow.took_s = 9.0 if n % SLOW_IN_A_ROW else 0.0
        made.rank(replace(view, now=float(n)), random.Random(1))
    slow.took_s = SLOW_S / 2
    untimed = fenced("a.b", Slow(9.0))
    for n in range(2 * SLOW_IN_A_ROW):
        made.rank(replace(view, now=100.0 + n), random.Random(1))
        untimed.rank(replace(view, now=100.0 + n), random.Random(1))
    assert isinstance(made, Fenced)
    assert isinstance(untimed, Fenced)
    assert (made.why_off, untimed.why_off) == ("", "")


@pytest.mark.parametrize(("rank_s", "picked_s"), [((9.0, 0.0), 0.0), ((0.0, 0.0), 9.0), ((0.02, 0.02), 0.02)])
def test_a_pick_is_slow_as_a_whole(rank_s: tuple[float, float], picked_s: float) -> None:
    """Somebody may be slow for many endpoints, quick for the few of the next level, and slow to hear of it."""
    slow, view = Slow(), Pool(3).view()
    made = fenced("a.b", slow, slow.clock)
    assert isinstance(made, FencedRemembering)
    for n in range(SLOW_IN_A_ROW):
        assert not made.why_off
        here = replace(view, now=float(n))
        for slow.took_s in rank_s:
            made.rank(here, random.Random(1))
        slow.took_s = picked_s
        made.picked(here, 0)
    assert made.why_off


def test_a_slow_failure_is_slow() -> None:
    """It held up the others as long."""
    error = ZeroDivisionError()
    times = iter(range(100))
    made = fenced("a.b", Raising({"rank": error}), lambda: float(next(times)))
    for n in range(SLOW_IN_A_ROW):
        with pytest.raises(ZeroDivisionError):
            made.rank(replace(Pool(2).view(), now=float(n)), random.Random(1))
    assert isinstance(made, Fenced)
    assert made.why_off


def test_nobody_stands_in_for_a_shadow() -> None:
    """Its picks fail: what another strategy would do is no news about this one."""
    slow, view = Slow(9.0), Pool(3).view()
    shadow = Shadow("a.b", fenced("a.b", slow, slow.clock, is_shadow=True))
    live = round_robin.rank(view, random.Random(1))
    seen = [shadow.look(replace(view, now=float(n)), live, random.Random(1)) for n in range(SLOW_IN_A_ROW + 2)]
    assert (shadow.failed, seen[-1]) == (2, None)
    assert not shadow.strategy.needs_prompt
