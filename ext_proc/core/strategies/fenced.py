"""A user's own strategy, behind a fence: whatever it raises is the failure of one pick, never the end of the picker.

`sys.exit` in somebody's code raises SystemExit, which no `except Exception` catches: it would end the event loop, and
all requests with it. The same goes for the exceptions by which asyncio ends tasks.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from ext_proc.core.strategies.view import Ranking, Remembering, Strategy, View


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
    """One strategy. Immutable but for what the strategy itself remembers."""

    __slots__ = ("_name", "_own", "needs_prompt")

    def __init__(self, name: str, own: Strategy) -> None:
        """Puts `own` behind a fence."""
        self._name = name
        self._own = own
        self.needs_prompt = bool(own.needs_prompt)

    def rank(self, view: View, rng: random.Random) -> Ranking:
        """As the strategy does. Raises what it does, if that is an `Exception`; else OwnStrategyError."""
        with fence(self._name):
            return self._own.rank(view, rng)


class FencedRemembering(Fenced):
    """One that wants to know its picks."""

    __slots__ = ("_remembers",)

    def __init__(self, name: str, own: Remembering) -> None:
        """Puts `own` behind a fence."""
        super().__init__(name, own)
        self._remembers = own

    def picked(self, view: View, position: int) -> None:
        """Tells the strategy; raises as `rank` does."""
        with fence(self._name):
            self._remembers.picked(view, position)


def fenced(name: str, own: Strategy) -> Strategy:
    """The strategy behind a fence."""
    return FencedRemembering(name, own) if isinstance(own, Remembering) else Fenced(name, own)
