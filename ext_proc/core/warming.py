"""Cold endpoints: a share of the requests that grows to the full one, whatever the strategy.

An endpoint is *cold* that joins a pool which serves already, and one whose process was gone and is there again. Its
cache is empty, its kernels may not be compiled, and to most strategies it looks like the best of all, since nothing
runs there. So it gets, for as long as its pool's `WarmupSettings` say, a share of its weight: Envoy's slow start
("Slow start mode"), with its formula, for the picker's own choices.

    share = max(minimum, (age ÷ duration) ^ (1 ÷ aggression))

The bound is kept by counting. With every request for a group in which it stands a cold endpoint earns the part that is
its due, and a request that it is given costs one; with less than one it is *held back*: named after the others, for
retries. What it may save up is bounded, so that a strategy that passes it over for long cannot flood it later. In a
group of nothing but such endpoints none is held back.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ext_proc.core.levels import Group
from ext_proc.core.settings import PoolSettings, WarmupSettings
from ext_proc.core.slots import BoolArray, FloatArray, IntArray

# At once one request may go there, so that what must be compiled or loaded is, and nobody waits for the second one.
START_CREDIT = 1.0

# Two requests may follow each other at random; ten in a row would be the flood that this is about.
MAX_CREDIT = 2.0

# Envoy takes 0 % as the minimum, too; nothing at all would never end where nobody else is there.
LEAST_SHARE = 0.001

HeldBack = Callable[[IntArray], BoolArray | None]
"""Which of a group's slots are named after the others; None for none of them."""

# A request's worth of credit. Credits are sums of fractions: 200 times 1/200 may be a little less than one.
A_REQUEST = 1 - 1e-9


@dataclass(slots=True)
class _Cold:
    """Mutable: `since` is None until a process that was gone answers again; `Warming` is the only writer."""

    settings: WarmupSettings
    since: float | None
    credit: float = START_CREDIT


class Warming:
    """Which endpoints are cold.

    Mutable: the cold ones by slot, and the settings of all by slot; the picker is the only writer.
    """

    def __init__(self) -> None:
        self._cold: dict[int, _Cold] = {}
        self._settings: Mapping[int, WarmupSettings] = {}

    def __bool__(self) -> bool:
        return bool(self._cold)

    def configure(self, settings: Mapping[int, WarmupSettings]) -> None:
        """Says how each slot warms up from now on; a slot that is missing does not."""
        self._settings = settings
        for slot in [slot for slot in self._cold if slot not in settings]:
            del self._cold[slot]
        for slot, cold in self._cold.items():
            cold.settings = settings[slot]

    def joined(self, slot: int, now: float) -> None:
        """An endpoint has joined a pool that serves."""
        if slot in self._settings:
            self._cold[slot] = _Cold(self._settings[slot], now)

    def gone(self, slot: int) -> None:
        """Nobody listens there: when somebody does again it is another process."""
        if slot in self._settings:
            self._cold[slot] = _Cold(self._settings[slot], None)

    def proved(self, slot: int, at: float) -> None:
        """Somebody answers there."""
        cold = self._cold.get(slot)
        if cold is not None and cold.since is None:
            cold.since = at

    def reset(self, slot: int) -> None:
        """The slot is somebody else's."""
        self._cold.pop(slot, None)

    def share(self, slot: int, now: float) -> float:
        """What part of its weight an endpoint has, above 0; 1 unless it is cold."""
        cold = self._cold.get(slot)
        return 1.0 if cold is None else _share(cold, now)

    def held_back(self, slots: IntArray, now: float) -> BoolArray | None:
        """Which of a group's `slots` have had their part; None for none, or for all."""
        self._warm_up(now)
        if not self._cold:
            return None
        held = np.array([self._is_spent(slot) for slot in slots.tolist()], dtype=np.bool_)
        return held if held.any() and not held.all() else None

    def picked(self, slots: IntArray, weights: FloatArray, best: int, now: float) -> None:
        """A request was given to the slot `best` of a group; `slots` and `weights` include those held back."""
        here = [position for position, slot in enumerate(slots.tolist()) if slot in self._cold]
        if not here:
            return
        due = weights.astype(np.float64)
        for position in here:
            due[position] *= _share(self._cold[int(slots[position])], now)
        due /= due.sum()
        for position in here:
            cold = self._cold[int(slots[position])]
            cold.credit = min(MAX_CREDIT, cold.credit + float(due[position]))
            if slots[position] == best:
                cold.credit = max(0.0, cold.credit - 1)

    def _is_spent(self, slot: int) -> bool:
        cold = self._cold.get(slot)
        return cold is not None and cold.credit < A_REQUEST

    def _warm_up(self, now: float) -> None:
        """Forgets those whose time is over."""
        for slot, cold in list(self._cold.items()):
            if cold.since is not None and now - cold.since >= cold.settings.duration_s:
                del self._cold[slot]


def _share(cold: _Cold, now: float) -> float:
    least = max(LEAST_SHARE, cold.settings.minimum)
    if cold.since is None:
        return least
    part = min(1.0, max(0.0, (now - cold.since) / cold.settings.duration_s))
    return max(least, float(part ** (1 / cold.settings.aggression)))


def warm_first(groups: Iterable[Group], warming: Warming, now: float) -> Iterator[Group]:
    """The groups without those who are held back, then these."""
    return after_the_others(groups, lambda slots: warming.held_back(slots, now), "are warming up")


def after_the_others(groups: Iterable[Group], held_back: HeldBack, why: str) -> Iterator[Group]:
    """The groups without those who are held back, then these. A half-open endpoint is not: its next request is due.
    `why` is said of them in the record."""
    later: list[Group] = []
    for group in groups:
        held = held_back(group.slots)
        if held is not None:
            held &= group.slots != group.on_trial
        if held is None or not held.any():
            yield group
            continue
        note = f"{int(held.sum())} of {len(held)} {why}"
        note = f"{group.note}; {note}" if group.note else note
        yield Group(group.priority, group.slots[~held], group.weights[~held], group.on_trial, note)
        later.append(Group(group.priority, group.slots[held], group.weights[held]))
    yield from later


def newcomers(pools: Iterable[PoolSettings], former: Mapping[str, PoolSettings]) -> frozenset[str]:
    """Addresses that join pools which serve already; `former` are the pools as they were, by cluster.

    At the start, and in a pool that had nobody, all are new alike, and nobody is warmer than the others.
    """
    found: set[str] = set()
    for pool in pools:
        known = former.get(pool.cluster)
        if known is not None and any(endpoint.available for endpoint in known.endpoints):
            found |= {endpoint.address for endpoint in pool.endpoints}
            found -= {endpoint.address for endpoint in known.endpoints}
    return frozenset(found)
