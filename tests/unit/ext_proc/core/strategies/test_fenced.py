"""Users' strategies that try to end more than a pick."""

import asyncio
import random
from typing import Any

import pytest

from ext_proc.core.shadow import Shadow
from ext_proc.core.strategies import round_robin
from ext_proc.core.strategies.fenced import OwnStrategyError
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
