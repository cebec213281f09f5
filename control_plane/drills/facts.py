"""What was seen in a drill. Times are seconds after its first request was due; pods are addresses of the policy.

Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.drills.reading import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request, and what its client saw of it."""

    sent_s: float
    end_s: float
    first_token_s: float | None = None
    """After its sending; None: there was none, or the answer was no stream."""

    status: int = 200
    """0: no answer at all."""

    is_ok: bool = True
    is_timed_out: bool = False
    is_left: bool = False
    """The client went away before the end, as it was told to: nothing was lost."""

    pod: str = ""
    """Who answered, as far as anybody told."""

    decision: str = ""
    degraded: str = ""
    error: str = ""

    @property
    def is_lost(self) -> bool:
        """It failed before a byte of a good answer: another pod could have answered it."""
        return not self.is_ok and not self.is_timed_out and not self.is_left and self.status != 200

    @property
    def is_cut(self) -> bool:
        """It broke off midway."""
        return not self.is_ok and not self.is_timed_out and not self.is_left and self.status == 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One decision of the picker."""

    at_s: float
    named: tuple[str, ...]
    failed: tuple[str, ...] = ()
    """Those of the named ones that the picker knows to have failed this request."""

    known_s: float | None = None
    """When it was first seen to know that: at a poll, so up to a poll's interval late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the picker thought of a pod from this time on (`health` in `/status`)."""

    at_s: float
    pod: str
    health: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """When a step began and ended; None: with the drill."""

    step: str
    pods: tuple[str, ...]
    began_s: float
    mended_from_s: float | None = None
    """When its mending began: one pod after another may be back from then on."""
    ended_s: float | None = None
    note: str = ""
    """What went wrong in doing it; then nothing that was seen says much."""

    @property
    def until_s(self) -> float:
        """As long as all of it was broken: until the mending began, or for ever."""
        end = self.ended_s if self.mended_from_s is None else self.mended_from_s
        return float("inf") if end is None else end


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A whole drill."""

    places: tuple[Place, ...]
    requests: tuple[Sent, ...]
    decided: tuple[Decided, ...] = ()
    states: tuple[State, ...] = ()
    notices: Mapping[str, int] | None = None
    """Kind → troubles that were told of; None: kvpilot never said."""
    phases: Mapping[str, Phase]
    late_s: float = 0.0
    """By how much the latest request was sent after its time."""
