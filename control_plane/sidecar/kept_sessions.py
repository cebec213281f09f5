"""Where sessions are at home, kept for a restart: they stay with their pods, although the picker was away.

kept = KeptSessions(state_dir / "sessions.json", time.monotonic, time.time)
kept.load()                                             # blocks; in a thread
picker = Picker(..., session_key=kept.key)
kept.restore(picker.sessions)
await kept.follow()                                     # until cancelled
await kept.stop()                                       # the last time
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from control_plane.sidecar import kept_files
from ext_proc.core.kept_sessions import KEY_BYTES, MAX_BYTES, Kept, as_json, kept_in
from ext_proc.core.sessions import Sessions, Snapshot

log = logging.getLogger("kvpilot")

LOOK_EVERY_S: Final = 1.0
"""How soon a change is written; a look compares two numbers."""

REST_LOOKS: Final = 2
ROWS_A_LOOK: Final = 8_192
"""Looks from one writing to the next, and one more for so many sessions: they begin all the time, and a full table of
them has a million bytes."""

REFRESH_LOOKS: Final = 300
"""Looks after which it is written without a change, so that sessions which only go on do not look unused."""


class KeptSessions:
    """Mutable: the key, what was read, what was written last, and whether the disk takes it; on one event loop."""

    def __init__(self, path: Path | None, clock: Callable[[], float], wall_clock: Callable[[], float]) -> None:
        """`clock` is the sessions' own, `wall_clock` gives Unix time. No path: nothing is kept."""
        self._clock = clock
        self._wall_clock = wall_clock
        self._kept = Kept(secrets.token_bytes(KEY_BYTES))
        self._sessions: Sessions | None = None
        self._writing: asyncio.Task[int] | None = None
        self._written = 0
        self._file = None if path is None else kept_files.KeptFile(path, "sessions")

    @property
    def key(self) -> bytes:
        """By which sessions are hashed."""
        return self._kept.key

    def load(self) -> None:
        """Reads what an earlier process kept. Blocks; never raises: what is not as expected counts as nothing."""
        if self._file is None:
            return
        kept = self._file.read(MAX_BYTES, lambda value: kept_in(value, self._wall_clock()))
        if kept is not None:
            self._kept = kept

    def restore(self, sessions: Sessions) -> None:
        """Puts it into a table that was made with `key`, before the first pick; from now on this one is kept."""
        homes, self._kept = self._kept.homes, Kept(self._kept.key)
        if homes:
            known = sessions.restore(homes, self._clock())
            log.info("%d of %d sessions are where they were before", known, len(homes))
        self._sessions, self._written = sessions, sessions.changes

    async def follow(self) -> None:
        """Writes the table when it has changed, until cancelled."""
        looks, rest = 0, 0
        while self._file is not None:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            if (looks >= rest and self._is_new) or (looks >= REFRESH_LOOKS and self._written):
                rows = await self._save()
                looks, rest = 0, REST_LOOKS + rows // ROWS_A_LOOK

    async def stop(self) -> None:
        """Writes what is new, the last time."""
        if self._writing is not None:
            await self._writing
        if self._file is not None and self._is_new:
            await self._save()

    @property
    def _is_new(self) -> bool:
        return self._sessions is not None and self._sessions.changes != self._written

    async def _save(self) -> int:
        """How many sessions there were to be written."""
        self._writing = asyncio.create_task(self._write(), name="keep sessions")
        # Whoever is cancelled meanwhile must not leave a half-written file to the next writer.
        return await asyncio.shield(self._writing)

    async def _write(self) -> int:
        assert self._sessions is not None, "restored before"
        assert self._file is not None, "looked at by the callers"
        changes, snapshot = self._sessions.changes, self._sessions.snapshot(self._clock())
        if await asyncio.to_thread(_write, self._file, snapshot, self._kept.key, self._wall_clock()):
            self._written = changes
        return len(snapshot.rows)


def _write(file: kept_files.KeptFile, snapshot: Snapshot, key: bytes, wall_s: float) -> bool:
    rest = partial(time.sleep, 0)  # lets the event loop have the interpreter
    return file.write(kept_files.encoded(as_json(snapshot, key, wall_s, rest)))
