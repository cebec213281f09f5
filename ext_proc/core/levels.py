"""Which endpoints of a pool may be named together, nearest level first.

Envoy's `override_host` policy takes a named host of any priority and any health, so it is the picker that keeps to
the priorities (Envoy, "Priority levels"): the nearest level where somebody may be named is used, the next ones only
lend names for retries.

While requests move between levels, each has a share of them (`PoolSettings.shares`), and a request begins at the one
that its *lot* falls on, a number from 0 to 100 with the nearest levels at the low end. The same lot falls on the same
level while the shares are the same, and a step of a shift moves only the requests of that step. Whoever waits for a
trial in a nearer level still gets it first, or nobody would find out that the level is well again. What has nobody
sound is passed over, whatever its share: nearest first from there. Who is degraded is named after all others; but
where requests leave a level step by step (`PoolSettings.is_gradual`), one that has nobody better still serves its own,
or all of them would be elsewhere before the first step.

At most one half-open endpoint stands among the others, the one that has waited longest to be tried. In a pool that is
mostly dead there are many of them, and one request must not meet two.

Nothing here loops over endpoints: the arrays of a pool are sorted by level once, and a level is a slice of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.core.domains import Domains, domains
from ext_proc.core.health import Health, Standing
from ext_proc.core.settings import EndpointSettings, ShareSettings
from ext_proc.core.slots import BoolArray, FloatArray, IntArray, Slots

_NOBODY = -1

_LOTS = 100.0

# The golden ratio's fraction: its multiples are spread evenly over the unit interval, however many there are (Weyl), so
# that shares are kept over a dozen requests already and no chance is needed.
_TURN = 0.6180339887498949

_HASHES = 2**32


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    """Endpoints between which a strategy decides. `on_trial` is the slot of the half-open one, negative without one.

    `note` says for the record how the group came about, where that is not by levels alone.
    """

    priority: int
    slots: IntArray
    weights: FloatArray
    on_trial: int = _NOBODY
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The available endpoints of a pool, sorted by level; `parts` are the levels, with their priority,
    `domains` what fails together.

    `starts` has, while they have shares, each one's upper bound on the lots, its position in `parts`, and why requests
    begin there.
    """

    slots: IntArray
    weights: FloatArray
    parts: tuple[tuple[int, slice], ...]
    domains: Domains
    starts: tuple[tuple[float, int, str], ...] = ()
    is_gradual: bool = False

    def start(self, lot: float) -> tuple[int, str]:
        """The position of the level at which the request of this lot begins, and why if that is not the nearest."""
        found = next((start for start in self.starts if lot < start[0]), None)
        return (0, "") if found is None else (found[1], found[2])

    def groups(self, health: Health, now: float, start: int = 0) -> Iterator[Group]:
        """Who may be named, level by level, from the one at the position `start`; only the first group may hold one on
        trial. At least one, if any exist."""
        standing = health.standing(self.slots, now)
        degraded = health.degraded(self.slots)
        if degraded is None:
            return self._among(((standing, ""),), start)
        alike = standing or _all_alike(len(self.slots))
        if self.is_gradual:
            own = self.parts[start][1]
            if not (alike.sound[own] & ~degraded[own]).any():
                degraded[own] = False
        # The levels without those who are degraded, then the levels of these: as Envoy does with health of its own.
        return self._among(
            ((alike.among(~degraded), ""), (alike.among(degraded), "degraded; nobody who is not may be named")), start
        )

    def _among(self, stages: Iterable[tuple[Standing | None, str]], start: int) -> Iterator[Group]:
        """The levels of each stage in turn, with what the record is to say of it; no standing: all are alike."""
        is_first = True
        parts = self.parts if not start else (self.parts[start], *self.parts[:start], *self.parts[start + 1 :])
        for standing, note in stages:
            if start and is_first and standing is not None:
                for group in self._on_trial(standing, start):
                    is_first = False
                    yield group
            for priority, part in parts:
                if standing is None:
                    yield Group(priority, self.slots[part], self.weights[part])
                    continue
                chosen, trial = standing.sound[part], _NOBODY
                if is_first:
                    chosen, trial = _with_one_on_trial(standing, part)
                if chosen.any():
                    is_first = False
                    slots = self.slots[part]
                    on_trial = _NOBODY if trial == _NOBODY else int(slots[trial])
                    yield Group(priority, slots[chosen], self.weights[part][chosen], on_trial, note)

    def _on_trial(self, standing: Standing, start: int) -> Iterator[Group]:
        """Who waits for a trial in a level nearer than `start`, if anybody, alone."""
        for priority, part in self.parts[:start]:
            _, trial = _with_one_on_trial(standing, part)
            if trial != _NOBODY:
                here = slice(part.start + trial, part.start + trial + 1)
                note = "on trial"
                yield Group(priority, self.slots[here], self.weights[here], int(self.slots[part][trial]), note)
                return

    def trusted(self, health: Health, beyond: int) -> Group | None:
        """Who has proved lately to be there, while the pool is in doubt: of the nearest level beyond that of this
        priority that has such, else of the nearest of all."""
        trusted = health.trusted(self.slots)
        if trusted is None:
            return None
        for priority, part in sorted(self.parts, key=lambda level: level[0] <= beyond):
            chosen = trusted[part]
            if chosen.any():
                return Group(priority, self.slots[part][chosen], self.weights[part][chosen])
        return None


