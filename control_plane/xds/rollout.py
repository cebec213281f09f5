"""Which version of the policy an Envoy gets: the newest one, step by step, and the last good one where it failed. Pure.

    rollout = Rollout("v1")
    rollout.offer("v2", Pace(staged=True, soak_s=5, timeout_s=30), now)
    rollout.version_for(is_first=True), rollout.version_for(is_first=False)       # "v2", "v1"
    rollout.observe(all_accepted=True, now=now)                                   # the soak begins
    rollout.observe(all_accepted=True, now=now + 5)                               # PROMOTED: "v2" for everybody

The rules, each with its test in `tests/unit/control_plane/xds/test_rollout.py`:

- without groups that go first a new version is everybody's at once;
- else it goes to them alone, and to the rest when all their connected Envoys have accepted all of it and go on doing so
  for the soak; nobody connected is nobody who objects, so then the soak alone is waited for;
- one refusal gives the first groups the version back that the rest has, and so does the timeout, which bounds how long
  Envoys of theirs may lack it in all: before the soak, and when one comes or vanishes in it;
- a newer offer takes the place of one that is under way, and clears what earlier ones left behind;
- a group in which a refusal cannot be pinned on a resource goes back to the last version that all its Envoys accepted,
  until there is a new version.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, unique


@unique
class Stage(Enum):
    """Where the newest version is."""

    SETTLED = "settled"
    """Everybody has it, or nobody."""
    FIRST = "first"
    """With the groups that go first, not accepted by all of them yet."""
    SOAKING = "soaking"
    """With the groups that go first, accepted by all of them."""


@unique
class Event(Enum):
    """What `observe` made of a rollout."""

    PROMOTED = "promoted"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a version is rolled out: in stages or at once; seconds."""

    staged: bool
    soak_s: float = 0.0
    timeout_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Candidate:
    version: str
    pace: Pace
    lacking_since: float | None
    """None while all have accepted it."""
    lacked_s: float = 0.0
    """How long somebody has lacked it, before the present time."""
    accepted_since: float | None = None

    def lacked_at(self, now: float) -> float:
        """How long somebody has lacked it in all."""
        return self.lacked_s + (0.0 if self.lacking_since is None else now - self.lacking_since)


@dataclass(slots=True)
class Rollout:
    """Mutable: all fields, by these methods only; `now` is seconds of one monotonic clock."""

    stable: str
    """The version of all who are not asked first."""
    failed: str = ""
    """The version that was rolled back last, while nothing newer has been offered."""
    reason: str = ""
    """Why."""
    pins: dict[str, str] = field(default_factory=dict)
    """Group → the version that it went back to on its own."""
    accepted: dict[str, str] = field(default_factory=dict)
    """Group → the last version that all its connected Envoys have accepted."""
    restored: str = ""
    """The version that was accepted before this process began, by whichever groups."""
    _candidate: _Candidate | None = None

    @property
    def candidate(self) -> str | None:
        """The version that only the first groups have."""
        return self._candidate.version if self._candidate else None

    @property
    def stage(self) -> Stage:
        """How far the newest version is."""
        if self._candidate is None:
            return Stage.SETTLED
        return Stage.FIRST if self._candidate.accepted_since is None else Stage.SOAKING

    def offer(self, version: str, pace: Pace, now: float) -> None:
        """A new version of the policy, checked and compiled."""
        self.failed = self.reason = ""
        self.pins.clear()
        self._candidate = _Candidate(version, pace, now) if pace.staged and version != self.stable else None
        if self._candidate is None:
            self.stable = version

    def version_for(self, *, is_first: bool, group: str = "") -> str:
        """The version of an Envoy that the candidate counts among those which go first, or that is in `group`."""
        if self._candidate is not None and is_first:
            return self._candidate.version
        return self.pins.get(group, self.stable)

    def observe(self, *, all_accepted: bool, now: float, lacking: str = "") -> Event | None:
        """Tells whether every Envoy of the first groups has accepted the candidate, and who has not, in words; what
        came of it."""
        candidate = self._candidate
        if candidate is None:
            return None
        lacked_s = candidate.lacked_at(now)
        if not all_accepted:
            self._candidate = replace(candidate, lacking_since=now, lacked_s=lacked_s, accepted_since=None)
            if lacked_s < candidate.pace.timeout_s:
                return None
            by = f" by {lacking}" if lacking else ""
            self._give_up(f"not accepted within {candidate.pace.timeout_s:g} s{by}")
            return Event.TIMED_OUT
        since = now if candidate.accepted_since is None else candidate.accepted_since
        if now - since < candidate.pace.soak_s:
            self._candidate = replace(candidate, lacking_since=None, lacked_s=lacked_s, accepted_since=since)
            return None
        self.stable, self._candidate = candidate.version, None
        return Event.PROMOTED

    def postpone(self, now: float) -> None:
        """Nobody can be asked yet: the time up to `now` does not count."""
        if self._candidate is not None:
            self._candidate = replace(self._candidate, lacking_since=now, accepted_since=None)

    def refuse(self, reason: str) -> None:
        """An Envoy of the first groups has refused what the candidate brought: all of them go back."""
        if self._candidate is not None:
            self._give_up(reason)

    def group_accepted(self, group: str, version: str) -> None:
        """All connected Envoys of a group, and at least one, have all of this version."""
        self.accepted[group] = version

    def last_accepted(self, group: str) -> str:
        """The last version known to be good for a group; empty if there is none."""
        return self.accepted.get(group, self.restored)

    def go_back(self, group: str, version: str, reason: str) -> bool:
        """A group has refused `version`, and nobody knows what of it; whether there was one to go back to."""
        last = self.last_accepted(group)
        if not last or last == version:
            return False
        self.pins[group] = last
        self.failed, self.reason = version, reason
        return True

    def deadline(self) -> float | None:
        """When `observe` has something to do even if nothing happens; None if never."""
        candidate = self._candidate
        if candidate is None:
            return None
        if candidate.accepted_since is not None:
            return candidate.accepted_since + candidate.pace.soak_s
        lacking_since = candidate.lacking_since or 0.0  # somebody lacks it, or it would be accepted
        return lacking_since + candidate.pace.timeout_s - candidate.lacked_s

    def needed(self) -> frozenset[str]:
        """The versions that some Envoy has or may be given again."""
        versions = {self.stable, self.candidate or "", self.restored, *self.pins.values(), *self.accepted.values()}
        return frozenset(versions - {""})

    def _give_up(self, reason: str) -> None:
        assert self._candidate is not None, "asked for by the callers"
        self.failed, self.reason, self._candidate = self._candidate.version, reason, None
