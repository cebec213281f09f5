"""Requests that wait for a place: whoever holds one is told as soon as the picker has an answer for it."""

import asyncio
import random
from collections.abc import Callable
from typing import Final

from ext_proc.core.decision import Answer, Waiting
from ext_proc.core.picker import Picker
from ext_proc.core.request import RequestFacts
from ext_proc.core.waiting_room import Released

INTERVAL_S: Final = 0.05
"""How often it is looked after them, beside every event that may free a place: for their deadlines."""

MAX_RELEASED: Final = 32
"""Requests that are answered in one go; then others have their turn, for each pick takes about 0.1 ms."""

Holder = Callable[[Answer | Waiting], None]
"""Is told what has become of a request."""


class Waiters:
    """Mutable: what was asked and who is to be told, by ticket, and the next look. All on one event loop."""

    def __init__(
        self,
        picker: Picker,
        clock: Callable[[], float],
        rng: random.Random,
        *,
        answered: Callable[[RequestFacts, Released, float], None],
        note_bug: Callable[[str], None],
    ) -> None:
        """`answered` is called after whoever held the request was told, with the time, in monotonic seconds as `clock`
        gives them; `note_bug` is called in an `except` block, with what failed."""
        self._picker = picker
        self._clock = clock
        self._rng = rng
        self._answered = answered
        self._note_bug = note_bug
        self._asked: dict[int, RequestFacts] = {}
        self._held: dict[int, Holder] = {}
        self._next_look: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._held)

    def asked(self, ticket: int, facts: RequestFacts) -> None:
        """The request of this ticket waits from now on; `hold` follows at once."""
        self._asked[ticket] = facts

    def hold(self, ticket: int, decided: Holder) -> None:
        """`decided` is to be called with the answer of this ticket."""
        self._held[ticket] = decided
        # Not at once: the stream is told first that it waits.
        asyncio.get_running_loop().call_soon(self.look)

    def abandon(self, ticket: int) -> None:
        """Nobody waits for the answer of this ticket any more."""
        self._held.pop(ticket, None)
        self._asked.pop(ticket, None)
        self._picker.leave(ticket)

    def look(self) -> None:
        """Answers who can be answered, and comes again while anybody waits."""
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None
        if not self._held:
            return
        are_more = self._answer_some()
        if self._held:
            delay_s = 0.0 if are_more else INTERVAL_S
            self._next_look = asyncio.get_running_loop().call_later(delay_s, self.look)

    def close(self) -> None:
        """All go on without a pick, and nobody is asked to wait any more."""
        self._picker.close()
        for _ in range(len(self._held) // MAX_RELEASED + 1):
            self._answer_some()

    def _answer_some(self) -> bool:
        """Whether there may be more that can be answered now."""
        count = 0
        now = self._clock()
        try:
            for released in self._picker.released(now, self._rng):
                decided = self._held.pop(released.ticket)
                decided(released.answer)
                self._answered(self._asked.pop(released.ticket), released, now)
                count += 1
                if count == MAX_RELEASED:
                    return True
        except Exception:
            self._note_bug("the answer to a request that waited")
        return False