def levels(
    endpoints: Sequence[EndpointSettings],
    slots: Slots,
    shares: Sequence[ShareSettings] = (),
    *,
    is_gradual: bool = False,
) -> Levels:
    """The levels of `endpoints`, without those that are not available; they keep their order within a level."""
    chosen = sorted((each for each in endpoints if each.available), key=lambda each: each.priority)
    priorities = [each.priority for each in chosen]
    starts = [n for n in range(len(chosen)) if n == 0 or priorities[n] != priorities[n - 1]]
    ends = [*starts, len(chosen)][1:]
    parts = tuple((priorities[start], slice(start, end)) for start, end in zip(starts, ends, strict=True))
    return Levels(
        slots=np.array([slots.acquire(each.address) for each in chosen], dtype=np.int64),
        weights=np.array([each.weight for each in chosen], dtype=np.float64),
        parts=parts,
        domains=domains(chosen, slots),
        starts=_starts([priority for priority, _ in parts], shares),
        is_gradual=is_gradual,
    )


def lot_of(number: int) -> float:
    """The lot of what has this hash."""
    return _LOTS * (number % _HASHES) / _HASHES


def turn_lot(turn: int) -> float:
    """The lot of the request that has this number in its pool."""
    return _LOTS * (turn * _TURN % 1.0)


def _starts(priorities: Sequence[int], shares: Sequence[ShareSettings]) -> tuple[tuple[float, int, str], ...]:
    """The upper bounds on lots of those that have a share; a level that there is not takes none."""
    by_priority = {share.priority: share for share in shares if share.percent}
    found: list[tuple[float, int, str]] = []
    for position, priority in enumerate(priorities):
        share = by_priority.get(priority)
        if share is not None:
            found.append(((found[-1][0] if found else 0.0) + share.percent, position, share.why if position else ""))
    total = found[-1][0] if found else 0.0
    return tuple((_LOTS * bound / total, position, why) for bound, position, why in found)


def _with_one_on_trial(standing: Standing, part: slice) -> tuple[BoolArray, int]:
    """The sound ones of a level and the one that is due for longest, and its position there."""
    due = np.flatnonzero(standing.due[part])
    sound = standing.sound[part]
    if not len(due):
        return sound, _NOBODY
    trial = int(due[np.argmin(standing.due_since[part][due])])
    chosen = sound.copy()
    chosen[trial] = True
    return chosen, trial


def _all_alike(count: int) -> Standing:
    return Standing(np.ones(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_), np.zeros(count))
