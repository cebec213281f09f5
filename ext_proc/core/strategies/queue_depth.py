"""`queue-depth`: the shallowest queue by the engines' own numbers, corrected by what this picker did since.

See `ext_proc.core.gauges` for the correction and for what happens to old numbers. Equal queues are told apart by the
number of running requests, then at random.
"""

import random

from ext_proc.core.strategies.view import Ranking, View, best_first, jitter

needs_prompt = False

# One waiting request outweighs any number of running ones that an engine has.
_RUNNING = 1e-4
_TIE = 1e-6


def rank(view: View, rng: random.Random) -> Ranking:
    """Fewest waiting first, then fewest running."""
    in_flight = view.fleet.ledger.in_flight[view.slots]
    waiting, running = view.fleet.gauges.estimated(view.slots, in_flight, view.now)
    cost = waiting + _RUNNING * running
    order = best_first(cost + _TIE * jitter(len(cost), rng))
    best = int(order[0])
    reason = f"shallowest queue: about {waiting[best]:.1f} waiting, {running[best]:.1f} running on {view.address(best)}"
    return Ranking(order, cost, reason, {"waiting": waiting, "running": running, "in_flight": in_flight})
