"""`primary-standby`: the first endpoint, as long as it may be named; then the next one.

First is who stands first in the pool's `endpoints`, within a level of localities. It is named again as soon as it is
healthy again, since an endpoint that is half open is tried like any other (`ext_proc.core.health`).
"""

import random

import numpy as np

from ext_proc.core.record import MAX_CANDIDATES
from ext_proc.core.strategies.view import Ranking, View

needs_prompt = False


def rank(view: View, rng: random.Random) -> Ranking:
    """In the order of the policy. `rng` is not used."""
    count = len(view.slots)
    order = np.arange(min(count, MAX_CANDIDATES))
    return Ranking(order, np.arange(count, dtype=np.float64), f"first of those that may be named: {view.address(0)}")
