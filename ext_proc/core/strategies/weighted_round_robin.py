"""`weighted-round-robin`: each in its turn, as often as its weight says, and as evenly spread as that goes.

nginx's smooth rule: at each pick everybody's account grows by its weight, the largest account wins and pays the sum of
all weights. Weights 5, 1, 1 give a a b a c a a. Who may not be named neither earns nor pays, so an endpoint that comes
back has nothing to catch up on.
"""

import random

import numpy as np

from ext_proc.core.slots import FloatArray, grown
from ext_proc.core.strategies.view import Ranking, View, best_first


class WeightedRoundRobin:
    """The rule for one pool.

    Mutable: the accounts by slot; `picked` is the writer. A slot that changed hands keeps its account, which only moves
    the newcomer's first turn.
    """

    needs_prompt = False

    def __init__(self) -> None:
        self._accounts: FloatArray = np.zeros(0)

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Largest account first; of equals, who stands first in the pool. `rng` is not used."""
        accounts = self._of(view)
        cost = -accounts
        order = best_first(cost)
        best = int(order[0])
        reason = f"its turn at weight {view.weights[best]:g}: {view.address(best)}"
        return Ranking(order, cost, reason, {"weight": view.weights, "account": accounts})

    def picked(self, view: View, position: int) -> None:
        """Everybody earns, the one that was picked pays."""
        accounts = self._of(view)
        capacity = view.fleet.slots.capacity
        if capacity > len(self._accounts):
            self._accounts = grown(self._accounts, capacity, 0)
        accounts[position] -= view.weights.sum()
        self._accounts[view.slots] = accounts

    def _of(self, view: View) -> FloatArray:
        """The accounts as they will be when everybody has earned."""
        if int(view.slots.max()) >= len(self._accounts):
            known = grown(self._accounts, view.fleet.slots.capacity, 0)[view.slots]
        else:
            known = self._accounts[view.slots]
        accounts: FloatArray = known + view.weights
        return accounts
