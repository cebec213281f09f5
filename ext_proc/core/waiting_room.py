"""Who waits for a place, in all pools, and what each of them asked. Pure.

    room = WaitingRoom(group_of)
    room.furnish({"pool/chat": settings})
    room.arrive("pool/chat", visitor, asked, now, is_free=False) → Waiting(ticket=0, for_s=30.0)
    for released in room.released(now, is_free, let_in, may_leave): …

It keeps, per pool, an `Admission`, and per ticket what its owner wanted; the picker asks it whenever places may have
come free. Some of those who wait may go to other pools, too: they are kept by groups of whom the same is true, so that
a look costs one question per group, and who may not leave is in nobody's way.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from ext_proc.core.admission import EXPIRED, FULL, NO_WAIT, Admission, Admit, Reject, Visitor, Wait
from ext_proc.core.decision import Answer, OpenAIError, Rejected, Unpicked, Waiting
from ext_proc.core.events import Event, FirstToken, RequestEnded
from ext_proc.core.fair_queue import Waiter
from ext_proc.core.settings import AdmissionSettings

T = TypeVar("T")

_WORDS = {
    FULL: "too many requests are waiting for it",
    EXPIRED: "no place came free in time",
    NO_WAIT: "requests of this kind do not wait for a place",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """The answer that a waiter has been waiting for. `waited_s` is how long, where it was let in."""

    ticket: int
    answer: Answer
    waited_s: float | None = None
    asked: object = field(default=None, compare=False)
    """What was asked, where it was not let in."""


@dataclass(frozen=True, slots=True)
class _Guest(Generic[T]):
    cluster: str
    asked: T
    group: Hashable


class WaitingRoom(Generic[T]):
    """Mutable: admissions by cluster, guests by ticket and by group, answers that were decided already; all methods
    write."""

    def __init__(self, group_of: Callable[[T], Hashable | None]) -> None:
        """`group_of` gives the same for all who may go to the same other pools under the same conditions; None for who
        may not leave."""
        self._group_of = group_of
        self._admissions: dict[str, tuple[str, Admission]] = {}
        self._guests: dict[int, _Guest[T]] = {}
        self._groups: dict[tuple[str, Hashable], dict[int, None]] = {}  # cluster, group → tickets; none is empty
        self._decided: deque[Released] = deque()
        self._next_ticket = 0
        self._is_open = True

    def __len__(self) -> int:
        """Whose answer is still to be fetched."""
        return len(self._guests) + len(self._decided)

    def furnish(self, pools: Mapping[str, tuple[str, AdmissionSettings]]) -> None:
        """Says which pools have admission from now on, by cluster: name and settings.

        Who waits for a pool that still has it goes on waiting; all others are not picked for. Groups are made anew.
        """
        kept: dict[str, tuple[str, Admission]] = {}
        for cluster, (name, settings) in pools.items():
            _, former = self._admissions.pop(cluster, ("", None))
            if former is not None and former.settings == settings:
                kept[cluster] = (name, former)
                continue
            admission = Admission(settings)
            if former is not None:
                admission.follow(former)
            kept[cluster] = (name, admission)
        for _, gone in self._admissions.values():
            self._send_off(gone, Unpicked("nobody waits for this pool any more"))
        self._admissions = kept
        self._groups = {}
        for ticket, guest in self._guests.items():
            self._put(ticket, guest.cluster, guest.asked)

    def dismiss(self, cluster: str, answer: Answer) -> None:
        """Whoever waits for this pool gets this answer."""
        if cluster in self._admissions:
            self._send_off(self._admissions[cluster][1], answer)

    def has(self, cluster: str) -> bool:
        """Whether requests may have to wait for the pool of this cluster."""
        return self._is_open and cluster in self._admissions

    def arrive(
        self, cluster: str, visitor: Visitor, asked: T, now: float, *, is_free: bool
    ) -> Waiting | Rejected | None:
        """Decides about a newcomer; None: it goes in now."""
        name, admission = self._admissions[cluster]
        for waiter in admission.expire(now):
            self._refuse(name, admission, waiter, EXPIRED, now)
        ticket, self._next_ticket = self._next_ticket, self._next_ticket + 1
        match admission.arrive(visitor, now, ticket, is_free=is_free):
            case Admit():
                return None
            case Reject(why=why, retry_after_s=seconds):
                return _refusal(name, why, seconds)
            case Wait(waiter=waiter, shed=shed):
                self._put(ticket, cluster, asked)
                for victim in shed:
                    self._refuse(name, admission, victim, FULL, now)
                return Waiting(ticket, waiter.deadline - now)

    def released(
        self,
        now: float,
        is_free: Callable[[str], bool],
        let_in: Callable[[str, T, float], Answer],
        may_leave: Callable[[T], bool],
    ) -> Iterator[Released]:
        """The answers that can be given now: refusals first, then those who go in, in order, one at a time.

        `is_free` says of a cluster whether it has a place, `let_in` takes one for somebody who waited so many seconds.
        `may_leave` says of one of a group whether there is a place elsewhere for it.
        """
        for name, admission in self._admissions.values():
            for waiter in admission.expire(now):
                self._refuse(name, admission, waiter, EXPIRED, now)
        while self._decided:
            yield self._decided.popleft()
        for cluster, (_, admission) in tuple(self._admissions.items()):
            while len(admission):
                chosen = (
                    admission.admit_next(now)
                    if is_free(cluster)
                    else self._next_to_leave(cluster, admission, may_leave, now)
                )
                if chosen is None:
                    break
                guest = self._take(chosen.ticket)
                waited_s = max(0.0, now - chosen.since)
                try:
                    answer = let_in(cluster, guest.asked, waited_s)
                except Exception:
                    # Whoever calls deals with it; the client must not wait for that.
                    self._decided.append(Released(ticket=chosen.ticket, answer=Unpicked("internal error")))
                    raise
                yield Released(ticket=chosen.ticket, answer=answer, waited_s=waited_s)

    def leave(self, ticket: int) -> None:
        """A client went away; nothing of it stays here. Harmless for one that has its answer."""
        if ticket in self._guests:
            self._admissions[self._take(ticket).cluster][1].leave(ticket)
        elif self._decided:
            self._decided = deque(each for each in self._decided if each.ticket != ticket)

    def close(self) -> None:
        """Nobody waits any more: those who do are left to Envoy, and who comes is never asked to."""
        self._is_open = False
        for _, admission in self._admissions.values():
            self._send_off(admission, Unpicked("shutting down"))

    def status(self, cluster: str, now: float) -> dict[str, Any]:
        """JSON values under `admission`; nothing without it."""
        if cluster not in self._admissions:
            return {}
        admission = self._admissions[cluster][1]
        return {
            "admission": {
                "waiting": admission.waiting(),
                "waiting_tokens": admission.waiting_tokens,
                "admitted_per_s": round(admission.rate_per_s(now), 2),
                "rejected": dict(admission.rejected),
                "left": admission.left,
            }
        }

    def _next_to_leave(
        self, cluster: str, admission: Admission, may_leave: Callable[[T], bool], now: float
    ) -> Waiter | None:
        leaving = {
            group
            for (waits_for, group), tickets in self._groups.items()
            if waits_for == cluster and may_leave(self._guests[next(iter(tickets))].asked)
        }
        return admission.admit_among(lambda ticket: self._guests[ticket].group in leaving, now) if leaving else None

    def _put(self, ticket: int, cluster: str, asked: T) -> None:
        group = self._group_of(asked)
        self._guests[ticket] = _Guest(cluster, asked, group)
        if group is not None:
            self._groups.setdefault((cluster, group), {})[ticket] = None

    def _take(self, ticket: int) -> _Guest[T]:
        guest = self._guests.pop(ticket)
        if guest.group is not None:
            tickets = self._groups[guest.cluster, guest.group]
            del tickets[ticket]
            if not tickets:
                del self._groups[guest.cluster, guest.group]
        return guest

    def _refuse(self, name: str, admission: Admission, waiter: Waiter, why: str, now: float) -> None:
        answer = _refusal(name, why, admission.retry_after_s(waiter.priority, now))
        guest = self._take(waiter.ticket)
        self._decided.append(Released(ticket=waiter.ticket, answer=answer, asked=guest.asked))

    def _send_off(self, admission: Admission, answer: Answer) -> None:
        for waiter in admission.clear():
            guest = self._take(waiter.ticket)
            self._decided.append(Released(ticket=waiter.ticket, answer=answer, asked=guest.asked))


def _refusal(pool: str, why: str, retry_after_s: int) -> Rejected:
    return Rejected(
        status=429,
        error=OpenAIError(
            message=f"the pool {pool} is busy and {_WORDS[why]}; try again in {retry_after_s} s",
            type="rate_limit_error",
            code="pool_saturated",
        ),
        retry_after_s=retry_after_s,
    )


def without_wait(event: Event, waited_s: float) -> Event:
    """An event without the time that its request waited here: an endpoint is not slow because of that.

    Envoy counts from the moment at which a request came.
    """
    if not waited_s or not isinstance(event, FirstToken | RequestEnded):
        return event
    told = event.ttft_ms
    ttft_ms = None if told is None else max(0.0, told - waited_s * 1_000)
    if isinstance(event, RequestEnded):
        return replace(event, ttft_ms=ttft_ms, duration_ms=max(0.0, event.duration_ms - waited_s * 1_000))
    return replace(event, ttft_ms=ttft_ms or 0.0)
