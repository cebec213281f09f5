"""`round-robin`: each endpoint in its turn, whatever its weight or load."""

import random

import numpy as np

from ext_proc.core.record import MAX_CANDIDATES
from ext_proc.core.strategies.view import Ranking, View

needs_prompt = False


def rank(view: View, rng: random.Random) -> Ranking:
    """The endpoint whose turn it is, then those after it. `rng` is not used."""
    count = len(view.slots)
    first = view.turn % count
    order = (first + np.arange(min(count, MAX_CANDIDATES))) % count
    cost = (np.arange(count) - first) % count
    return Ranking(order, cost.astype(np.float64), f"turn {view.turn}: {view.address(first)} is next")
