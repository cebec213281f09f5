"""`gpu-memory`: the most free KV memory by the engines' own numbers, corrected by what this picker did since.

See `ext_proc.core.memory` for the correction, for old numbers, and for engines that do not report. Above the maximum
usage an engine preempts or queues, so such endpoints come after all others, the least used first. Equal ones are told
apart by the picker's own requests in flight, then at random.
"""

import random
from dataclasses import dataclass

import numpy as np

from ext_proc.core.strategies.view import Ranking, View, best_first, jitter

# In tokens: what is free differs by hundreds of them where it differs at all.
_IN_FLIGHT = 1.0
_TIE = 0.5

# Tokens; far above any memory.
_LAST = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """`maximum_usage`: share of the KV memory from which on an endpoint is only named when all are that full."""

    maximum_usage: float = 0.95


class GpuMemory:
    """The rule. Immutable."""

    needs_prompt = False

    def __init__(self, parameters: Parameters | None = None) -> None:
        """None: the defaults."""
        self._parameters = parameters or Parameters()

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """Most free tokens first; the cost is their negative."""
        ledger = view.fleet.ledger
        in_flight = ledger.in_flight[view.slots]
        own_tokens = ledger.queued_tokens[view.slots] + ledger.decoding_tokens[view.slots]
        usage, free = view.fleet.memory.estimated(view.slots, own_tokens, view.now)
        is_full = usage >= self._parameters.maximum_usage
        cost = np.where(is_full, _LAST * (1 + usage), -free)
        order = best_first(cost + _IN_FLIGHT * in_flight + _TIE * jitter(len(cost), rng))
        best = int(order[0])
        word = "all memories full" if is_full[best] else "most free memory"
        reason = f"{word}: about {free[best]:,.0f} tokens ({usage[best]:.0%} used) on {view.address(best)}"
        return Ranking(order, cost, reason, {"usage": usage, "free_tokens": free, "in_flight": in_flight})
