"""What a webhook is still to hear, in order. Pure.

    outbox = Outbox(Interest(...))
    outbox.put(notice, now)                       # from the board
    outbox.repeat(board.open, now)                # for receivers that want to hear again
    batch = outbox.batch(size, now)
    ... outbox.delivered(batch, now), outbox.refused(batch), or nothing: then the same is tried again

A receiver hears of an end only if it has heard, or is about to hear, of the beginning. One that is dead costs
`MAX_PENDING` notices of memory: beyond that the oldest goes, together with its end.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from control_plane.notices.kinds import rank
from control_plane.notices.notice import Notice

MAX_PENDING: Final = 200
"""Notices that wait for one webhook: an hour of trouble; who is dead for longer reads the log."""

MAX_AGE_S: Final = 3600.0
"""A notice that could not be delivered for an hour is history."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interest:
    """What a webhook wants: no `kinds` are all of them; without `resend_s` each is said once."""

    kinds: frozenset[str] = frozenset()
    severity: str = "warning"
    recoveries: bool = True
    resend_s: float | None = None

    def wants(self, notice: Notice) -> bool:
        """Whether it is to hear of the trouble."""
        return (not self.kinds or notice.kind in self.kinds) and rank(notice.severity) >= rank(self.severity)


_Entry = tuple[str, bool]
"""Id of a notice, and whether it is the word of its end."""


@dataclass(frozen=True, slots=True)
class _Pending:
    notice: Notice
    at: float
    """When it came."""


class Outbox:
    """Mutable: what waits, who has heard of what; all methods but the properties write."""

    def __init__(self, interest: Interest) -> None:
        self.interest = interest
        self.dropped = 0
        """Notices that were given up: too many, or too old."""
        self._pending: dict[_Entry, _Pending] = {}
        self._told: dict[str, float | None] = {}
        """Ids whose beginning is delivered, by when, or pending (None)."""

    @property
    def pending(self) -> int:
        """How many wait."""
        return len(self._pending)

    def put(self, notice: Notice, now: float) -> None:
        """A beginning, something that got worse, or an end."""
        if notice.is_over:
            if notice.id not in self._told:
                return
            if not self.interest.recoveries:
                del self._told[notice.id]  # nothing more is said of it
                return
        elif self.interest.wants(notice):
            self._told.setdefault(notice.id, None)
        else:
            return
        self._pending[notice.id, notice.is_over] = _Pending(notice, now)
        while len(self._pending) > MAX_PENDING:
            self._drop(next(iter(self._pending)))

    def known(self, notices: Iterable[Notice]) -> None:
        """An earlier process has told of these; who wants to hear again does so soon."""
        for notice in notices:
            if self.interest.wants(notice):
                self._told[notice.id] = float("-inf")

    def repeat(self, notices: Iterable[Notice], now: float) -> None:
        """Says again what is still open, to those who want that."""
        if self.interest.resend_s is None:
            return
        for notice in notices:
            at = self._told.get(notice.id)
            if at is not None and now - at >= self.interest.resend_s and (notice.id, False) not in self._pending:
                self.put(replace(notice, was=""), now)

    def batch(self, size: int, now: float) -> tuple[Notice, ...]:
        """What is to be sent next, in order; it stays here until it is `delivered` or `refused`."""
        for entry in [entry for entry, pending in self._pending.items() if now - pending.at > MAX_AGE_S]:
            if entry in self._pending:  # the end of a dropped beginning is gone with it
                self._drop(entry)
        return tuple(pending.notice for pending in list(self._pending.values())[:size])

    def delivered(self, batch: Iterable[Notice], now: float) -> None:
        """The receiver has these; what has changed meanwhile still waits."""
        for notice in batch:
            if notice.is_over:
                self._told.pop(notice.id, None)
            elif notice.id in self._told:
                self._told[notice.id] = now
            self._take(notice)

    def refused(self, batch: Iterable[Notice]) -> None:
        """The receiver will never take these; nor does it need to hear of the end of what it has not heard of."""
        for notice in batch:
            if not notice.is_over and self._told.get(notice.id, 0.0) is None:
                del self._told[notice.id]
                self._pending.pop((notice.id, True), None)
            elif notice.is_over:
                self._told.pop(notice.id, None)
            self._take(notice)

    def _take(self, notice: Notice) -> None:
        entry = notice.id, notice.is_over
        pending = self._pending.get(entry)
        if pending is not None and pending.notice == notice:
            del self._pending[entry]

    def _drop(self, entry: _Entry) -> None:
        del self._pending[entry]
        self.dropped += 1
        identifier, is_over = entry
        if is_over:
            self._told.pop(identifier, None)
        elif self._told.get(identifier, 0.0) is None:
            del self._told[identifier]
            if self._pending.pop((identifier, True), None) is not None:
                self.dropped += 1
