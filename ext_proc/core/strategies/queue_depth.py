"""`queue-depth`: the shortest wait by the engines' own queues, corrected by what this picker did since.

    estimated wait = depth × average latency of the endpoint

See `ext_proc.core.gauges` for the correction and for what happens to old numbers, `ext_proc.core.latency` for the
average. Endpoints at the maximum depth come after all others, the shallowest first: a pool that is full everywhere is
still served. Equal waits are told apart by the number of running requests, then at random.
"""

import random
from dataclasses import dataclass

import numpy as np

from ext_proc.core.strategies.view import Ranking, View, best_first, jitter

# One waiting request outweighs any number of running ones that an engine has.
_RUNNING = 1e-4
_TIE = 1e-6

# Seconds; far above any wait, and keys near it still tell depths apart.
_LAST = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """`maximum_depth`: requests waiting at an endpoint from which on it is only named when all are that full."""

    maximum_depth: int = 20


class QueueDepth:
    """The rule. Immutable."""

    needs_prompt = False

    def __init__(self, parameters: Parameters | None = None) -> None:
        """None: the defaults."""
        self._parameters = parameters or Parameters()

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Shortest wait first, then fewest running."""
        in_flight = view.fleet.ledger.in_flight[view.slots]
        waiting, running = view.fleet.gauges.estimated(view.slots, in_flight, view.now)
        latency = view.fleet.latencies.seconds(view.slots, view.now)
        depth = waiting + _RUNNING * running
        is_full = waiting >= self._parameters.maximum_depth
        cost = np.where(is_full, _LAST + depth, depth * latency)
        order = best_first(cost + _TIE * jitter(len(cost), rng))
        best = int(order[0])
        reason = f"about {waiting[best]:.1f} waiting, {running[best]:.1f} running at {latency[best]:.2f} s each"
        reason = f"{'all queues full' if is_full[best] else 'shortest queue'}: {reason} on {view.address(best)}"
        return Ranking(
            order,
            cost,
            reason,
            {"waiting": waiting, "running": running, "in_flight": in_flight, "latency_s": latency},
        )
