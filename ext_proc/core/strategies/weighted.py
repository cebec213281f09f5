"""`weighted`: a random draw in which quick endpoints without errors have the better chance.

    score = (max(0, 1 − latency ÷ 5 s) + max(0, 1 − 10 × error rate)) ÷ 2

`ext_proc.core.latency` says what latency and error rate are and how they are smoothed and forgotten. The chance is the
score times the endpoint's weight. Always taking the best score would send everybody to one endpoint until it is the
slowest, and then to the next; and whoever has a score of 0 keeps a small chance, or nobody would see that it is well
again.
"""

import random
from dataclasses import dataclass

import numpy as np

from ext_proc.core.strategies.view import Ranking, View, best_first, drawn

# Chance of the worst, relative to the best: one request of twenty between two tells soon enough that it has recovered.
LEAST_SCORE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """From which latency (seconds) and which error rate (share) on that half of the score is 0."""

    latency_limit_s: float = 5.0
    error_limit: float = 0.1


class Weighted:
    """The rule. Immutable."""

    needs_prompt = False

    def __init__(self, parameters: Parameters | None = None) -> None:
        """None: the defaults."""
        self._parameters = parameters or Parameters()

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """A weighted draw; the cost is what the score lacks of 1."""
        limits = self._parameters
        latency = view.fleet.latencies.seconds(view.slots, view.now)
        errors = view.fleet.latencies.error_rate(view.slots, view.now)
        quick = np.maximum(0.0, 1 - latency / limits.latency_limit_s)
        sound = np.maximum(0.0, 1 - errors / limits.error_limit)
        score = (quick + sound) / 2
        order = best_first(drawn(np.maximum(score, LEAST_SCORE) * view.weights, rng))
        best = int(order[0])
        reason = f"drawn by score {score[best]:.2f}: {latency[best]:.2f} s, {errors[best]:.0%} errors"
        terms = {"latency_s": latency, "error_rate": errors, "score": score, "weight": view.weights}
        return Ranking(order, 1 - score, f"{reason} on {view.address(best)}", terms)
