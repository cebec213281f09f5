"""What is seen of a place, by which rule its requests move, and how it is then (`control_plane.fleet.zones`). Pure."""

from dataclasses import dataclass
from enum import Enum, unique

ALL = 100
"""Percent; all shares are integers, so that they add up."""


@unique
class State(Enum):
    """How a place is, and what that does to its requests."""

    ACTIVE = "active"
    DEGRADED = "degraded"
    """Not ready with nowhere to go, or full: some requests may spill over."""
    FAILOVER = "failover"
    """Requests move elsewhere, have moved, or come back."""
    OFFLINE = "offline"
    """Nobody there can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftRule:
    """Percent and seconds; `spill_at` is a factor of what fills a place, None: it keeps its requests."""

    step: int = 20
    every_s: float = 5.0
    min_healthy: int = 50
    max_errors: int = 5
    stable_s: float = 30.0
    offline_after_s: float = 3.0
    spill_at: float | None = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is seen of a place: its endpoints, how many of them can be used at all, and how many are well.

    `load` is 1 where it is full, None where nobody knows. `tries` and `failures` only grow.
    """

    total: int
    usable: int
    healthy: int
    load: float | None = None
    tries: int = 0
    failures: int = 0

    @property
    def is_dark(self) -> bool:
        """Whether nobody can be used."""
        return self.usable == 0

    @property
    def well(self) -> float:
        """The healthy part of it."""
        return self.healthy / self.total if self.total else 0.0

    def is_ready(self, rule: ShiftRule) -> bool:
        """Whether it may take requests of others."""
        return self.healthy > 0 and ALL * self.healthy >= rule.min_healthy * self.total


NOBODY = Seen(total=0, usable=0, healthy=0)
"""A place whose endpoints are gone."""


@dataclass(frozen=True, slots=True)
class Change:
    """A place is otherwise than before; nothing as `was`: it was not known."""

    place: str
    was: State | None
    now: State
    why: str
