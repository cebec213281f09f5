"""The list of names for one request: the strategy's order within a level, and what is tried after it.

1. The first group of `Levels.groups` is ranked; its best is the first name. A half-open endpoint is named only there.
   The next names are the best of other machines and zones, as far as there are any (`ext_proc.core.domains`).
2. While names are missing, the best of the next levels follow, so that a retry can leave the zone. One of a full list
   is the best of the next level, too, where there is one, and comes second: a zone goes dark as a whole, and where it
   does so in silence, each pod of it that a request meets costs the limit on first bytes.
3. While the pool is in doubt (`ext_proc.core.health`), the last of a full list is one that has proved lately to be
   there. Otherwise a pool of which most pods are gone would send the three tries of a request to three that were never
   tried, again and again. The first two names of a level stay the strategy's, so trust costs it nothing.
"""

import random
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from ext_proc.core.decision import MAX_NAMED
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group, Levels
from ext_proc.core.record import MAX_CANDIDATES, Candidates
from ext_proc.core.slots import IntArray
from ext_proc.core.strategies.view import Ranking, Strategy, View

# So many of the best may be named, so that the record has room for them and a last name from elsewhere.
_CONSIDERED = MAX_CANDIDATES - 1

MakeView = Callable[[Group], View]
Narrow = Callable[[Iterator[Group]], Iterator[Group]]


@dataclass(frozen=True, slots=True, eq=False)
class Naming:
    """The names, best first. `view` and `ranking` are those that the first name comes from."""

    addresses: tuple[str, ...]
    view: View
    ranking: Ranking
    reason: str
    candidates: Candidates


@dataclass(frozen=True, slots=True, eq=False)
class _Ranked:
    """Some positions of one group, best first."""

    view: View
    ranking: Ranking
    order: IntArray

    def slots(self) -> list[int]:
        slots: list[int] = self.view.slots[self.order].tolist()
        return slots

    def only(self, positions: Sequence[int] | IntArray) -> "_Ranked":
        return _Ranked(self.view, self.ranking, np.array(positions, dtype=np.int64))

    def without(self, slots: Container[int]) -> list[int]:
        """The positions of the others."""
        return [position for position, slot in zip(self.order.tolist(), self.slots(), strict=True) if slot not in slots]


@dataclass(frozen=True, slots=True, eq=False)
class _Last:
    """One endpoint, its level, and what the reason says of it."""

    ranked: _Ranked
    priority: int
    why: str = ""


def name(
    levels: Levels,
    fleet: Fleet,
    strategy: Strategy,
    make_view: MakeView,
    now: float,
    rng: random.Random,
    narrow: Narrow = iter,
    lot: float = 0.0,
) -> Naming:
    """Names up to `MAX_NAMED` endpoints of a pool that has at least one. `narrow` puts some of each level first; `lot`
    says at which of them the request begins, while they have shares."""

    def ranked(group: Group) -> _Ranked:
        view = make_view(group)
        ranking = strategy.rank(view, rng)
        return _Ranked(view, ranking, ranking.order)

    start, moved = levels.start(lot)
    groups = narrow(levels.groups(fleet.health, now, start))
    group = next(groups)
    first = ranked(group)
    reason = first.ranking.reason
    if group.note:
        reason += f"; {group.note}"
    is_moved = bool(start) and group.priority == levels.parts[start][0]
    if is_moved:
        reason += f"; priority {group.priority}: {moved}"
    elif group.priority:
        reason += f"; priority {group.priority}, nobody nearer may be named"
    best, *rest = first.slots()
    spares = [slot for slot in rest if slot != group.on_trial]
    named = levels.domains.apart([best, *spares][:_CONSIDERED], MAX_NAMED)
    others: list[_Ranked] = []
    near, last_priority = len(named), group.priority
    while len(named) < MAX_NAMED and (spare := next(groups, None)) is not None:
        further = ranked(spare)
        others.append(further.only(further.order[: MAX_NAMED - len(named)]))
        named += others[-1].slots()
        last_priority = spare.priority
    if len(named) == MAX_NAMED:
        beyond = iter(()) if others else _beyond(groups, group, is_moved=is_moved)
        last = _last(levels, fleet, group, beyond, ranked, named)
        if last is not None:
            others.append(last.ranked)
            named[-1:] = last.ranked.slots()
            last_priority = last.priority
            reason += last.why
    if len(named) == MAX_NAMED and near > 1 and last_priority != group.priority:
        named[1:] = named[-1], *named[1:-1]
    addresses = tuple(fleet.slots.address(slot) for slot in named)
    return Naming(addresses, first.view, first.ranking, reason, _candidates(first, others, named))


def _last(
    levels: Levels,
    fleet: Fleet,
    group: Group,
    beyond: Iterator[Group],
    ranked: Callable[[Group], _Ranked],
    named: Sequence[int],
) -> _Last | None:
    """Who takes the place of the last of a full list, if anybody."""
    trusted = levels.trusted(fleet.health, group.priority)
    if trusted is not None:
        if named[-1] in trusted.slots:
            return None
        reliable = ranked(trusted)
        fresh = reliable.without(named)
        if fresh:
            return _Last(reliable.only(fresh[:1]), trusted.priority, "; one name is there since it answered lately")
    further = next(beyond, None)
    if further is None:
        return None
    elsewhere = ranked(further)
    return _Last(elsewhere.only(elsewhere.order[:1]), further.priority)


def _beyond(groups: Iterator[Group], group: Group, *, is_moved: bool) -> Iterator[Group]:
    """Those of other levels: further ones, or any, where the request began at one that is not the nearest."""
    return (each for each in groups if each.priority > group.priority or (is_moved and each.priority < group.priority))


def _candidates(first: _Ranked, others: Sequence[_Ranked], named: Sequence[int]) -> Candidates:
    """What was seen: the first group's best, and whoever else is named. Costs compare within a group only."""
    if not others:
        return _rows(first)
    elsewhere = [slot for each in others for slot in each.slots() if slot in named]
    kept = first.without(elsewhere)[: MAX_CANDIDATES - len(elsewhere)]
    parts = [_rows(first.only(kept)), *(_rows(each) for each in others)]
    return Candidates(
        addresses=tuple(chain.from_iterable(part.addresses for part in parts)),
        costs=tuple(chain.from_iterable(part.costs for part in parts)),
        # What makes no difference within a group is no term of its ranking (`ext_proc.core.charges`).
        terms={
            term: tuple(chain.from_iterable(part.terms.get(term, (0.0,) * len(part.costs)) for part in parts))
            for term in dict.fromkeys(chain.from_iterable(part.terms for part in parts))
        },
    )


def _rows(ranked: _Ranked) -> Candidates:
    order, ranking = ranked.order, ranked.ranking
    return Candidates(
        addresses=tuple(map(ranked.view.fleet.slots.address, ranked.slots())),
        costs=tuple(ranking.cost[order].tolist()),
        terms={term: tuple(column[order].tolist()) for term, column in ranking.terms.items()},
    )
