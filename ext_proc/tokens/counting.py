"""Puts the tokens of prompts before their picks: what of the settings they allow, and requests that wait for them.

    counting = Counting(clock, someone, pod_tls, pod_token, reapply)
    match counting.begin(facts):
        case Waiting(ticket): counting.when_done(ticket, go_on)     # or: counting.abandon(ticket)
        case facts: ...                                             # with what was counted

Tickets are below zero, so that nobody takes them for those of requests that wait for a place.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from itertools import count

from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.decision import Waiting
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import PickerSettings, PoolSettings
from ext_proc.signals.pod_tls import PodTlsOf, PodTokenOf
from ext_proc.tokens.prompts import Prompts


class Counting:
    """Mutable: the settings as they are wished for, and who waits. All on one event loop."""

    def __init__(
        self,
        clock: Callable[[], float],
        someone: Callable[[str], str | None],
        pod_tls: PodTlsOf,
        pod_token: PodTokenOf,
        reapply: Callable[[PickerSettings], None],
    ) -> None:
        """`reapply` takes the wished settings again, whenever tokens allow more of them, or less."""
        self.prompts = Prompts(clock, someone=someone, pod_tls=pod_tls, pod_token=pod_token, changed=self._changed)
        self._reapply = reapply
        self._wished: PickerSettings | None = None
        self._allowed: frozenset[str] = frozenset()
        self._tickets = count(-1, -1)
        self._waiting: dict[int, tuple[RequestFacts, asyncio.Task[Counted]]] = {}

    def apply_settings(self, settings: PickerSettings) -> PickerSettings:
        """`settings`, with the word of engines taken only where all prompts of a pool can be compared to it."""
        self._wished = settings
        self.prompts.apply_settings(settings)
        self._allowed = self._can_be_exact(settings)
        return replace(settings, pools=tuple(map(self._possible, settings.pools)))

    def begin(self, facts: RequestFacts) -> RequestFacts | Waiting:
        """The request with its tokens, if they are there; else it has to wait a moment."""
        found = self.prompts.count(facts)
        if isinstance(found, Counted):
            return facts if found is NOT_COUNTED else replace(facts, counted=found)
        ticket = next(self._tickets)
        self._waiting[ticket] = (facts, found)
        return Waiting(ticket, 0.0)

    def when_done(self, ticket: int, go_on: Callable[[RequestFacts], None]) -> None:
        """Goes on with the request of this ticket once its tokens are there, unless it is abandoned before."""

        def done(task: "asyncio.Task[Counted]") -> None:
            waited = self._waiting.pop(ticket, None)
            if waited is not None:
                is_there = not task.cancelled() and task.exception() is None
                go_on(replace(waited[0], counted=task.result() if is_there else Counted(None, "internal error")))

        self._waiting[ticket][1].add_done_callback(done)

    def abandon(self, ticket: int) -> None:
        """Nobody waits for it any more."""
        waited = self._waiting.pop(ticket, None)
        if waited is not None:
            waited[1].cancel()

    def _changed(self) -> None:
        """Models have got ready, or ceased to be."""
        if self._wished is not None and self._can_be_exact(self._wished) != self._allowed:
            self._reapply(self._wished)

    def _can_be_exact(self, settings: PickerSettings) -> frozenset[str]:
        ready = self.prompts.is_ready
        return frozenset(pool.name for pool in settings.pools if pool.models and all(map(ready, pool.models)))

    def _possible(self, pool: PoolSettings) -> PoolSettings:
        events = pool.kv_events
        if events is None or not events.is_exact or pool.name in self._allowed:
            return pool
        return replace(pool, kv_events=replace(events, is_exact=False))
