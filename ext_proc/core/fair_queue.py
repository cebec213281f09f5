"""Who is next: strict priorities, tenants in turn by tokens, first come first served for each of them. Pure.

- *Priorities are strict*, without ageing: ageing lets a flood of batch work compete with people just when there is
  least room for both. Nobody waits for ever all the same, since every waiter has a deadline.
- *Tenants* of one priority are served by deficit round robin (Shreedhar and Varghese, "Efficient Fair Queuing using
  Deficit Round Robin", SIGCOMM 1995): each turn is worth `QUANTUM_TOKENS`, and what a turn leaves is kept while the
  tenant has more waiting. A prompt counts as at least `LEAST_TOKENS`. Of two tenants that always have something
  waiting, neither gets more than `QUANTUM_TOKENS` + 2 × the longest prompt ahead of the other.
- *Places that only some may take* go to these by the same priorities, and in a fair order of their own (start-time fair
  queuing: Goyal, Vin and Cheng, SIGCOMM 1996): of the tenants the one that has had the fewest tokens of such places.
  What others wait for is no concern of theirs, so turns stay as they are.
- *When it is full*, the lowest priority makes room first: there the tenant that has most waiting, and of its requests
  the newest.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

# About one chat prompt. A smaller one makes longer searches (at most waiting tokens ÷ quantum steps for one request), a
# larger one lets a tenant with short prompts send more of them in a row.
QUANTUM_TOKENS = 1_024

# What a turn is charged for any request: its answer takes a place, too, however short its prompt is. Without it a
# tenant with prompts of ten words sent dozens of requests in a row.
LEAST_TOKENS = 256

# What a heap remembers of lines as they no longer are, before it is made anew: as many again as there are, and these.
SPARE_ENTRIES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiter:
    """A request that waits. `priority` 0 is the highest; `tokens` are those of its prompt, at least 1."""

    ticket: int
    priority: int
    tenant: str
    tokens: int
    since: float
    deadline: float

    @property
    def charge(self) -> int:
        """What its tenant's turn pays for it, in tokens."""
        return max(LEAST_TOKENS, self.tokens)


@dataclass(slots=True)
class _Line:
    """One tenant's waiters, oldest first. Mutable: its lane is the writer."""

    waiters: "OrderedDict[int, Waiter]" = field(default_factory=OrderedDict)
    tokens: int = 0
    deficit: int = 0
    led: int = 0
    """Up to where it has had its part of places that only some may take (the lane's `_led`)."""

    @property
    def last(self) -> Waiter:
        return next(reversed(self.waiters.values()))

    def size(self, *, in_tokens: bool) -> int:
        return self.tokens if in_tokens else len(self.waiters)


class FairQueue:
    """The waiters of one pool. Mutable: lanes by priority, waiters by ticket, their tokens."""

    def __init__(self, priorities: int) -> None:
        """`priorities` says how many there are; waiters have numbers below it."""
        self._lanes = tuple(_Lane() for _ in range(priorities))
        self._waiters: dict[int, Waiter] = {}
        self.tokens = 0
        """Of all that wait."""

    def __len__(self) -> int:
        return len(self._waiters)

    def __iter__(self) -> Iterator[Waiter]:
        """All, in the order of their coming."""
        return iter(sorted(self._waiters.values(), key=lambda waiter: waiter.ticket))

    def lengths(self) -> tuple[int, ...]:
        """How many wait, by priority."""
        return tuple(len(lane) for lane in self._lanes)

    def push(self, waiter: Waiter) -> None:
        """Puts a waiter with a new ticket at the end of its line."""
        assert waiter.ticket not in self._waiters, "a ticket is given once"
        self._waiters[waiter.ticket] = waiter
        self.tokens += waiter.tokens
        self._lanes[waiter.priority].push(waiter)

    def pop(self) -> Waiter:
        """Takes out who is next; raises IndexError when nobody waits."""
        waiter = self.first()
        self.remove(waiter.ticket, is_served=True)
        return waiter

    def pop_among(self, may_go: Callable[[int], bool]) -> Waiter | None:
        """Takes out who is next of those whose tickets it says that of; None where there is nobody."""
        for lane in self._lanes:
            waiter = lane.next_among(may_go)
            if waiter is not None:
                self.remove(waiter.ticket)
                return waiter
        return None

    def first(self) -> Waiter:
        """Who is next; raises IndexError when nobody waits."""
        for lane in self._lanes:
            if len(lane):
                return lane.next()
        raise IndexError("nobody waits")

    def remove(self, ticket: int, *, is_served: bool = False) -> Waiter | None:
        """Takes out one waiter, wherever it stands; None when it is not there."""
        waiter = self._waiters.pop(ticket, None)
        if waiter is not None:
            self.tokens -= waiter.tokens
            lane = self._lanes[waiter.priority]
            lane.remove(waiter, is_served=is_served)
            lane.drop_if_empty(waiter.tenant)
        return waiter

    def take_last(self, waiter: Waiter) -> None:
        """Takes out the last one of its line, which may come back by `push`: until `settle` its line keeps its turn."""
        del self._waiters[waiter.ticket]
        self.tokens -= waiter.tokens
        self._lanes[waiter.priority].remove(waiter, is_served=False)

    def settle(self, taken: Iterable[Waiter]) -> None:
        """Those who were taken out by `take_last` do not come back."""
        for waiter in taken:
            self._lanes[waiter.priority].drop_if_empty(waiter.tenant)

    def sheddable(self, newcomer: Waiter, *, in_tokens: bool) -> Waiter | None:
        """Whom a newcomer may push out: somebody of lower priority, or of a tenant that would still have as much
        waiting as the newcomer's own, counted in requests or in tokens. None: the newcomer is the one to go."""
        for number in range(len(self._lanes) - 1, newcomer.priority - 1, -1):
            lane = self._lanes[number]
            if not len(lane):
                continue
            last, size = lane.newest_of_longest(in_tokens=in_tokens)
            if number > newcomer.priority:
                return last
            left = size - (last.tokens if in_tokens else 1)
            own = lane.size_of(newcomer.tenant, in_tokens=in_tokens) + (newcomer.tokens if in_tokens else 1)
            return last if left >= own else None
        return None


