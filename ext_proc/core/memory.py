"""How much KV memory endpoints have free: what engines report, corrected by what the picker did since.

A scrape is a number of the past (`ext_proc.core.gauges` has the same two corrections for queues): tokens that own
picks brought since then, or took away by ending, are added to it, and an old number gives way to what is usual among
the others together with the picker's own account. So nobody keeps an attractive number for ever.
"""

import math

import numpy as np

from ext_proc.core.gauges import FRESH_S, HALF_LIFE_S
from ext_proc.core.slots import FloatArray, IntArray, grown, middle

# KV tokens of an engine that does not say: a 7B model on a 24 GB card has about as many. It is the same for all whose
# number is unknown, so only the rate at which own picks fill them depends on it.
USUAL_KV_TOKENS = 100_000

# Below this weight a number says too little to count for what is usual.
_KNOWN = 0.5

_NEVER = -math.inf


class Memory:
    """KV memory by slot.

    Mutable: the arrays; `scraped`, `reset` and `grow` are the writers.
    """

    def __init__(self, capacity: int) -> None:
        self._until = np.full(capacity, _NEVER)
        self._usage = np.zeros(capacity)
        self._tokens = np.zeros(capacity)  # 0: never told
        self._own_then = np.zeros(capacity)

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._until):
            self._until = grown(self._until, capacity, _NEVER)
            self._usage = grown(self._usage, capacity, 0)
            self._tokens = grown(self._tokens, capacity, 0)
            self._own_then = grown(self._own_then, capacity, 0)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint's numbers."""
        self._until[slot] = _NEVER
        self._usage[slot] = self._tokens[slot] = self._own_then[slot] = 0

    def scraped(
        self,
        slot: int,
        at: float,
        *,
        usage: float | None,
        kv_tokens: int | None,
        own_tokens: int,
        fresh_s: float = FRESH_S,
    ) -> None:
        """Takes what was told (usage from 0 to 1), with the tokens of the picker's own requests there at that moment.

        It is fresh for `fresh_s`.
        """
        if kv_tokens:
            self._tokens[slot] = kv_tokens
        if usage is not None and math.isfinite(usage):
            self._until[slot] = at + fresh_s
            self._usage[slot] = min(1.0, max(0.0, usage))
            self._own_then[slot] = own_tokens

    def held(self, slot: int, now: float) -> float | None:
        """KV tokens in use at an endpoint, as it told; None where that is not fresh, or its size was never told."""
        if not self._tokens[slot] or now > self._until[slot]:
            return None
        return float(self._usage[slot] * self._tokens[slot])

    def told_usage(self, slots: IntArray, now: float) -> float | None:
        """The mean usage (0 to 1) of those of `slots` that told lately; None without any."""
        trust = np.exp2(-np.maximum(0, now - self._until[slots]) / HALF_LIFE_S)
        known = trust > _KNOWN
        return float(self._usage[slots][known].mean()) if known.any() else None

    def estimated(self, slots: IntArray, own_tokens: IntArray, now: float) -> tuple[FloatArray, FloatArray]:
        """Usage (0 to 1) and free tokens of `slots`, where the picker's own requests have `own_tokens` now."""
        told = self._tokens[slots]
        usual_tokens = middle(told[told > 0]) if told.any() else float(USUAL_KV_TOKENS)
        capacity = np.where(told > 0, told, usual_tokens)
        stale = np.maximum(0, now - self._until[slots])
        trust = np.exp2(-stale / HALF_LIFE_S)
        known = trust > _KNOWN
        usual = middle(self._usage[slots][known]) if known.any() else 0.0
        corrected = self._usage[slots] + (own_tokens - self._own_then[slots]) / capacity
        guessed = np.maximum(usual, own_tokens / capacity)
        usage: FloatArray = np.clip(trust * corrected + (1 - trust) * guessed, 0.0, 1.0)
        return usage, (1 - usage) * capacity
