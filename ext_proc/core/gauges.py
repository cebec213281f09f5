"""What engines report about themselves, and what follows from it together with the picker's own account.

A scrape is a number of the past. Two corrections make it useful:

- *own picks since*: estimated = scraped + (own in flight now − own in flight at the scrape), so that a burst between
  two scrapes does not all go to the endpoint that was idle at the first one;
- *age*: after `FRESH_S` a number loses half of its weight every `HALF_LIFE_S`, and the picker's own account takes its
  place. An endpoint that was never scraped has weight 0 from the start. Nobody keeps an attractive number for ever, and
  a failed scrape fails nothing.

What is scraped beyond the picker's own is *foreign*: somebody else's load on the same engine.
"""

import math

import numpy as np

from ext_proc.core.slots import FloatArray, IntArray, grown

# Five scrape intervals (200 ms): one lost scrape is not yet staleness.
FRESH_S = 1.0

# Requests last seconds to tens of seconds; after some half-lives a queue has nothing in common with its old length.
HALF_LIFE_S = 5.0

_NEVER = -math.inf


class Gauges:
    """Scraped numbers by slot.

    Mutable: the arrays; `scraped`, `reset` and `grow` are the writers.
    """

    def __init__(self, capacity: int) -> None:
        self._at = np.full(capacity, _NEVER)
        self._running = np.zeros(capacity)
        self._waiting = np.zeros(capacity)
        self._own_then = np.zeros(capacity)
        self._foreign_running = np.zeros(capacity)
        self._foreign_waiting = np.zeros(capacity)
        # Saves the common case (one picker, all traffic through it) the arithmetic on every pick.
        self.has_foreign = False

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._at):
            self._at = grown(self._at, capacity, _NEVER)
            self._running = grown(self._running, capacity, 0)
            self._waiting = grown(self._waiting, capacity, 0)
            self._own_then = grown(self._own_then, capacity, 0)
            self._foreign_running = grown(self._foreign_running, capacity, 0)
            self._foreign_waiting = grown(self._foreign_waiting, capacity, 0)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint's numbers."""
        self._at[slot] = _NEVER
        for array in (self._running, self._waiting, self._own_then, self._foreign_running, self._foreign_waiting):
            array[slot] = 0

    def scraped(self, slot: int, at: float, *, running: int, waiting: int, in_flight: int, decoding: int) -> None:
        """Takes a scrape, with the picker's own requests in flight and decoding at that moment."""
        self._at[slot] = at
        self._running[slot] = running
        self._waiting[slot] = waiting
        self._own_then[slot] = in_flight
        foreign = max(0, running + waiting - in_flight)
        foreign_waiting = min(foreign, max(0, waiting - (in_flight - decoding)))
        self._foreign_waiting[slot] = foreign_waiting
        self._foreign_running[slot] = foreign - foreign_waiting
        self.has_foreign = bool(self._foreign_running.any() or self._foreign_waiting.any())

    def age_s(self, slot: int, now: float) -> float | None:
        """Seconds since the last scrape; None if there was none."""
        at = float(self._at[slot])
        return None if at == _NEVER else max(0.0, now - at)

    def estimated(self, slots: IntArray, in_flight: IntArray, now: float) -> tuple[FloatArray, FloatArray]:
        """Requests waiting and running on `slots`, whose own `in_flight` is given in the same order.

        Own picks since the scrape are taken to wait until a scrape says that they run; own ends since then have made
        room for waiting ones.
        """
        trust = self._trust(slots, now)
        own_since = in_flight - self._own_then[slots]
        scraped_waiting = self._waiting[slots]
        waiting = np.maximum(0, scraped_waiting + own_since)
        running = np.maximum(0, scraped_waiting + self._running[slots] + own_since) - waiting
        return trust * waiting + (1 - trust) * in_flight, trust * running

    def foreign(self, slots: IntArray, now: float) -> tuple[FloatArray, FloatArray]:
        """Requests of others, waiting and running, on `slots`."""
        trust = self._trust(slots, now)
        return trust * self._foreign_waiting[slots], trust * self._foreign_running[slots]

    def _trust(self, slots: IntArray, now: float) -> FloatArray:
        """Weight of the last scrape, from 1 (fresh) to 0 (very old, or none)."""
        stale: FloatArray = np.maximum(0, now - self._at[slots] - FRESH_S)
        return np.exp2(-stale / HALF_LIFE_S)
