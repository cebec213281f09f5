"""The recordings that are under way, each of picked requests as they end (`ext_proc.recording`).

    recording = recordings.begin("monday", pool="chat")
    recording.take()                                         # what has come, again and again
    recordings.end(recording)

While there is none, nothing is done for any.
"""

import secrets
from collections.abc import Callable
from typing import Any, Final

from ext_proc.core.events import Event
from ext_proc.core.request import RequestFacts
from ext_proc.core.settings import PickerSettings
from ext_proc.recorder import question_of
from ext_proc.recording import KEY_BYTES, Recording

MAX_RECORDINGS: Final = 4
"""At once: each hashes every prompt under a key of its own, and nobody needs as many."""


class TooManyRecordingsError(Exception):
    """As many recordings as may be are under way."""


class Recordings:
    """Mutable: those that are under way."""

    def __init__(
        self,
        settings: Callable[[], PickerSettings],
        clock: Callable[[], float],
        note_bug: Callable[[str], None],
    ) -> None:
        """`settings` are those of now, `clock` gives monotonic seconds; `note_bug` is called in an `except` block, with
        what failed: no request fails for a recording."""
        self._settings = settings
        self._clock = clock
        self._note_bug = note_bug
        self._recordings: list[Recording] = []

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self._recordings)

    def begin(self, name: str, *, pool: str = "", requests: int | None = None) -> Recording:
        """Begins to record picked requests, of one pool or of all, at most so many; `end` ends it.

        Raises KeyError for a pool that there is not, and TooManyRecordingsError.
        """
        if pool and all(each.name != pool for each in self._settings().pools):
            raise KeyError(pool)
        if len(self._recordings) >= MAX_RECORDINGS:
            raise TooManyRecordingsError
        key = secrets.token_bytes(KEY_BYTES)
        recording = Recording(name, key, started_at=self._clock(), pool=pool, requests=requests)
        self._recordings.append(recording)
        return recording

    def end(self, recording: Recording) -> None:
        """Nothing is recorded there any more; harmless when called twice."""
        if recording in self._recordings:
            self._recordings.remove(recording)

    def picked(self, facts: RequestFacts, pool: str, decision_id: str, at: float) -> None:
        """One pick in `pool`, of a request that came at that time."""
        wanting = [recording for recording in self._recordings if recording.wants(pool)]
        if not wanting:
            return
        try:
            question = question_of(self._settings(), facts, pool, decision_id, at)
            if question is not None:
                for recording in wanting:
                    recording.picked(question)
        except Exception:
            self._note_bug("a recording")

    def apply(self, event: Event) -> None:
        """Tells all of one event."""
        self._tell(lambda recording: recording.apply(event))

    def tick(self) -> None:
        """To be called about once a second."""
        self._tell(lambda recording: recording.tick(self._clock()))

    def status(self) -> list[dict[str, Any]]:
        """JSON values: a row for each."""
        return [recording.status() for recording in self._recordings]

    def _tell(self, what: Callable[[Recording], None]) -> None:
        try:
            for recording in self._recordings:
                what(recording)
        except Exception:
            self._note_bug("a recording")
