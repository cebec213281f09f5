"""Every strategy of ours conforms; and the check finds what breaks each of its rules."""

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ext_proc.core.strategies import least_request
from ext_proc.core.strategies.table import STRATEGIES, strategy
from ext_proc.core.strategies.view import Ranking, Strategy, View
from ext_proc.strategy_conformance import NotConformingError, check


@pytest.mark.parametrize("name", STRATEGIES)
def test_ours_conform(name: str) -> None:
    """With the parameters that are the defaults."""
    check(lambda: strategy(name))


class Spoiled:
    """Least request, with its ranking spoiled."""

    needs_prompt = False

    def __init__(self, spoil: Callable[[Ranking, View], Ranking]) -> None:
        self._spoil = spoil

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """The spoiled ranking."""
        return self._spoil(least_request.rank(view, rng), view)


class Counting:
    """Remembers its rankings, where it should remember its picks."""

    needs_prompt = False

    def __init__(self) -> None:
        self.turn = 0

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Another one each time."""
        self.turn += 1
        ranking = least_request.rank(view, rng)
        return replace(ranking, reason=f"{ranking.reason}, turn {self.turn}")


def _twice(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, order=np.zeros_like(ranking.order))


def _outside(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, order=ranking.order + 1)


def _slots(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, order=view.slots[ranking.order])


def _short(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, order=ranking.order[:1])


def _not_a_number(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, cost=ranking.cost / (view.fleet.ledger.in_flight[view.slots] > 0))


def _short_term(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, terms={"x": np.zeros(1)})


def _unnamed(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, reason="because")


def _greedy(ranking: Ranking, view: View) -> Ranking:
    view.fleet.ledger.in_flight[view.slots[ranking.order[0]]] += 1
    return ranking


def _thankless(ranking: Ranking, view: View) -> Ranking:
    return replace(ranking, cost=np.random.default_rng().random(len(ranking.cost)))


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize(
    ("spoil", "broken"),
    [
        (_twice, "a position is there twice"),
        (_outside, "not of the view"),
        (_slots, "not of the view"),
        (_short, "1 positions are ordered"),
        (_not_a_number, "`cost` has values that are not finite"),
        (_short_term, "`x` has 1 values"),
        (_unnamed, "the reason does not name the best"),
        (_greedy, "two rankings"),
        (_thankless, "the same seed gave two rankings"),
    ],
)
def test_each_rule_is_checked(spoil: Callable[[Ranking, View], Ranking], broken: str) -> None:
    """The message says which, and on which fleet."""
    with pytest.raises(NotConformingError, match=rf"{broken}.* \(.*endpoints, "):
        check(lambda: Spoiled(spoil))


def test_a_ranking_is_not_remembered() -> None:
    """A naming may rank several groups, and a record may be made without a pick."""
    with pytest.raises(NotConformingError, match="the same seed gave two rankings"):
        check(Counting)


def test_a_view_is_not_changed() -> None:
    """Also not in a way that leaves the ranking as it is."""

    def spoil(ranking: Ranking, view: View) -> Ranking:
        view.fleet.ledger.decoding[view.slots] += 1
        return ranking

    with pytest.raises(NotConformingError, match="was changed"):
        check(lambda: Spoiled(spoil))


def test_picks_change_nothing_but_the_memory() -> None:
    """`picked` is for the strategy's own account."""

    class Keeping(Spoiled):
        def picked(self, view: View, position: int) -> None:
            view.fleet.ledger.queued_tokens[view.slots[position]] += 1

    def keep(ranking: Ranking, view: View) -> Ranking:
        return ranking

    def make() -> Strategy:
        return Keeping(keep)

    with pytest.raises(NotConformingError, match="was changed"):
        check(make)
