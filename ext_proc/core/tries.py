"""Tries at endpoints and how many of them failed: counts that only grow, for whoever compares two moments."""

import numpy as np

from ext_proc.core.slots import IntArray, grown


class Tries:
    """Counts by slot. Mutable: the arrays; `ended`, `reset` and `grow` are the writers."""

    def __init__(self, capacity: int) -> None:
        self._ended = np.zeros(capacity, dtype=np.int64)
        self._failed = np.zeros(capacity, dtype=np.int64)

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._ended):
            self._ended = grown(self._ended, capacity, 0)
            self._failed = grown(self._failed, capacity, 0)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint."""
        self._ended[slot] = self._failed[slot] = 0

    def ended(self, slot: int, *, is_error: bool) -> None:
        """A try ended, well or not."""
        self._ended[slot] += 1
        self._failed[slot] += is_error

    def of(self, slots: IntArray) -> tuple[int, int]:
        """Tries at `slots` together, and how many of them failed."""
        return int(self._ended[slots].sum()), int(self._failed[slots].sum())
