"""How much prefill each endpoint was given in the last seconds: what slows those down that decode there.

An engine with chunked prefill serves both in the same steps: while it computes prompts, answers that are under way come
slower. Over an answer that is the share of the time that the endpoint computes prompts, and the last seconds tell it
better than the moment, in which there is a prompt or none. Prefill counts from the pick on; what was given up or moved
elsewhere before it was computed is forgotten like all the rest, with time.
"""

import math

import numpy as np

from ext_proc.core.slots import FloatArray, IntArray, grown

# Time constant of forgetting, seconds: about what an answer of 100 tokens takes. Tuned on the Azure trace at the knee
# of fast engines and above it, and on agents, bursts and documents at 0.7 and 1.0 of the knees of slow ones. Mean time
# to first token over the best published rule's: 1: 0.772 and 0.998, 4: 0.800 and 0.927, 8: 0.812 and 0.933. With 1
# whole answers took 4 % longer over all cells; with 8 Azure's goodput was 0.973 of the oracle's, with 4 0.981.
MEMORY_S = 4.0


class Prefills:
    """The account, by slot.

    Mutable: both arrays; `enter`, `reset` and `grow` are the writers, `Ledger` their only caller.
    """

    def __init__(self, capacity: int) -> None:
        """Start with nothing."""
        self._ms = np.zeros(capacity)
        self._at = np.zeros(capacity)

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._ms):
            self._ms = grown(self._ms, capacity, 0.0)
            self._at = grown(self._at, capacity, 0.0)

    def recent_ms(self, slots: IntArray, now: float) -> FloatArray:
        """Milliseconds of prefill in about the last `MEMORY_S`; the older, the less it counts."""
        ages = np.maximum(now - self._at[slots], 0.0)
        recent: FloatArray = self._ms[slots] * np.exp(ages / -MEMORY_S)
        return recent

    def enter(self, slot: int, at: float, work_ms: float) -> None:
        """A prompt came whose prefill takes so long. Records of retries come late: then time does not go back."""
        last = float(self._at[slot])
        self._at[slot] = newest = max(last, at)
        before_ms = float(self._ms[slot]) * math.exp((last - newest) / MEMORY_S)
        self._ms[slot] = before_ms + work_ms * math.exp((at - newest) / MEMORY_S)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint that left."""
        self._ms[slot] = self._at[slot] = 0.0
