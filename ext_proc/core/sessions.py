"""Where sessions are at home: the endpoint that serves each of them, as long as it may be named.

    session = sessions.called("pool", "what the client calls it")
    home = sessions.home(session, now)                      # its slot, NOBODY for a session that is new
    sessions.picked(event, slot)                            # a pick that makes or keeps a home
    sessions.ended(decision_id, slot, now)                  # who served it in the end, after retries
    sessions.forget(slot)                                   # the endpoint left, or was restarted

A session is known by a keyed hash, never by what the client calls it. Its home is made by its first pick, corrected to
the endpoint that answered in the end, and moves when that may not be named any more; what happens to single requests
(no place is free at home, a filter wants another kind of pod) moves nothing. An endpoint that leaves or dies is
forgotten at once, however many sessions it had: they share one object, which then stands for nobody.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Final

from ext_proc.core.events import Picked
from ext_proc.core.slots import Slots

NOBODY: Final = -1

MAX_SESSIONS: Final = 65_536
"""Four times what one Envoy with raised breakers has open at a time, about 11 MB; those unused for longest go."""

_GO_TOGETHER: Final = 256
"""One of so many sessions goes at once when there are too many: to find the first of a dict costs as much as looking at
all that were before it, 40 µs at that size."""

IDLE_S: Final = 3_600.0
"""A session that asked for nothing for so long is new again: no engine under load holds its prefix by then."""

MAX_OPEN: Final = 65_536
"""Requests whose end may still correct a home: as many as the ledger has reservations."""

HASH_BYTES: Final = 8
"""Of a session: with as many as are kept, two meet by chance in one of eight billion tables."""


class _Home:
    """One life of an endpoint. Mutable: `slot`, NOBODY once that is over, and how many sessions are there."""

    __slots__ = ("sessions", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.sessions = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The table at one moment, to be written down elsewhere: `rows` in the order of their use, the latest last."""

    rows: Mapping[bytes, tuple[_Home, float]]
    addresses: Mapping[int, str]
    at: float

    def homes(self) -> Iterator[tuple[bytes, str, float]]:
        """(session, address of its home, seconds since its last use); who left meanwhile is left out."""
        for session, (home, used_at) in self.rows.items():
            address = self.addresses.get(home.slot)
            if address is not None:
                yield session, address, max(0.0, self.at - used_at)


class Sessions:
    """Mutable: the table, the homes by slot, the requests under way; the picker's fleet is the only writer."""

    def __init__(
        self,
        slots: Slots,
        key: bytes = b"",
        *,
        max_sessions: int = MAX_SESSIONS,
        idle_s: float = IDLE_S,
        max_open: int = MAX_OPEN,
    ) -> None:
        """`key` hashes what clients call their sessions (up to 64 bytes)."""
        self._slots = slots
        self._key = key
        self._max_sessions = max_sessions
        self._idle_s = idle_s
        self._max_open = max_open
        self._homes: dict[int, _Home] = {}
        # In the order of their use. Not an OrderedDict, of which a copy of all takes a hundred times as long.
        self._of: dict[bytes, tuple[_Home, float]] = {}
        self._open: OrderedDict[str, tuple[bytes, _Home]] = OrderedDict()
        self.moved = 0
        """Sessions that had a home and got another one, in all."""
        self.changes = 0
        """Homes made, moved and lost, in all: whether there is anything new to write down."""

    def __len__(self) -> int:
        return len(self._of)

    def called(self, pool: str, name: str) -> bytes:
        """What a session is known by: a hash of its name within a pool (BLAKE2, RFC 7693, with a key)."""
        text = f"{pool}\0{name}".encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=HASH_BYTES, key=self._key).digest()

    def home(self, session: bytes, now: float) -> int:
        """The slot of a session's home; NOBODY where there is none, or none any more."""
        home, used_at = self._of.get(session, (None, 0.0))
        return NOBODY if home is None or now - used_at > self._idle_s else home.slot

    def at(self, slot: int) -> int:
        """How many sessions are at home there."""
        home = self._homes.get(slot)
        return 0 if home is None else home.sessions

    def picked(self, event: Picked, slot: int) -> None:
        """A pick that makes or keeps its session's home."""
        home = self._settle(event.session, slot, event.at)
        self._open[event.decision_id] = (event.session, home)
        if len(self._open) > self._max_open:
            self._open.popitem(last=False)

    def ended(self, decision_id: str, slot: int | None, at: float) -> None:
        """A request was over at `at`; `slot` is who answered it well, None for nobody.

        Only the session's latest home is corrected: who served what began before it moved is no news.
        """
        session, named = self._open.pop(decision_id, (b"", None))
        if named is None or slot is None or slot == named.slot:
            return
        home, _ = self._of.get(session, (None, 0.0))
        if home is named:
            self._settle(session, slot, at)

    def forget(self, slot: int) -> None:
        """Nobody is at home there any more."""
        home = self._homes.pop(slot, None)
        if home is not None:
            home.slot = NOBODY
            self.changes += 1

    def expire(self, now: float) -> None:
        """Forgets the sessions that were not used for too long; to be called about once a second."""
        unused = takewhile(lambda row: now - row[1][1] > self._idle_s, self._of.items())
        self._drop([session for session, _ in unused])

    def restore(self, homes: Iterable[tuple[bytes, str, float]], now: float) -> int:
        """Takes (session, address, seconds since its last use) as they were before a restart, under the same key.

        To be called before the first pick, the latest last. Gives how many there are: those of addresses that are no
        endpoints are dropped.
        """
        for session, address, unused_s in homes:
            slot = self._slots.get(address)
            if slot is not None:
                self._settle(session, slot, now - unused_s)
        return len(self._of)

    def snapshot(self, now: float) -> Snapshot:
        """The table as it is, to be kept; takes some milliseconds when it is full."""
        return Snapshot(self._of.copy(), self._slots.addresses(), now)

    def as_dict(self) -> dict[str, int]:
        """JSON values."""
        return {"known": len(self._of), "limit": self._max_sessions, "moved": self.moved}

    def _settle(self, session: bytes, slot: int, used_at: float) -> _Home:
        home = self._homes.get(slot)
        if home is None:
            home = self._homes[slot] = _Home(slot)
        before = self._of.pop(session, None)
        if before is None or before[0] is not home:
            self.changes += 1
            home.sessions += 1
            if before is not None:
                before[0].sessions -= 1
                self.moved += 1
        self._of[session] = (home, used_at)
        if len(self._of) > self._max_sessions:
            self._drop(list(islice(self._of, max(1, self._max_sessions // _GO_TOGETHER))))
        return home

    def _drop(self, sessions: list[bytes]) -> None:
        for session in sessions:
            home, _ = self._of.pop(session)
            home.sessions -= 1
        self.changes += len(sessions)