class _Longest:
    """Which line is the longest, in one measure. Mutable: a heap with an entry for each state that a line had.

    Entries of former states are dropped when they come up. Without it a full queue would look at every tenant for each
    newcomer, and whoever invents tenants could stop the picker.
    """

    __slots__ = ("_entries", "_in_tokens", "_lines")

    def __init__(self, lines: "OrderedDict[str, _Line]", *, in_tokens: bool) -> None:
        self._lines = lines
        self._in_tokens = in_tokens
        self._entries: list[tuple[int, int, str]] = []

    def note(self, tenant: str, line: _Line) -> None:
        """A line has changed, and is not empty."""
        heappush(self._entries, self._entry(tenant, line))
        if len(self._entries) > 2 * len(self._lines) + SPARE_ENTRIES:
            self._entries = [self._entry(*each) for each in self._lines.items() if each[1].waiters]
            heapify(self._entries)

    def newest(self) -> tuple[Waiter, int]:
        """The last of the longest line, of equals the newest one, and how long the line is; there is somebody."""
        while True:
            entry = self._entries[0]
            line = self._lines.get(entry[2])
            if line is not None and line.waiters and self._entry(entry[2], line) == entry:
                return line.last, -entry[0]
            heappop(self._entries)

    def _entry(self, tenant: str, line: _Line) -> tuple[int, int, str]:
        return -line.size(in_tokens=self._in_tokens), -line.last.ticket, tenant


class _Lane:
    """The tenants of one priority, the one whose turn it is first. Mutable: lines, the longest, turn, count, and how
    far places that only some may take are given."""

    __slots__ = ("_count", "_has_quantum", "_led", "_lines", "_longest")

    def __init__(self) -> None:
        self._lines: OrderedDict[str, _Line] = OrderedDict()
        self._longest = {in_tokens: _Longest(self._lines, in_tokens=in_tokens) for in_tokens in (False, True)}
        self._has_quantum = False  # whether the first one was given what this turn of it is worth
        self._count = 0
        self._led = 0  # tokens; who comes anew begins here

    def __len__(self) -> int:
        return self._count

    def size_of(self, tenant: str, *, in_tokens: bool) -> int:
        line = self._lines.get(tenant)
        return 0 if line is None else line.size(in_tokens=in_tokens)

    def newest_of_longest(self, *, in_tokens: bool) -> tuple[Waiter, int]:
        return self._longest[in_tokens].newest()

    def push(self, waiter: Waiter) -> None:
        line = self._lines.setdefault(waiter.tenant, _Line())
        line.waiters[waiter.ticket] = waiter
        line.tokens += waiter.tokens
        self._count += 1
        self._note(waiter.tenant, line)

    def next(self) -> Waiter:
        while True:
            tenant, line = next(iter(self._lines.items()))
            if not self._has_quantum:
                line.deficit += QUANTUM_TOKENS
                self._has_quantum = True
            waiter = next(iter(line.waiters.values()))
            if waiter.charge <= line.deficit:
                return waiter
            self._lines.move_to_end(tenant)
            self._has_quantum = False

    def next_among(self, may_go: Callable[[int], bool]) -> Waiter | None:
        """And notes that it is served."""
        best: tuple[int, Waiter, _Line] | None = None
        for line in self._lines.values():
            waiter = next((each for each in line.waiters.values() if may_go(each.ticket)), None)
            start = max(line.led, self._led)
            if waiter is not None and (best is None or start < best[0]):
                best = (start, waiter, line)
        if best is None:
            return None
        self._led, waiter, line = best
        line.led = self._led + waiter.charge
        return waiter

    def remove(self, waiter: Waiter, *, is_served: bool) -> None:
        line = self._lines[waiter.tenant]
        del line.waiters[waiter.ticket]
        line.tokens -= waiter.tokens
        self._count -= 1
        if is_served:
            line.deficit -= waiter.charge
        if line.waiters:
            self._note(waiter.tenant, line)

    def drop_if_empty(self, tenant: str) -> None:
        """What is left of a turn is lost with the line: credit is for those who wait."""
        line = self._lines.get(tenant)
        if line is None or line.waiters:
            return
        if next(iter(self._lines)) == tenant:
            self._has_quantum = False
        del self._lines[tenant]

    def _note(self, tenant: str, line: _Line) -> None:
        for each in self._longest.values():
            each.note(tenant, line)
