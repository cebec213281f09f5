"""Which endpoints of a pool may be named together, nearest level first.

Envoy's `override_host` policy takes a named host of any priority and any health, so it is the picker that keeps to
the priorities (Envoy, "Priority levels"): the nearest level where somebody may be named is used, the next ones only
lend names for retries. Spill-over by capacity is a later stage: Envoy moves load of requests without a name to the next
level as soon as less than about 72 % of one is healthy, the picker stays while anybody there may be named.

At most one half-open endpoint stands among the others, the one that has waited longest to be tried. In a pool that is
mostly dead there are many of them, and one request must not meet two.

Nothing here loops over endpoints: the arrays of a pool are sorted by level once, and a level is a slice of them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.core.domains import Domains, domains
from ext_proc.core.health import Health, Standing
from ext_proc.core.settings import EndpointSettings
from ext_proc.core.slots import BoolArray, FloatArray, IntArray, Slots

_NOBODY = -1


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
    `domains` what fails together."""

    slots: IntArray
    weights: FloatArray
    parts: tuple[tuple[int, slice], ...]
    domains: Domains

    def groups(self, health: Health, now: float) -> Iterator[Group]:
        """Who may be named, level by level; only the first group may hold one on trial. At least one, if any exist."""
        standing = health.standing(self.slots, now)
        degraded = health.degraded(self.slots)
        if degraded is None:
            return self._among(((standing, ""),))
        alike = standing or _all_alike(len(self.slots))
        # The levels without those who are degraded, then the levels of these: as Envoy does with health of its own.
        return self._among(
            ((alike.among(~degraded), ""), (alike.among(degraded), "degraded; nobody who is not may be named"))
        )

    def _among(self, stages: Iterable[tuple[Standing | None, str]]) -> Iterator[Group]:
        """The levels of each stage in turn, with what the record is to say of it; no standing: all are alike."""
        is_first = True
        for standing, note in stages:
            for priority, part in self.parts:
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


def levels(endpoints: Sequence[EndpointSettings], slots: Slots) -> Levels:
    """The levels of `endpoints`, without those that are not available; they keep their order within a level."""
    chosen = sorted((each for each in endpoints if each.available), key=lambda each: each.priority)
    priorities = [each.priority for each in chosen]
    starts = [n for n in range(len(chosen)) if n == 0 or priorities[n] != priorities[n - 1]]
    ends = [*starts, len(chosen)][1:]
    return Levels(
        slots=np.array([slots.acquire(each.address) for each in chosen], dtype=np.int64),
        weights=np.array([each.weight for each in chosen], dtype=np.float64),
        parts=tuple((priorities[start], slice(start, end)) for start, end in zip(starts, ends, strict=True)),
        domains=domains(chosen, slots),
    )


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
