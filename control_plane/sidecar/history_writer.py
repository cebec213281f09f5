"""Writes the history behind the back of the edits: a full disk is said and tried again, and holds up nothing."""

import asyncio
import logging
from contextlib import suppress

from control_plane.sidecar.history import History
from control_plane.sidecar.policy_state import PolicyState

log = logging.getLogger("kvpilot")

REWRITE_S = 5.0
"""Until a history that could not be written is tried again: a full disk is mended by a person."""


class HistoryWriter:
    """Mutable: the write that is under way, and the state's word on it; on one event loop."""

    def __init__(self, history: History, state: PolicyState) -> None:
        self._history = history
        self._state = state
        self._writing: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    def save(self) -> None:
        """Writes it in a thread; one write at a time, and what comes meanwhile is the next one."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write(), name="history")

    async def stop(self) -> None:
        """Ends when what is to be kept is kept."""
        self._stopping.set()
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)
        try:
            self._history.write(self._history.pending())
        except OSError as error:
            self._lament(error)

    async def _write(self) -> None:
        history = self._history
        while (pending := history.pending()) is not None:
            try:
                await asyncio.to_thread(history.write, pending)
            except OSError as error:
                history.failed(pending)
                self._lament(error)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), REWRITE_S)
                if self._stopping.is_set():
                    return
            else:
                self._state.history_error = ""

    def _lament(self, error: OSError) -> None:
        text = f"{self._history.directory}: {error.strerror or error}: a restart would not know the last policies"
        if text != self._state.history_error:
            log.error("history: %s", text)
        self._state.history_error = text
