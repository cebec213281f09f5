"""What one router of a replay is going to be told, and when.

Pure. Engines run ahead of what routers know; each event waits here until the router could have it, and is told before
its next pick.
"""

import random
from collections.abc import Sequence
from heapq import heappop, heappush

from ext_proc.core import events as told
from sim.virtual.router import Exchanging, Router


class Line:
    """One router, its chance, and what it is going to be told. Mutable: the replay is the only writer."""

    __slots__ = ("_count", "_events", "_peers", "rng", "router", "zone")

    def __init__(self, router: Router, rng: random.Random, zone: str) -> None:
        self.router = router
        self.rng = rng
        self.zone = zone
        self._events: list[tuple[float, int, told.Event]] = []
        self._count = 0
        self._peers: list[tuple[Line, float]] = []

    def tell(self, at: float, event: told.Event) -> None:
        """Keeps an event until `at`."""
        self._count += 1
        heappush(self._events, (at, self._count, event))

    def tell_of_own(self, at: float, event: told.Event) -> None:
        """Keeps an event of one of its own requests, for itself and for those that it exchanges with."""
        self.tell(at, event)
        self._tell_peers(at, event)

    def tell_picked(self, now: float) -> None:
        """Keeps what the router has just picked, for those that it exchanges with."""
        picked = self.router.last_picked() if self._peers and isinstance(self.router, Exchanging) else None
        if picked is not None:
            self._tell_peers(now, picked)

    def catch_up(self, now: float) -> None:
        """Tells what would be known by now, in the order of becoming known."""
        events, observe = self._events, self.router.observe
        while events and events[0][0] <= now:
            observe(heappop(events)[2])

    def meet(self, lines: "Sequence[Line]", after_s: float) -> None:
        """From now on it exchanges with those of these that can do so, if it can: they know its events later."""
        can = isinstance(self.router, Exchanging)
        others = (line for line in lines if line is not self and isinstance(line.router, Exchanging))
        self._peers = [(line, after_s) for line in others if can]

    def _tell_peers(self, at: float, event: told.Event) -> None:
        for line, later in self._peers:
            line.tell(at + later, event)
