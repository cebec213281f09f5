"""How many requests engines say they have, and what follows from it together with the picker's own account.

A told number is one of the past. Two corrections make it useful:

- *own picks since*: estimated = told + (own in flight now − own in flight when it was told), so that a burst between
  two scrapes does not all go to the endpoint that was idle at the first one;
- *age*: once a number is no longer fresh (`ext_proc.core.heard`) it loses half of its weight every `HALF_LIFE_S`, and
  the picker's own account takes its place. An endpoint that never told has weight 0 from the start. Nobody keeps an
  attractive number for ever, and a failed scrape fails nothing.

Waiting and running requests may come from different sides at different times, and each has an age of its own. What is
told beyond the picker's own is *foreign*: somebody else's load on the same engine.
"""

import math

import numpy as np

from ext_proc.core.heard import MIN_FRESH_S
from ext_proc.core.slots import FloatArray, IntArray, grown

FRESH_S = MIN_FRESH_S
"""How long a number is fresh at least."""

# Requests last seconds to tens of seconds; after some half-lives a queue has nothing in common with its old length.
HALF_LIFE_S = 5.0

_NEVER = -math.inf


class Gauges:
    """Told numbers by slot.

    Mutable: the arrays; `told`, `reset` and `grow` are the writers.
    """

    def __init__(self, capacity: int) -> None:
        # Until when each of the two numbers is fresh.
        self._running_until = np.full(capacity, _NEVER)
        self._waiting_until = np.full(capacity, _NEVER)
        self._running = np.zeros(capacity)
        self._waiting = np.zeros(capacity)
        self._own_then = np.zeros(capacity)
        self._foreign_running = np.zeros(capacity)
        self._foreign_waiting = np.zeros(capacity)
        # Saves the common case (one picker, all traffic through it) the arithmetic on every pick.
        self.has_foreign = False
        # Where both numbers always come together, one weight does for both.
        self._apart: set[int] = set()

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._running):
            self._running_until = grown(self._running_until, capacity, _NEVER)
            self._waiting_until = grown(self._waiting_until, capacity, _NEVER)
            self._running = grown(self._running, capacity, 0)
            self._waiting = grown(self._waiting, capacity, 0)
            self._own_then = grown(self._own_then, capacity, 0)
            self._foreign_running = grown(self._foreign_running, capacity, 0)
            self._foreign_waiting = grown(self._foreign_waiting, capacity, 0)

    def reset(self, slot: int) -> None:
        """Forgets an endpoint's numbers."""
        self._running_until[slot] = self._waiting_until[slot] = _NEVER
        for array in (self._running, self._waiting, self._own_then, self._foreign_running, self._foreign_waiting):
            array[slot] = 0
        self._apart.discard(slot)

    def told(
        self,
        slot: int,
        at: float,
        *,
        running: int | None = None,
        waiting: int | None = None,
        in_flight: int,
        decoding: int,
        fresh_s: float = FRESH_S,
    ) -> None:
        """Takes one of the numbers or both, with the picker's own requests in flight and decoding at that moment.

        They are fresh for `fresh_s`. A number that is not told now is carried on: own picks since it was told are in
        it from now on.
        """
        if running is None and waiting is None:
            return
        carried_waiting, carried_running = self._carried(slot, in_flight)
        queued = in_flight - decoding
        # For what is foreign, a number that is unknown or old is taken to be the own one.
        likely_waiting, likely_running = float(waiting or 0), float(running or 0)
        if waiting is None:
            weight = _weight(float(self._waiting_until[slot]), at)
            likely_waiting = weight * carried_waiting + (1 - weight) * queued
        if running is None:
            weight = _weight(float(self._running_until[slot]), at)
            likely_running = weight * carried_running + (1 - weight) * decoding
        if waiting is not None:
            self._waiting_until[slot] = at + fresh_s
        if running is not None:
            self._running_until[slot] = at + fresh_s
        self._waiting[slot] = carried_waiting if waiting is None else waiting
        self._running[slot] = carried_running if running is None else running
        self._own_then[slot] = in_flight
        foreign = max(0.0, likely_running + likely_waiting - in_flight)
        foreign_waiting = min(foreign, max(0.0, likely_waiting - queued))
        self._foreign_waiting[slot] = foreign_waiting
        self._foreign_running[slot] = foreign - foreign_waiting
        self.has_foreign = bool(self._foreign_running.any() or self._foreign_waiting.any())
        if self._waiting_until[slot] == self._running_until[slot]:
            self._apart.discard(slot)
        else:
            self._apart.add(slot)

    def _carried(self, slot: int, in_flight: int) -> tuple[float, float]:
        """Waiting and running as they must be now, going by what was told and by own picks and ends since then."""
        room = float(self._waiting[slot]) + in_flight - float(self._own_then[slot])
        return max(0.0, room), max(0.0, float(self._running[slot]) + min(0.0, room))

    def estimated(self, slots: IntArray, in_flight: IntArray, now: float) -> tuple[FloatArray, FloatArray]:
        """Requests waiting and running on `slots`, whose own `in_flight` is given in the same order.

        Own picks since the number was told are taken to wait until somebody says that they run; own ends since then
        have made room for waiting ones.
        """
        trust = _trust(self._waiting_until[slots], now)
        own_since = in_flight - self._own_then[slots]
        told_waiting = self._waiting[slots]
        waiting = np.maximum(0, told_waiting + own_since)
        running = np.maximum(0, told_waiting + self._running[slots] + own_since) - waiting
        if not self._apart:
            return trust * waiting + (1 - trust) * in_flight, trust * running
        running_trust = _trust(self._running_until[slots], now)
        # Own requests that are known to run do not wait.
        elsewhere = np.maximum(0, running_trust - trust) * running
        unknown = np.maximum(0, in_flight - elsewhere)
        return trust * waiting + (1 - trust) * unknown, running_trust * running

    def queues(self, slots: IntArray, now: float) -> tuple[float, float] | None:
        """Requests waiting and running on `slots` together, as they were told, by those that told lately; None without
        any. Own picks since then are not in it: where they are is not known."""
        trust = _trust(self._waiting_until[slots], now)
        if not trust.any():
            return None
        return float((trust * self._waiting[slots]).sum()), float((trust * self._running[slots]).sum())

    def foreign(self, slots: IntArray, now: float) -> tuple[FloatArray, FloatArray]:
        """Requests of others, waiting and running, on `slots`."""
        trust = _trust(self._waiting_until[slots], now)
        running_trust = _trust(self._running_until[slots], now) if self._apart else trust
        return trust * self._foreign_waiting[slots], running_trust * self._foreign_running[slots]

    def foreign_told(self, slot: int) -> tuple[float, float]:
        """Requests of others, waiting and running, as one slot told last, however long ago."""
        return float(self._foreign_waiting[slot]), float(self._foreign_running[slot])

    def foreign_at(self, slot: int, now: float) -> tuple[float, float]:
        """`foreign` of one slot."""
        waiting = _weight(float(self._waiting_until[slot]), now) * float(self._foreign_waiting[slot])
        return waiting, _weight(float(self._running_until[slot]), now) * float(self._foreign_running[slot])


def _weight(until: float, now: float) -> float:
    """`_trust` for one number."""
    return 1.0 if now <= until else float(2.0 ** (-(now - until) / HALF_LIFE_S))


def _trust(until: FloatArray, now: float) -> FloatArray:
    """Weight of numbers that are fresh until then, from 1 (fresh) to 0 (very old, or none)."""
    stale: FloatArray = np.maximum(0, now - until)
    return np.exp2(-stale / HALF_LIFE_S)
