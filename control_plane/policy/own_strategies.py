"""What the reading of a policy asks about the users' own strategies. Which are installed only the shell knows."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class OwnStrategies(Protocol):
    """The users' own strategies that are installed where the policy is read."""

    def names(self) -> Sequence[str]:
        """All of them, sorted."""

    def problem(self, name: str, parameters: Mapping[str, Any]) -> str:
        """Why a strategy of that name cannot be made with these parameters; empty if it can."""


class NoOwnStrategies:
    """None are installed, or nobody has looked."""

    def names(self) -> Sequence[str]:
        """None."""
        return ()

    def problem(self, name: str, parameters: Mapping[str, Any]) -> str:
        """There is no such strategy, whatever it is called."""
        return "it is not installed"
