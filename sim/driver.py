"""Runs one engine in real time on an asyncio loop and hands its events to whoever waits for them.

No task of its own: one timer is armed for the end of the step in flight, and `submit` arms it when the engine was idle.
Steps follow each other at the engine's own times, so a late timer delays what is seen but never slows the engine down.
"""

import asyncio
from collections.abc import Callable

from sim.engine import Engine, Finished, FirstToken, Request, Usage
from sim.events import CacheEvent
from sim.metrics import Observations


class Ticket:
    """One request on its way. `more()` says how many tokens have come; `usage` is there at the end."""

    # What changes: all but `request` and `submitted`. Single writer: the driver (and `more`, which takes what came).
    __slots__ = ("_changed", "_ready", "cached_tokens", "finish_reason", "request", "submitted", "usage")

    def __init__(self, request: Request, finish_reason: str, submitted: float) -> None:
        """Begin to wait, from `submitted` (seconds of the driver's clock) on."""
        self.request = request
        self.finish_reason = finish_reason
        self.submitted = submitted
        self.cached_tokens = 0
        self.usage: Usage | None = None
        self._ready = 0
        self._changed = asyncio.Event()

    @property
    def is_over(self) -> bool:
        """Whether the last token has come."""
        return self.usage is not None

    async def more(self) -> int:
        """Wait for tokens and return how many came since the last call; call it until `usage` is set."""
        await self._changed.wait()
        self._changed.clear()
        ready, self._ready = self._ready, 0
        return ready

    async def end(self) -> Usage:
        """Wait for the end."""
        while self.usage is None:
            await self.more()
        return self.usage

    def add(self, tokens: int) -> None:
        """Tell the waiting side of new tokens."""
        self._ready += tokens
        self._changed.set()


class EngineDriver:
    """Advances an engine with the loop's clock."""

    # What changes: the timer and the open tickets. Single writer: the loop that it was made on.
    def __init__(
        self, engine: Engine, seen: Observations, on_cache: Callable[[list[CacheEvent]], None] | None = None
    ) -> None:
        """Drive `engine` on the running loop; note in `seen` what its gauges do not tell.

        `on_cache` gets what changes in its prefix cache, if it was made to tell.
        """
        self.engine = engine
        self._seen = seen
        self._on_cache = on_cache
        self._loop = asyncio.get_running_loop()
        # Seconds since the start: small numbers keep nanoseconds exact in a float.
        self._origin = self._loop.time()
        self._tickets: dict[str, Ticket] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None

    def submit(self, request: Request, finish_reason: str) -> Ticket:
        """Give the engine a request that will end for `finish_reason`. Raises what `Engine.submit` raises."""
        now = self._advance()
        self.engine.submit(request, now)
        ticket = Ticket(request, finish_reason, now)
        self._tickets[request.id] = ticket
        self._arm()
        return ticket

    def abort(self, ticket: Ticket) -> None:
        """Forget a request; one that has ended is left alone."""
        if self._tickets.pop(ticket.request.id, None) is not None:
            self.engine.abort(ticket.request.id, self._advance())
            self._seen.finished["abort"] += 1
            self._arm()

    def set_slowdown(self, factor: float) -> None:
        """Make the steps from the next one on last `factor` times as long."""
        self._advance()
        self.engine.set_slowdown(factor)

    def close(self) -> None:
        """Stop the clock; open tickets never end."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = self._timer_at = None
        self._tickets.clear()

    def _tick(self) -> None:
        self._timer = self._timer_at = None
        self._advance()
        self._arm()

    def _advance(self) -> float:
        now = self._loop.time() - self._origin
        for event in self.engine.advance(now):
            ticket = self._tickets.get(event.id)
            if ticket is None:
                continue
            if isinstance(event, FirstToken):
                ticket.cached_tokens = event.cached_tokens
                self._seen.ttft_s.observe(event.at - ticket.submitted)
                ticket.add(1)
            elif isinstance(event, Finished):
                ticket.usage = event.usage
                del self._tickets[event.id]
                self._seen.finished[ticket.finish_reason] += 1
                ticket.add(0)
            else:
                ticket.add(event.n)
        if self._on_cache is not None and (changes := self.engine.take_cache_events()):
            self._on_cache(changes)
        return now

    def _arm(self) -> None:
        at = self.engine.next_event_at()
        if at == self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at is None else self._loop.call_at(self._origin + at, self._tick)
        self._timer_at = at
