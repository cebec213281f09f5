"""Which endpoints come first for a request, before the strategy decides among them: by label, by what they have loaded,
or because the request is one of a batch.

A filter says which requests it is about, and whom they are for. All that apply narrow a level one after the other; one
that would leave nobody there is passed over, since an endpoint of the wrong class answers sooner than none at all. Who
was left out is named after the others, for retries. A batch chooses last, since it leaves a single one.

An *adapter* is loaded where the engine's last metrics named it among the running or waiting ones: an engine that must
load it first lets the request wait, and may drop another one for it. A *model* is loaded where the engine's own list or
its report names it; who told nothing may have it, so it is left out by nobody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ext_proc.core.batch import together
from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group
from ext_proc.core.settings import FilterSettings, PoolSettings
from ext_proc.core.slots import BoolArray, Slots
from ext_proc.core.strategies.view import Request


@dataclass(frozen=True, slots=True, eq=False)
class Filter:
    """One filter of a pool; `members` are the slots of those with its labels."""

    settings: FilterSettings
    members: BoolArray


def filters_of(pool: PoolSettings, slots: Slots) -> tuple[Filter, ...]:
    """The filters of a pool, whose endpoints have slots already."""
    made = []
    for settings in pool.filters:
        members = np.zeros(slots.capacity, dtype=np.bool_)
        for endpoint in pool.endpoints:
            is_in_zone = not settings.zone or endpoint.zone == settings.zone
            if is_in_zone and settings.labels.items() <= endpoint.labels.items():
                members[slots.acquire(endpoint.address)] = True
        made.append(Filter(settings, members))
    return tuple(made)


def narrowed(groups: Iterator[Group], filters: Sequence[Filter], request: Request, fleet: Fleet) -> Iterator[Group]:
    """The groups, each one that a filter divides as two: those for this request, then the others.

    A half-open endpoint that a filter leaves out is not tried with this request.
    """
    wanted = [
        (each.settings.batch, members_of(each, request, fleet)) for each in filters if is_about(each.settings, request)
    ]
    wanted.sort(key=lambda one: one[0] is not None)
    for group in groups:
        kept = np.ones(len(group.slots), dtype=np.bool_)
        for batch, members in wanted:
            fewer = kept & members[group.slots]
            if batch is not None:
                fewer = together(group, fewer, request.headers[batch.header], batch, fleet)
            kept = fewer if fewer.any() else kept
        if kept.all():
            yield group
            continue
        note = f"filters left {int(kept.sum())} of {len(kept)}"
        yield Group(group.priority, group.slots[kept], group.weights[kept], group.on_trial, note)
        others = ~kept & (group.slots != group.on_trial)
        if others.any():
            yield Group(group.priority, group.slots[others], group.weights[others])


def members_of(each: Filter, request: Request, fleet: Fleet) -> BoolArray:
    """By slot, whom a filter that is about a request is for; of a batch, everybody whom it may choose."""
    members, settings = each.members, each.settings
    if settings.adapter:
        members = members & fleet.adapters.members(request.model, len(members))
    if settings.model:
        members = members & (fleet.models.members(request.model, len(members)) | ~fleet.models.known(len(members)))
    return members


def is_about(settings: FilterSettings, request: Request) -> bool:
    """Whether a filter is about such a request."""
    if settings.kinds and request.kind not in settings.kinds:
        return False
    if settings.batch is not None and not request.headers.get(settings.batch.header):
        return False
    most = settings.maximum_tokens
    return settings.minimum_tokens <= request.tokens and (most is None or request.tokens <= most)
