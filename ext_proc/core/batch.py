"""Which endpoint is a batch's own: requests that are marked as one batch go together, within a bound.

A batch has an order of all endpoints, by highest random weight as sessions have (`ext_proc.core.strategies.session`),
and the first of them that is not full is its own. So nothing is remembered, pickers that know the same endpoints agree,
and when an endpoint comes or goes only its own batches move.

*Full* is who has its share of all requests in flight and a quarter more, and at least `max_in_flight`: a small batch
stays together although nobody else asks, and a large one fills one endpoint up to that and then the next, instead of
drowning its own. Where all are full the batch says nothing.
"""

import numpy as np

from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group
from ext_proc.core.settings import BatchSettings
from ext_proc.core.slots import BoolArray
from ext_proc.core.strategies.session import places_of

# Of an endpoint's share, as `session` has it by default: at most a quarter more than the mean.
LOAD_FACTOR = 1.25


def together(group: Group, candidates: BoolArray, batch: str, settings: BatchSettings, fleet: Fleet) -> BoolArray:
    """The one of a group that the batch goes to, among its `candidates`; nobody where all of those are full."""
    load, weights = fleet.ledger.in_flight[group.slots], group.weights
    share = LOAD_FACTOR * (load.sum() + 1) * weights / weights.sum()
    is_free = candidates & (load + 1 <= np.maximum(share, settings.max_in_flight))
    chosen = np.zeros(len(group.slots), dtype=np.bool_)
    if is_free.any():
        places = places_of(fleet.slots.hashes[group.slots], batch, weights)
        chosen[int(np.argmin(np.where(is_free, places, np.inf)))] = True
    return chosen
