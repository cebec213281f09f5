"""`least-request`: the fewest of the picker's own requests in flight, for the endpoint's weight.

Envoy's rule for weighted hosts (least-request load balancer, bias 1): the best has the highest weight ÷ (active + 1).
Unlike Envoy's two random choices this looks at every endpoint.
"""

import random

from ext_proc.core.settings import DEFAULT_WEIGHT
from ext_proc.core.strategies.view import Ranking, View, best_first, jitter

needs_prompt = False

# Far below the smallest difference of two loads that matters.
_TIE = 1e-9


def rank(view: View, rng: random.Random) -> Ranking:
    """Least (in flight + 1) ÷ weight first, ties at random."""
    in_flight = view.fleet.ledger.in_flight[view.slots]
    cost = (in_flight + 1) * DEFAULT_WEIGHT / view.weights
    order = best_first(cost + _TIE * jitter(len(cost), rng))
    best = int(order[0])
    reason = f"least load: {in_flight[best]} in flight on {view.address(best)}"
    return Ranking(order, cost, reason, {"in_flight": in_flight, "weight": view.weights})
