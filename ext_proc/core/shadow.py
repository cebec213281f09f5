"""A second strategy that decides beside the live one, and what would have come of it: nothing follows from it.

It ranks the same endpoints at the same moment, with what the live strategy's picks have made of ledger and caches, and
with chances of its own, so that the live strategy draws the same numbers as without it. What it would cost to follow it
is told in the terms of each of the two:

- *regret*: how much more its choice costs by the live strategy's own reckoning;
- *live regret*: how much more the live choice costs by the shadow's.

Both are of single picks. A fleet on which the shadow had decided for an hour would have other queues and caches: what
that would be like is a question for a replay (docs/strategies.md).
"""

import random
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ext_proc.core.record import Beside
from ext_proc.core.slots import FloatArray
from ext_proc.core.strategies.view import Ranking, Remembering, Strategy, View


@dataclass(slots=True)
class Shadow:
    """The shadow of one pool. Mutable: the counts, and whatever its strategy remembers; `look` is the writer."""

    name: str
    strategy: Strategy
    agreed: int = 0
    differed: int = 0
    failed: int = 0
    """Picks for which the shadow raised an exception: a bug of a strategy, which costs nobody anything."""
    regret: float = 0.0
    live_regret: float = 0.0

    def look(self, view: View, live: Ranking, rng: random.Random) -> Beside | None:
        """What it makes of the view that `live` is the ranking of; None where it fails. Never raises."""
        chosen = int(live.order[0])
        try:
            ranking = self.strategy.rank(view, rng)
            position = int(ranking.order[0])
            address = view.address(position)
            if isinstance(self.strategy, Remembering):
                self.strategy.picked(view, position)
            regret = _more(live.cost, position, chosen)
            live_regret = _more(ranking.cost, chosen, position)
        except Exception:
            self.failed += 1
            return None
        if position == chosen:
            self.agreed += 1
        else:
            self.differed += 1
        self.regret += regret
        self.live_regret += live_regret
        return Beside(self.name, address, regret, live_regret)

    def status(self) -> dict[str, Any]:
        """JSON values; regrets are sums over all picks so far."""
        return {
            "strategy": self.name,
            "agreed": self.agreed,
            "differed": self.differed,
            "failed": self.failed,
            "regret": self.regret,
            "live_regret": self.live_regret,
        }


def _more(cost: FloatArray, position: int, best: int) -> float:
    """By how much one position costs more than the best; a best one that is not the cheapest was chosen for reasons
    beside its cost (near ties, guards), which are no gain of others."""
    more = float(cost[position]) - float(cost[best])
    return more if isfinite(more) and more > 0 else 0.0
