"""One engine of a replayed fleet, with what a process can do besides computing: end, come back, and stand still.

Pure. The engine's clock is the replay's, less the time that the pod stood still.
"""

from dataclasses import replace
from math import inf, nextafter

from sim.engine import Engine
from sim.events import CacheEvent, Finished, FirstToken, Gauges, Request, Token
from sim.profile import Profile
from sim.slots import SlotEngine

AnyEngine = Engine | SlotEngine

Seen = FirstToken | Finished
"""What a client sees of a request that matters here; the tokens between do not."""

# As far as one call lets an engine run ahead when nothing can come any more; a leap ends earlier anyway.
_FAR_S = 3_600.0


class Pod:
    """One pod. Mutable: the engine, the state of its process, and a total; the replay is the writer."""

    def __init__(self, address: str, profile: Profile, *, cache_events: bool = False) -> None:
        """Starts idle and cold; with `cache_events` it tells of its prefix cache."""
        self.address = address
        self.profile = profile
        self._cache_events = cache_events
        self.engine = self._new_engine()
        self.is_down = False
        self.served = 0
        """Requests that got a first token."""
        self._stands_since: float | None = None
        self._stood_s = 0.0
        self.due = inf
        """No step ends before this time; `advance` does nothing until then."""

    @property
    def is_hung(self) -> bool:
        """Whether it stands still."""
        return self._stands_since is not None

    @property
    def next_at(self) -> float:
        """When a first token or an end comes at the earliest, in the replay's time; infinite while none can."""
        ends = self.engine.next_change_at()
        if ends is None or self.is_down or self.is_hung:
            return inf
        at = ends + self._stood_s
        while self._local(at) < ends:  # as rounding has it
            at = nextafter(at, inf)
        return at

    def advance(self, now: float) -> list[Seen]:
        """Lets time pass; what clients see since, at the replay's time."""
        ends = self.engine.next_event_at()
        local = self._local(now)
        return [] if self.is_down or ends is None or ends > local else self._advance(local)

    def run_out(self) -> list[Seen]:
        """Lets it finish all that it has."""
        seen: list[Seen] = []
        while not self.is_down and (ends := self.engine.next_event_at()) is not None:
            seen += self._advance(ends + _FAR_S)
        return seen

    def submit(self, request: Request, now: float) -> None:
        """Queues a request, after `advance`. Raises RequestTooLongError."""
        self.engine.submit(request, self._local(now))
        self._note_due()

    def abort(self, request_id: str, now: float) -> None:
        """Forgets a request, after `advance`."""
        self.engine.abort(request_id, self._local(now))

    def gauges(self) -> Gauges:
        """What its metrics show, after `advance`."""
        return self.engine.gauges()

    def take_cache_events(self) -> list[CacheEvent]:
        """What its prefix cache told since the last time, after `advance`, at the replay's time."""
        told = self.engine.take_cache_events()
        return [replace(event, at=event.at + self._stood_s) for event in told] if self._stood_s else told

    def crash(self) -> None:
        """Ends the process; what it was doing is lost."""
        self.is_down = True
        self._stands_since = None
        self.due = inf

    def restart(self) -> None:
        """Comes back, idle and cold; what made it slow is still there."""
        slowdown = self.engine.slowdown
        self.is_down = False
        self.engine = self._new_engine()
        self.engine.set_slowdown(slowdown)

    def hang(self, now: float) -> None:
        """Stands still from now on."""
        self._stands_since = self._stands_since if self.is_hung else now
        self.due = inf

    def go_on(self, now: float) -> None:
        """Moves again."""
        if self._stands_since is not None:
            self._stood_s += now - self._stands_since
            self._stands_since = None
            self._note_due()

    def _new_engine(self) -> AnyEngine:
        if self.profile.engine == "llamacpp":
            return SlotEngine(self.profile, tokens=False)
        return Engine(self.profile, tokens=False, cache_events=self._cache_events)

    def _local(self, now: float) -> float:
        return (now if self._stands_since is None else self._stands_since) - self._stood_s

    def _note_due(self) -> None:
        ends = self.engine.next_event_at()
        if ends is None or self.is_down or self.is_hung:
            self.due = inf
        else:
            # A little early where the sum was rounded: who looks then finds nothing, who looks late misses something.
            self.due = nextafter(ends + self._stood_s, -inf) if self._stood_s else ends

    def _advance(self, local: float) -> list[Seen]:
        events = self.engine.advance(local)
        self._note_due()
        return [self._seen(event) for event in events if not isinstance(event, Token)]

    def _seen(self, event: Seen) -> Seen:
        if isinstance(event, FirstToken):
            self.served += 1
        if not self._stood_s:
            return event
        if isinstance(event, FirstToken):
            return FirstToken(event.id, event.at + self._stood_s, event.cached_tokens)
        return Finished(event.id, event.at + self._stood_s, event.usage)
