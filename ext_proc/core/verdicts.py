"""How each endpoint is, by everything that is known of it but its ejection: UNKNOWN → HEALTHY ⇄ DEGRADED ⇄ UNHEALTHY.

Each kind of evidence (`Finding.sign`) is a side of its own with a count of its own: an endpoint that answers its
requests and has no memory left is degraded, however often it answers. So many bad findings in a row make a side bad,
so many good ones make it good again; in between it stays what it was. The endpoint is as its worst side.

    UNKNOWN      nothing was ever found; named like HEALTHY, or a pool of engines that tell nothing would serve nobody
    HEALTHY      no side is bad
    DEGRADED     named after all healthy ones of all levels (`ext_proc.core.levels`)
    UNHEALTHY    not named while anybody else may be (`ext_proc.core.health`, which also bounds their share)

What becomes of requests is judged in `ext_proc.core.health`, with back-off and half-open tries; draining and warming
endpoints are so beside all this.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Literal

from ext_proc.core.settings import HealthSettings

Sign = Literal[
    "scrapes", "heartbeat", "kv-memory", "progress", "probe",
    "gpu-fault", "gpu-past", "gpu-heat", "gpu-memory", "gpu-load",
]  # fmt: skip
"""What a finding is about: pages that cannot be read, silence, memory, tokens that do not come, being ready; and what
hardware tells (`ext_proc.core.gpu_signs`)."""


class State(Enum):
    """How an endpoint is."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


MEANS: Final[Mapping[Sign, State]] = {
    "scrapes": State.DEGRADED,
    "heartbeat": State.UNHEALTHY,
    "kv-memory": State.DEGRADED,
    "progress": State.UNHEALTHY,
    "probe": State.UNHEALTHY,
    "gpu-fault": State.UNHEALTHY,
    "gpu-past": State.DEGRADED,
    "gpu-heat": State.DEGRADED,
    "gpu-memory": State.DEGRADED,
    "gpu-load": State.DEGRADED,
}
"""What an endpoint is while a side of it is bad."""

MAX_CHANGES = 1_000
"""Changes that nobody has taken yet; an outage of a whole fleet is about as many. Beyond, the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of evidence. `is_hard`: it needs no repetition. `why` says in words what is bad."""

    sign: Sign
    is_bad: bool
    why: str = ""
    is_hard: bool = False


@dataclass(frozen=True, slots=True)
class StateChange:
    """An endpoint is otherwise than before."""

    slot: int
    at: float
    was: State
    now: State
    why: str


@dataclass(slots=True)
class _Side:
    """Mutable: findings in a row, and what follows from them; `take` writes."""

    is_bad: bool = False
    bad: int = 0
    good: int = 0
    why: str = ""

    def take(self, finding: Finding, settings: HealthSettings) -> None:
        if finding.is_bad:
            self.bad, self.good = self.bad + 1, 0
            self.is_bad = self.is_bad or finding.is_hard or self.bad >= settings.failures
            if self.is_bad:
                self.why = finding.why
        else:
            self.bad, self.good = 0, self.good + 1
            self.is_bad = self.is_bad and self.good < settings.successes

    @property
    def is_blank(self) -> bool:
        return not self.is_bad and not self.bad


@dataclass(slots=True)
class _Known:
    """Mutable: the sides that are not as they should be."""

    state: State = State.HEALTHY
    sides: dict[Sign, _Side] = field(default_factory=dict)


class Verdicts:
    """Mutable: what is known of each slot, the settings by slot, the changes; the picker is the only writer."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._settings: Mapping[int, HealthSettings] = {}
        self._changes: deque[StateChange] = deque(maxlen=MAX_CHANGES)

    def configure(self, settings: Mapping[int, HealthSettings]) -> list[int]:
        """Says how each slot is judged from now on; one that is missing is not. Gives whose state may be another."""
        before, self._settings = self._settings, settings
        changed = [slot for slot in self._known if before.get(slot) != settings.get(slot)]
        for slot in changed:
            del self._known[slot]  # by other rules it might be otherwise, and evidence comes every second
        return changed

    def settings(self, slot: int) -> HealthSettings | None:
        """How a slot is judged; None: it is not."""
        return self._settings.get(slot)

    def take(self, slot: int, finding: Finding, at: float) -> bool:
        """Takes a finding; whether the state is another one now."""
        settings = self._settings.get(slot)
        if settings is None:
            return False
        known = self._known.get(slot)
        if known is None:
            known = self._known[slot] = _Known()
        side = known.sides.get(finding.sign)
        if side is None:
            if not finding.is_bad:
                return False
            side = known.sides[finding.sign] = _Side()
        side.take(finding, settings)
        if side.is_blank:
            del known.sides[finding.sign]
        return self._settle(slot, known, at)

    def state(self, slot: int) -> State:
        """How an endpoint is."""
        known = self._known.get(slot)
        return State.UNKNOWN if known is None else known.state

    def why(self, slot: int) -> str:
        """What is bad, in words; the worst first. Empty where nothing is."""
        known = self._known.get(slot)
        bad = () if known is None else [(sign, side) for sign, side in known.sides.items() if side.is_bad]
        return "; ".join(side.why for _, side in sorted(bad, key=lambda each: MEANS[each[0]] is State.DEGRADED))

    def reset(self, slot: int) -> None:
        """Forgets an endpoint: the slot is somebody else's, or its process is another one."""
        self._known.pop(slot, None)

    def take_changes(self) -> list[StateChange]:
        """What has changed since the last question, oldest first."""
        changes = list(self._changes)
        self._changes.clear()
        return changes

    def _settle(self, slot: int, known: _Known, at: float) -> bool:
        bad = {MEANS[sign] for sign, side in known.sides.items() if side.is_bad}
        state = next((each for each in (State.UNHEALTHY, State.DEGRADED) if each in bad), State.HEALTHY)
        if state is known.state:
            return False
        was, known.state = known.state, state
        self._changes.append(StateChange(slot, at, was, state, self.why(slot)))
        return True
