"""`random`: any endpoint, each with a chance in proportion to its weight."""

import random

from ext_proc.core.strategies.view import Ranking, View, best_first, drawn

needs_prompt = False


def rank(view: View, rng: random.Random) -> Ranking:
    """A weighted draw without replacement."""
    key = drawn(view.weights, rng)
    order = best_first(key)
    return Ranking(order, key, f"drawn at random: {view.address(int(order[0]))}", {"weight": view.weights})
