"""A strategy of one's own for kvpilot: the cheapest pod that still has room; docs/strategies.md explains it."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from ext_proc.core.strategies.view import Ranking, View, best_first, jitter


class Cheapest:
    """Least price of the pod's GPU first, as long as the pod has fewer than `room` requests in flight.

    Immutable. Prices are by the label `gpu` of the endpoints.
    """

    needs_prompt = False

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        """Raises ValueError for parameters that make no sense: the policy is then refused with these words."""
        if not isinstance(parameters.get("price"), Mapping):
            raise ValueError("`price` is missing: a mapping from the label `gpu` to a price")
        self._prices = {str(gpu): float(price) for gpu, price in parameters["price"].items()}
        self._unknown = max(self._prices.values(), default=0.0)
        self._room = int(parameters.get("room", 8))

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Those with room by price, then the others by load."""
        gpus = [view.endpoint(position).labels.get("gpu", "") for position in range(len(view.slots))]
        price = np.array([self._prices.get(gpu, self._unknown) for gpu in gpus])
        in_flight = view.fleet.ledger.in_flight[view.slots]
        is_full = in_flight >= self._room
        cost = np.where(is_full, 1e6 + in_flight, price)
        order = best_first(cost + 1e-6 * jitter(len(cost), rng))
        best = int(order[0])
        reason = f"{'all are full' if is_full[best] else 'cheapest with room'}: {view.address(best)}"
        return Ranking(order, cost, reason, {"price": price, "in_flight": in_flight})
