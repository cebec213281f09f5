"""One request's session on its way to an endpoint: where it is at home, and whether that changes with this pick."""

from collections.abc import Iterator
from itertools import chain, islice

from ext_proc.core.levels import Group
from ext_proc.core.pool import Pool
from ext_proc.core.sessions import NOBODY, Sessions
from ext_proc.core.slots import IntArray
from ext_proc.core.strategies.session import key_of
from ext_proc.core.strategies.view import Request


class Homing:
    """One session. Mutable: who may be named, as far as `watch` has seen."""

    __slots__ = ("_nearest", "home", "session")

    def __init__(self, session: bytes, home: int) -> None:
        """`home` is a slot, or NOBODY."""
        self.session = session
        self.home = home
        self._nearest: IntArray | None = None

    def watch(self, groups: Iterator[Group]) -> Iterator[Group]:
        """The same groups. The first are those that may be named now, before anything about this request counts; but
        one that is tried alone takes this one request."""
        seen = [next(groups)]
        if seen[0].on_trial != NOBODY and len(seen[0].slots) == 1:
            seen += islice(groups, 1)
        self._nearest = seen[-1].slots
        return chain(seen, groups)

    def settled(self, slot: int) -> bytes:
        """The session, where `slot` is its home from now on; empty where that serves this one request only."""
        is_there = self._nearest is not None and self.home in self._nearest
        return b"" if slot != self.home and is_there else self.session


def homing(pool: Pool, request: Request, sessions: Sessions, now: float) -> Homing | None:
    """The session of a request, where it has one and the pool remembers them."""
    name = "" if pool.session_key is None else key_of(request, pool.session_key)
    if not name:
        return None
    session = sessions.called(pool.settings.name, name)
    return Homing(session, sessions.home(session, now))
