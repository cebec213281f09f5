"""What is open: told once when it begins, once when it gets worse, once when it is over. Pure.

    board = Board(clear_s=30)
    for notice in board.look(conditions, now, wall): ...     # what is to be told

The board is shown all that is wrong, again and again. So nothing is counted twice, nothing is missed when a word of an
end is lost, and a restart needs no more than what was open (`restore`). What comes and goes is one trouble as long as
it stays away for less than `clear_s`; each time that it comes back after that, the board waits twice as long to believe
that it is over.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from control_plane.notices.kinds import KINDS, rank
from control_plane.notices.notice import MAX_FACTS, Condition, Key, Notice, cut

MAX_KNOWN: Final = 1_000
"""Troubles that are known at once; what is beyond is counted only. Subjects are bounded by the policy, not by users."""

FLAP_WINDOW_S: Final = 600.0
"""What comes back within this time of its end is the same restless thing."""

MAX_DOUBLINGS: Final = 4
"""Of the wait for the end of a restless thing: 30 s become 8 minutes, below `FLAP_WINDOW_S`."""


@dataclass(slots=True)
class _Known:
    """One trouble. Mutable: written by `Board` alone."""

    notice: Notice
    since: float
    """When it was first seen, on the clock of `now`."""
    is_open: bool = False
    gone_at: float | None = None
    """Since when it is not seen any more."""
    ended_at: float = 0.0
    """The same on the wall clock."""
    doublings: int = 0


class Board:
    """Mutable: what is known, and what ended lately; `look` and `restore` are the writers."""

    def __init__(self, clear_s: float) -> None:
        """`clear_s`: how long something must have been away to be over."""
        self.clear_s = clear_s
        self.overlooked = 0
        """Conditions that found no room."""
        self._known: dict[Key, _Known] = {}
        self._ended: dict[Key, tuple[float, int]] = {}

    @property
    def open(self) -> tuple[Notice, ...]:
        """What is open now, oldest first."""
        found = (known.notice for known in self._known.values() if known.is_open)
        return tuple(sorted(found, key=lambda notice: notice.started_at))

    def restore(self, notices: Iterable[Notice], now: float) -> None:
        """What was open before a restart; it is not told again, but its end will be."""
        for notice in notices:
            if notice.kind in KINDS and len(self._known) < MAX_KNOWN:
                self._known[notice.key] = _Known(notice, now, is_open=True)

    def look(self, conditions: Iterable[Condition], now: float, wall: float) -> list[Notice]:
        """Takes all that is wrong now (`now` on any steady clock, `wall` in seconds since 1970); gives what is to be
        told. Of conditions with one key the worst counts."""
        seen: dict[Key, Condition] = {}
        for condition in conditions:
            key = condition.kind, cut(condition.subject)
            if key not in seen or rank(_severity(condition)) > rank(_severity(seen[key])):
                seen[key] = condition
        self._forget(now)
        told = [*self._gone(seen.keys(), now, wall)]
        for key, condition in seen.items():
            told += self._there(key, condition, now, wall)
        return told

    def _there(self, key: Key, condition: Condition, now: float, wall: float) -> Iterator[Notice]:
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= MAX_KNOWN:
                self.overlooked += 1
                return
            known = self._known[key] = _Known(_noted(condition, wall), now)
        known.gone_at = None
        fresh = _noted(condition, known.notice.started_at)
        if not known.is_open:
            known.notice = fresh
            if now - known.since >= KINDS[condition.kind].after_s:
                known.is_open = True
                known.doublings = self._ended.pop(key, (0.0, 0))[1]
                yield fresh
        elif rank(fresh.severity) > rank(known.notice.severity):
            known.notice = replace(fresh, was=known.notice.severity)
            yield known.notice
        else:
            # What was told as critical stays so to its end: a trouble that is half mended is no other one.
            known.notice = replace(fresh, severity=known.notice.severity, was=known.notice.was)

    def _gone(self, seen: Iterable[Key], now: float, wall: float) -> Iterator[Notice]:
        for key in self._known.keys() - seen:
            known = self._known[key]
            if not known.is_open:
                del self._known[key]
                continue
            if known.gone_at is None:
                known.gone_at, known.ended_at = now, max(wall, known.notice.started_at)
            if now - known.gone_at >= self.clear_s * 2.0**known.doublings:
                del self._known[key]
                self._ended[key] = now, min(known.doublings + 1, MAX_DOUBLINGS)
                yield replace(known.notice, ended_at=known.ended_at)

    def _forget(self, now: float) -> None:
        for key in [key for key, (at, _) in self._ended.items() if now - at > FLAP_WINDOW_S]:
            del self._ended[key]
        while len(self._ended) > MAX_KNOWN:
            del self._ended[next(iter(self._ended))]


def _severity(condition: Condition) -> str:
    return condition.severity or KINDS[condition.kind].severity


def _noted(condition: Condition, started_at: float) -> Notice:
    facts = {
        name: cut(fact) if isinstance(fact, str) else fact for name, fact in list(condition.facts.items())[:MAX_FACTS]
    }
    return Notice(
        kind=condition.kind,
        subject=cut(condition.subject),
        severity=_severity(condition),
        summary=cut(condition.summary),
        started_at=started_at,
        facts=facts,
    )
