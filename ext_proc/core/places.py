"""Whether a pool has a place free for one more request, and which endpoints may take it. Pure.

Three numbers are looked at: requests in flight (the picker's own, by its ledger, and those of others, by the engine's
metrics), prompt tokens that have no first token yet (own), and KV usage (the engine's number, corrected by the ledger).
Scraped numbers fade (`ext_proc.core.gauges`, `ext_proc.core.memory`), so an engine that is no longer heard is judged by
the ledger alone.

The limits are those of the *mean* over the endpoints that may be named: a pool of four with `maxInFlight` 16 has 64
places, and which endpoint has them is the strategy's affair. Would each endpoint have a limit of its own, a pool under
pressure had one place free at a time, wherever somebody has just ended, and the next request had to go there: prompts
would lose what other endpoints hold of them in their caches (docs/admission.md has the figures). `headroom` bounds what
one endpoint takes beyond the mean all the same, for strategies that do not look at load.

An endpoint where nothing is in flight always has a place, though the others have more than enough and whatever its
metrics say: so every queue is served in the end, a prompt longer than the limit too.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ext_proc.core.fleet import Fleet
from ext_proc.core.levels import Group, Levels
from ext_proc.core.settings import AdmissionSettings
from ext_proc.core.slots import BoolArray, FloatArray, IntArray


@dataclass(frozen=True, slots=True, eq=False)
class _Load:
    """What some endpoints have, by position."""

    requests: FloatArray
    prefill_tokens: IntArray
    kv_usage: FloatArray | None
    """None where no limit asks for it."""

    @property
    def is_idle(self) -> BoolArray:
        # What fades is never quite gone; a hundredth of somebody else's request is none.
        found: BoolArray = self.requests < _ONE
        return found


_ONE = 0.5
"""From here on it counts as a request."""


def _load(limits: AdmissionSettings, fleet: Fleet, slots: IntArray, now: float) -> _Load:
    ledger, gauges = fleet.ledger, fleet.gauges
    requests = ledger.in_flight[slots].astype(np.float64)
    if gauges.has_foreign:
        waiting, running = gauges.foreign(slots, now)
        requests = requests + waiting + running
    prefill_tokens = ledger.queued_tokens[slots]
    usage = None
    if limits.max_kv_usage is not None:
        usage, _ = fleet.memory.estimated(slots, prefill_tokens + ledger.decoding_tokens[slots], now)
    return _Load(requests, prefill_tokens, usage)


def places(limits: AdmissionSettings, fleet: Fleet, slots: IntArray, now: float) -> BoolArray:
    """Which of `slots`, all that may be named in a pool, may take one more request."""
    load = _load(limits, fleet, slots, now)
    if _is_full(limits, load, len(slots)):
        return load.is_idle
    share = 1 + limits.headroom
    if share == math.inf:
        return np.ones(len(slots), dtype=np.bool_)
    found = np.ones(len(slots), dtype=np.bool_)
    if limits.max_in_flight is not None:
        found &= load.requests <= math.floor(limits.max_in_flight * share) - _ONE
    if limits.max_prefill_tokens is not None:
        found &= load.prefill_tokens < limits.max_prefill_tokens * share
    if load.kv_usage is not None:
        found &= load.kv_usage < (limits.max_kv_usage or 0.0) * share
    return found | load.is_idle


def _is_full(limits: AdmissionSettings, load: _Load, count: int) -> bool:
    return (
        (limits.max_in_flight is not None and float(load.requests.sum()) > limits.max_in_flight * count - _ONE)
        or (limits.max_prefill_tokens is not None and load.prefill_tokens.sum() >= limits.max_prefill_tokens * count)
        or (load.kv_usage is not None and float(load.kv_usage.mean()) >= (limits.max_kv_usage or 0.0))
    )


def load_share(limits: AdmissionSettings, fleet: Fleet, slots: IntArray, now: float) -> float:
    """How much of its limits the mean of `slots`, at least one, has in use: 1 is full, and more is more than that."""
    load = _load(limits, fleet, slots, now)
    shares = [0.0]
    if limits.max_in_flight is not None:
        shares.append(float(load.requests.mean()) / limits.max_in_flight)
    if limits.max_prefill_tokens is not None:
        shares.append(float(load.prefill_tokens.mean()) / limits.max_prefill_tokens)
    if load.kv_usage is not None and limits.max_kv_usage:
        shares.append(float(load.kv_usage.mean()) / limits.max_kv_usage)
    return max(shares)


def is_any_free(limits: AdmissionSettings | None, fleet: Fleet, levels: Levels, now: float) -> bool:
    """Whether the pool has a place: always without limits, and with them never without any endpoint."""
    if limits is None:
        return True
    if not len(levels.slots):
        return False
    slots = np.concatenate([group.slots for group in levels.groups(fleet.health, now)])
    return bool(places(limits, fleet, slots, now).any())


def free_first(groups: Iterator[Group], limits: AdmissionSettings, fleet: Fleet, now: float) -> Iterator[Group]:
    """The groups without those who are full, then these, for retries; the groups as they are where all are full.

    A half-open endpoint that is full is not tried.
    """
    every = list(groups)
    kept = places(limits, fleet, np.concatenate([group.slots for group in every]), now)
    if kept.all() or not kept.any():
        yield from every
        return
    full: list[Group] = []
    start = 0
    for group in every:
        here = kept[start : start + len(group.slots)]
        start += len(group.slots)
        others = ~here & (group.slots != group.on_trial)
        if others.any():
            full.append(Group(group.priority, group.slots[others], group.weights[others]))
        if here.any():
            yield group if here.all() else _those(group, here)
    yield from full


def _those(group: Group, kept: BoolArray) -> Group:
    note = f"{len(kept) - int(kept.sum())} of {len(kept)} are full"
    note = f"{group.note}; {note}" if group.note else note
    return Group(group.priority, group.slots[kept], group.weights[kept], group.on_trial, note)
