"""One pool's door: a request goes in, waits, or is refused. Pure; `now` is in seconds of the caller's monotonic clock.

    admission = Admission(settings)
    match admission.arrive(visitor, now, is_free=there_is_a_place):
        case Admit(): …
        case Wait(waiter=waiter, shed=pushed_out): …
        case Reject(why=why, retry_after_s=seconds): …
    while there_is_a_place and len(admission):
        waiter = admission.admit_next(now)

Whether there is a place is the caller's knowledge (`ext_proc.core.places`). It must ask for the next ones whenever
there may be one: then nobody waits while a place is free, and a newcomer never passes one that waits.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from ext_proc.core.fair_queue import FairQueue, Waiter
from ext_proc.core.settings import AdmissionSettings

# The rate at which requests go in is that of about the last ten seconds: requests last seconds to tens of seconds.
RATE_MEMORY_S = 10.0
# Less than this is no measurement of a rate.
MIN_RATE_WINDOW_S = 1.0

# Retry-After in seconds. Nobody should ask more often than once a second; what a queue will be like in more than a
# minute nobody knows.
MIN_RETRY_AFTER_S = 1
MAX_RETRY_AFTER_S = 60

# A tenant's name is a key of ours while it has requests waiting; a header may have 60 KiB.
MAX_TENANT_CHARS = 128

# Deadlines of requests that have gone are kept until they come, but no more than as many again as wait, and these.
SPARE_DEADLINES = 64

FULL = "full"
EXPIRED = "expired"
NO_WAIT = "no-wait"
REASONS = (FULL, EXPIRED, NO_WAIT)
"""Why requests are refused: the queue is full, the wait was too long, or this kind of request does not wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """What the door looks at: a request's kind, its model's canonical name, the route that Envoy chose, the tokens of
    its prompt, and its headers by names in lower case."""

    kind: str = ""
    model: str = ""
    route: str = ""
    tokens: int = 1
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admit:
    """There is a place, and nobody waits for it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """It waits; `shed` had to leave the queue for it and are to be refused."""

    waiter: Waiter
    shed: tuple[Waiter, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """It is refused; `why` is one of `REASONS`."""

    why: str
    retry_after_s: int


class Admission:
    """Mutable: the queue, the rate at which requests go in, what was refused; all methods but the questions write."""

    def __init__(self, settings: AdmissionSettings) -> None:
        self.settings = settings
        self.rejected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        """Refused requests by reason."""
        self.left = 0
        """Clients that went away while they waited."""
        self._queue = FairQueue(len(settings.priorities))
        self._rate = _Rate()
        self._deadlines: list[tuple[float, int]] = []  # a heap; tickets that have gone otherwise are skipped

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    @property
    def waiting_tokens(self) -> int:
        """Prompt tokens of all that wait."""
        return self._queue.tokens

    def waiting(self) -> dict[str, int]:
        """How many wait, by the priority's name."""
        names = (priority.name for priority in self.settings.priorities)
        return dict(zip(names, self._queue.lengths(), strict=True))

    def arrive(self, visitor: Visitor, now: float, ticket: int, *, is_free: bool) -> Admit | Wait | Reject:
        """Decides about a newcomer. `ticket` is a new number, higher than all before it."""
        if is_free and not len(self._queue):
            self._rate.note(now)
            return Admit()
        number = self.priority_of(visitor)
        wait_s = self._wait_s(number, visitor)
        if wait_s <= 0:
            return self.refuse(NO_WAIT, number, now)
        waiter = Waiter(
            ticket=ticket,
            priority=number,
            tenant=visitor.headers.get(self.settings.tenant_header, "")[:MAX_TENANT_CHARS],
            tokens=max(1, visitor.tokens),
            since=now,
            deadline=now + wait_s,
        )
        shed = self._room_for(waiter)
        if shed is None:
            return self.refuse(FULL, number, now)
        self._enter(waiter)
        self.rejected[FULL] += len(shed)
        return Wait(waiter, shed)

    def admit_next(self, now: float) -> Waiter:
        """Takes out who is next; raises IndexError when nobody waits."""
        waiter = self._queue.pop()
        self._rate.note(now)
        return waiter

    def admit_among(self, may_go: Callable[[int], bool], now: float) -> Waiter | None:
        """Takes out who is next of those tickets for whom there is a place elsewhere; None where there is nobody."""
        waiter = self._queue.pop_among(may_go)
        if waiter is not None:
            self._rate.note(now)
        return waiter

    def leave(self, ticket: int) -> bool:
        """A client went away; whether it was waiting here."""
        was_here = self._queue.remove(ticket) is not None
        self.left += was_here
        return was_here

    def clear(self) -> list[Waiter]:
        """Takes out all, in the order of their coming."""
        everybody = list(self._queue)
        for waiter in everybody:
            self._queue.remove(waiter.ticket)
        return everybody

    def expire(self, now: float) -> list[Waiter]:
        """Takes out those whose deadline has come, in the order of these; they are to be refused."""
        due = []
        while self._deadlines and self._deadlines[0][0] <= now:
            waiter = self._queue.remove(heappop(self._deadlines)[1])
            if waiter is not None:
                due.append(waiter)
        self.rejected[EXPIRED] += len(due)
        return due

    def retry_after_s(self, priority: int, now: float) -> int:
        """When one of this priority had better come back: when those before it will have gone in at today's rate."""
        rate = self._rate.per_s(now)
        before = sum(self._queue.lengths()[: priority + 1])
        seconds = before / rate if rate > 0 else self.settings.priorities[priority].max_wait_s
        return min(MAX_RETRY_AFTER_S, max(MIN_RETRY_AFTER_S, math.ceil(seconds)))

    def rate_per_s(self, now: float) -> float:
        """How many requests a second go in."""
        return self._rate.per_s(now)

    def priority_of(self, visitor: Visitor) -> int:
        """By the route; else by the header; without it, or with a word that is none, by the model, then by the kind of
        the request; else the usual one."""
        priorities = self.settings.priorities
        by_rule = self.settings.route_priorities.get(visitor.route)
        if by_rule is not None:
            return by_rule
        word = visitor.headers.get(self.settings.priority_header, "")
        for number, priority in enumerate(priorities):
            if word == priority.name:
                return number
        for number, priority in enumerate(priorities):
            if visitor.model in priority.models:
                return number
        for number, priority in enumerate(priorities):
            if visitor.kind in priority.kinds:
                return number
        return self.settings.usual_priority

    def refuse(self, why: str, priority: int, now: float) -> Reject:
        """Counts a refusal."""
        self.rejected[why] += 1
        return Reject(why, self.retry_after_s(priority, now))

    def follow(self, former: "Admission") -> None:
        """Goes on in the place of `former`, whose settings were others: takes over its waiters and what it counted.

        They keep their tickets, places and deadlines; one whose priority is no more is now of the lowest.
        """
        names = {priority.name: number for number, priority in enumerate(self.settings.priorities)}
        lowest = len(self.settings.priorities) - 1
        for waiter in former.clear():
            name = former.settings.priorities[waiter.priority].name
            self._enter(
                Waiter(
                    ticket=waiter.ticket,
                    priority=names.get(name, lowest),
                    tenant=waiter.tenant,
                    tokens=waiter.tokens,
                    since=waiter.since,
                    deadline=waiter.deadline,
                )
            )
        self.rejected, self.left, self._rate = former.rejected, former.left, former._rate

    def _enter(self, waiter: Waiter) -> None:
        self._queue.push(waiter)
        if len(self._deadlines) > 2 * len(self._queue) + SPARE_DEADLINES:
            self._deadlines = [(each.deadline, each.ticket) for each in self._queue]
            heapify(self._deadlines)
        else:
            heappush(self._deadlines, (waiter.deadline, waiter.ticket))

    def _wait_s(self, number: int, visitor: Visitor) -> float:
        """The policy's longest wait; a client may ask for a shorter one, in milliseconds."""
        longest = self.settings.priorities[number].max_wait_s
        asked = visitor.headers.get(self.settings.wait_header, "")
        # Ten digits are 115 days; `isdecimal` takes other alphabets' digits too, and so does `int`.
        return min(longest, int(asked) / 1_000) if asked.isdecimal() and len(asked) <= 10 else longest

    def _room_for(self, waiter: Waiter) -> tuple[Waiter, ...] | None:
        """Who had to go so that `waiter` has room; None when there is none for it, and nobody had to go."""
        most = self.settings.max_waiting_tokens
        shed: list[Waiter] = []
        while (is_long := self._queue.tokens + waiter.tokens > most) or len(self._queue) >= self.settings.max_waiting:
            victim = self._queue.sheddable(waiter, in_tokens=is_long) if waiter.tokens <= most else None
            if victim is None:
                # Each was the last of its line, so they stand again as they stood.
                for each in reversed(shed):
                    self._queue.push(each)
                return None
            self._queue.take_last(victim)
            shed.append(victim)
        self._queue.settle(shed)
        return tuple(shed)


class _Rate:
    """Events per second, lately. Mutable: `note` is the writer.

    Every event counts 1 and fades with `RATE_MEMORY_S`; the sum is divided by the time it stands for, so that a steady
    rate is told rightly from the start.
    """

    __slots__ = ("_at", "_since", "_sum")

    def __init__(self) -> None:
        self._sum = 0.0
        self._at = 0.0
        self._since: float | None = None

    def note(self, now: float) -> None:
        if self._since is None:
            self._since = self._at = now
        self._sum = self._faded(now) + 1
        self._at = now

    def per_s(self, now: float) -> float:
        if self._since is None:
            return 0.0
        window = RATE_MEMORY_S * (1 - math.exp(-max(0.0, now - self._since) / RATE_MEMORY_S))
        return self._faded(now) / max(MIN_RATE_WINDOW_S, window)

    def _faded(self, now: float) -> float:
        return self._sum * math.exp(-max(0.0, now - self._at) / RATE_MEMORY_S)
