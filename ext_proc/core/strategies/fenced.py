"""A user's own strategy, behind a fence: whatever it raises is the failure of one pick, never the end of the picker.

`sys.exit` in somebody's code raises SystemExit, which no `except Exception` catches: it would end the event loop, and
all requests with it. The same goes for the exceptions by which asyncio ends tasks.

One that is slow holds up all requests, and one that never returns holds them up for ever: nothing in this process can
interrupt it. What can be measured is measured: who is slow again and again is switched off, and `kv-aware` stands in.
"""

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from ext_proc.core.strategies import kv_aware, least_request
from ext_proc.core.strategies.view import Ranking, Remembering, Strategy, View

Clock = Callable[[], float]

SLOW_S: Final = 0.05
"""Of one pick, in which it may rank several times: a fifth of the time that Envoy waits for an answer by default; ours
take a hundredth of it."""

SLOW_IN_A_ROW: Final = 10
"""A machine that stands still for a moment, or a first import, makes one or two slow; it is not to blame for ten."""


class OwnStrategyError(Exception):
    """A user's strategy raised what is meant to end a program or a task; the cause has it."""


@contextmanager
def fence(name: str) -> Iterator[None]:
    """Raises OwnStrategyError in place of what is no `Exception`."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception):
            raise
        raise OwnStrategyError(f"the strategy {name} raised {type(error).__name__}") from error


class Fenced:
    """One strategy. Mutable beside what the strategy itself remembers: when the pick was that it was last asked in, how
    long that took it, how often it was slow, and whether it is off."""

    __slots__ = ("_clock", "_is_shadow", "_name", "_own", "_picked_at", "_slow", "_took_s", "needs_prompt", "why_off")

    def __init__(self, name: str, own: Strategy, clock: Clock | None, *, is_shadow: bool) -> None:
        """Puts `own` behind a fence. `clock` gives monotonic seconds; without it nobody is ever slow."""
        self._name = name
        self._own = own
        self._clock = clock
        self._is_shadow = is_shadow
        self._picked_at = -math.inf
        self._took_s = 0.0
        self._slow = 0
        self.needs_prompt = bool(own.needs_prompt)
        self.why_off = ""
        """Why it is not asked any more; empty while it is."""

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """As the strategy does. Raises what it does, if that is an `Exception`; else OwnStrategyError."""
        if self.why_off:
            return self._stand_in(view, rng)
        with self._timed(view.now), fence(self._name):
            return self._own.rank(view, rng)

    def _stand_in(self, view: View, rng: random.Random) -> Ranking:
        if self._is_shadow:
            raise OwnStrategyError(self.why_off)
        # The rest of the pick in which it was switched off was made without the prompt.
        ranking = least_request.rank(view, rng) if view.prompt is None else kv_aware.rank(view, rng)
        return replace(ranking, reason=f"{ranking.reason}; {self._name} is switched off")

    @contextmanager
    def _timed(self, picked_at: float) -> Iterator[None]:
        if self._clock is None:
            yield
            return
        if picked_at != self._picked_at:
            self._slow = self._slow + 1 if self._took_s > SLOW_S else 0
            self._picked_at, self._took_s = picked_at, 0.0
        started = self._clock()
        try:
            yield
        finally:
            self._took_s += self._clock() - started
            if self._took_s > SLOW_S and self._slow + 1 >= SLOW_IN_A_ROW:
                self.needs_prompt = not self._is_shadow  # as `kv-aware` does
                self.why_off = (
                    f"{self._name} took more than {SLOW_S * 1e3:g} ms {SLOW_IN_A_ROW} times in a row, "
                    "in which nobody else was answered"
                )


class FencedRemembering(Fenced):
    """One that wants to know its picks."""

    __slots__ = ("_remembers",)

    def __init__(self, name: str, own: Remembering, clock: Clock | None, *, is_shadow: bool) -> None:
        """As `Fenced`."""
        super().__init__(name, own, clock, is_shadow=is_shadow)
        self._remembers = own

    def picked(self, view: View, position: int) -> None:
        """Tells the strategy, unless it is off; raises as `rank` does."""
        if not self.why_off:
            with self._timed(view.now), fence(self._name):
                self._remembers.picked(view, position)


def fenced(name: str, own: Strategy, clock: Clock | None = None, *, is_shadow: bool = False) -> Strategy:
    """The strategy behind a fence."""
    if isinstance(own, Remembering):
        return FencedRemembering(name, own, clock, is_shadow=is_shadow)
    return Fenced(name, own, clock, is_shadow=is_shadow)
