"""How the requests of one pool move between places: at once from a dark one, step by step otherwise. Pure.

    shift = Shift()
    shift.look(now, {"zone-a": Seen(total=4, usable=4, healthy=4), "zone-b": Seen(...)}, ShiftRule())
    shift.shares                                            # {"zone-a": 100, "zone-b": 0}

Places come nearest first. Each keeps a part of the requests that reach it and passes the rest on to the next:

- *Dark*, nobody can be used: it passes on all, from the same look on. If that lasts (`offline_after_s`) its requests
  come back step by step, else at once. A place that was dark and back a moment ago is not believed a second time.
- *Not ready*, less than `min_healthy` of it is healthy: it passes on `step` percent more every `every_s`, while a place
  behind it is ready. A step is taken back when too many tries have failed there since the last one, or when nobody
  behind it is ready any more, nor better than it is; then it is `stable_s` until the next try.
- *Full*, above `spill_at`: it passes on what exceeds that, by `step` at most, while there is room behind it; and it
  takes back what it has room for, or what has filled the next place more than itself.
- *Back*: ready for `stable_s` without a break, it takes `step` percent back every `every_s`. When its own tries fail
  that is undone, and the wait begins anew. While nobody behind it does well it does not wait.

What passes the last place goes to the one with the most healthy endpoints: it is the best there is. A place that
nothing reaches has nothing to be gradual about, so it is as it is seen. So is everything at the first look, and what
discovery adds within `offline_after_s`; a nearer place that appears later is like one that is back.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from control_plane.fleet.seen import ALL, NOBODY, Change, Seen, ShiftRule, State

FORGET_S = 600.0
"""A place whose endpoints are all gone is dark for so long, and then no place: as drains of addresses that nobody lists
(`control_plane.fleet.drains`)."""

MIN_FAILURES = 2
"""One failed try is no rate: with a handful of requests in a step it would be a fifth of them."""

ROOM = 0.8
"""A spilled part is taken back where the place would be filled up to this part of `spill_at` by it, and the part did
not change for `stable_s`: how full a place is grows faster than its requests near the end, and later."""

PLENTY = 0.5
"""Up to this part of `spill_at` it is taken back without such a wait."""

FINEST = 4
"""Steps of spilling are halved at each turn, down to this part of `step`: smaller ones would follow too slowly."""

FALLING = 0.9
"""A load below this part of what it was at the last step is on its way: new requests move, and the old ones run on."""


@dataclass(slots=True)
class _Place:
    """Mutable: what is remembered of one place; `Shift` writes.

    `there_at` is when it had endpoints last. `moved` and `spilled` are percent of what reaches it (`arriving`) that it
    passes on; `checked_at` is when that was decided last, `counted` what had been tried everywhere by then,
    `loads_before` how full it and the next place were; `spilled_at` is when the spilled part changed, by `spill_step`
    at most (0: not yet), and `spills_more` whether it grew then.
    """

    seen: Seen
    since: float
    looked_at: float
    checked_at: float
    there_at: float
    counted: Mapping[str, tuple[int, int]]
    moved: int = 0
    spilled: int = 0
    arriving: int = 0
    share: int = 0
    load: float | None = None
    loads_before: tuple[float, float] = (0.0, 0.0)
    spilled_at: float = -math.inf
    spill_step: int = 0
    spills_more: bool = True
    dark_since: float | None = None
    blinked_at: float | None = None
    ready_since: float | None = None
    held_until: float = -math.inf
    state: State | None = None
    why: str = ""

    def next_step(self, rule: ShiftRule, *, is_more: bool) -> int:
        """Percent by which the spilled part may change: half as much at each turn, or two full places would swing."""
        if not self.spilled:
            self.spill_step, self.spills_more = rule.step, True
        if is_more is not self.spills_more:
            self.spill_step, self.spills_more = max(1, rule.step // FINEST, self.spill_step // 2), is_more
        return min(rule.step, self.spill_step or rule.step)

    @property
    def gone(self) -> int:
        """Percent that it passes on."""
        return ALL if self.seen.is_dark else max(self.moved, self.spilled)


class Shift:
    """One pool, as Envoys at one place use it. Mutable: the places; `look` writes."""

    def __init__(self) -> None:
        self._places: dict[str, _Place] = {}
        self._began_at = 0.0

    @property
    def shares(self) -> Mapping[str, int]:
        """Place → percent of all requests, nearest first; together 100."""
        return {name: place.share for name, place in self._places.items()}

    @property
    def is_plain(self) -> bool:
        """Whether the nearest place has everything."""
        return next((place.share == ALL for place in self._places.values()), True)

    def look(self, now: float, seen: Mapping[str, Seen], rule: ShiftRule) -> Sequence[Change]:
        """Takes what is seen of all places, nearest first, and gives those that are otherwise than before.

        A place without endpoints must be missing; it is dark until it is forgotten. `now` is monotonic.
        """
        seen = self._with_missing(now, seen)
        is_first = not self._places
        if is_first:
            self._began_at = now
        is_early = now - self._began_at <= rule.offline_after_s
        counted = {name: (one.tries, one.failures) for name, one in seen.items()}
        self._places = {
            name: self._places.get(name) or _Place(one, now, now, now, now, counted, moved=0 if is_early else ALL)
            for name, one in seen.items()
        }
        for name, place in self._places.items():
            _see(place, seen[name], now, rule)
        if is_first:
            self._begin(rule)
        self._deal()
        names = list(self._places)
        for position, name in enumerate(names):
            self._control(name, names[position + 1 :], counted, now, rule)
        self._deal()
        return self._changes(now, rule)

    def _with_missing(self, now: float, seen: Mapping[str, Seen]) -> Mapping[str, Seen]:
        """`seen` with the places that were there lately, where they stood."""
        names = list(seen)
        before = ""
        for name, place in self._places.items():
            if name not in seen and now - place.there_at < FORGET_S:
                names.insert(names.index(before) + 1 if before else 0, name)
            if name in names:
                before = name
        return {name: seen.get(name) or self._without_endpoints(name) for name in names}

    def _without_endpoints(self, name: str) -> Seen:
        """Tries of before are no news of it when it is back."""
        before = self._places[name].seen
        return replace(NOBODY, tries=before.tries, failures=before.failures)

    def why(self, name: str) -> str:
        """Why a place has requests of nearer ones; empty where it has none."""
        found: list[str] = []
        for nearer, place in self._places.items():
            if nearer == name:
                break
            if place.gone:
                is_spill = not place.seen.is_dark and place.spilled > place.moved
                found.append(f"{'spill-over' if is_spill else 'failover'} from {nearer}")
        return ", ".join(found) if self._places[name].share else ""

    def rows(self, now: float) -> list[dict[str, Any]]:
        """JSON values, nearest first."""
        return [
            {
                "place": name,
                "state": (place.state or State.ACTIVE).value,
                "share": place.share,
                "why": place.why,
                "since_s": round(now - place.since, 1),
                "endpoints": place.seen.total,
                "healthy": place.seen.healthy,
                "load": None if place.load is None else round(place.load, 3),
            }
            for name, place in self._places.items()
        ]

    def _begin(self, rule: ShiftRule) -> None:
        """Nothing has been anywhere yet: requests begin where somebody is ready."""
        places = list(self._places.values())
        for position, place in enumerate(places):
            is_ready_later = any(later.seen.is_ready(rule) for later in places[position + 1 :])
            place.moved = ALL if is_ready_later and not place.seen.is_ready(rule) else 0

    def _control(
        self, name: str, later: Sequence[str], counted: Mapping[str, tuple[int, int]], now: float, rule: ShiftRule
    ) -> None:
        """Decides about one place, if it is time."""
        place = self._places[name]
        is_ready = place.seen.is_ready(rule)
        if not place.arriving:
            place.moved, place.spilled = (0 if is_ready else ALL), 0
        is_full = rule.spill_at is not None and place.load is not None and place.load > rule.spill_at
        is_moving = place.arriving and (not is_ready or place.moved or place.spilled or is_full)
        if place.seen.is_dark or not is_moving:
            place.checked_at, place.counted = now, counted
            return
        if now - place.checked_at < rule.every_s:
            return
        target = next((other for other in later if self._places[other].seen.is_ready(rule)), None)
        rivals = [self._places[other].seen for other in later if not self._places[other].seen.is_dark]
        is_best = all(place.seen.well >= rival.well for rival in rivals)
        is_harmed = target is not None and _is_failing(target, place.counted, counted, rule)
        own_fail = _is_failing(name, place.counted, counted, rule)
        is_undone = is_harmed or (target is None and (is_ready or is_best))
        self._move(place, target, now, rule, is_ready=is_ready, is_undone=is_undone, own_fail=own_fail)
        self._spill(place, target, now, rule, is_harmed=is_harmed)
        place.checked_at, place.counted = now, counted

    def _move(
        self,
        place: _Place,
        target: str | None,
        now: float,
        rule: ShiftRule,
        *,
        is_ready: bool,
        is_undone: bool,
        own_fail: bool,
    ) -> None:
        """One step because of failures, there or back."""
        if not is_ready:
            if is_undone:
                if place.moved:
                    place.held_until = now + rule.stable_s
                place.moved = max(0, place.moved - rule.step)
            elif target is not None and now >= place.held_until:
                place.moved = min(ALL, max(place.moved, place.spilled) + rule.step)
        elif place.moved and place.ready_since is not None:
            if is_undone:
                place.moved = max(0, place.moved - rule.step)
            elif own_fail and now - place.ready_since >= rule.stable_s:
                place.moved = min(ALL, place.moved + rule.step)
                place.ready_since = now
            elif now - place.ready_since >= rule.stable_s:
                place.moved = max(0, place.moved - rule.step)

    def _spill(self, place: _Place, target: str | None, now: float, rule: ShiftRule, *, is_harmed: bool) -> None:
        """One step because of load, there or back."""
        if rule.spill_at is None or place.load is None or target is None or is_harmed:
            place.spilled = max(0, place.spilled - rule.step)
            return
        there = self._places[target].load or 0.0
        (load_before, there_before), place.loads_before = place.loads_before, (place.load, there)
        if there > max(rule.spill_at, place.load / ROOM):
            if there >= FALLING * there_before:
                place.spilled = max(0, place.spilled - place.next_step(rule, is_more=False))
        elif place.load > rule.spill_at:
            if there < rule.spill_at and (not place.spilled or place.load >= FALLING * load_before):
                kept = ALL - max(place.moved, place.spilled)
                wanted = ALL - max(1, int(kept * rule.spill_at / place.load))
                place.spilled = max(place.spilled, min(wanted, place.spilled + place.next_step(rule, is_more=True)))
                place.spilled_at = now
        elif place.spilled:
            self._take_back(place, now, rule)

    @staticmethod
    def _take_back(place: _Place, now: float, rule: ShiftRule) -> None:
        """One step of what was spilled, if there is room for it: soon if plenty, else after a while."""
        assert rule.spill_at is not None and place.load is not None, "asked by the caller"  # noqa: PT018
        kept = ALL - max(place.moved, place.spilled)
        after = ALL - max(place.moved, place.spilled - rule.step, 0)
        filled = place.load * after / max(1, kept) / rule.spill_at
        if filled <= PLENTY or (filled <= ROOM and now - place.spilled_at >= rule.stable_s):
            place.spilled = max(0, place.spilled - rule.step)
            place.spilled_at = now

    def _deal(self) -> None:
        rest = ALL
        for place in self._places.values():
            place.arriving = rest
            passed = (rest * place.gone + ALL // 2) // ALL
            place.share, rest = rest - passed, passed
        if rest:
            usable = [place for place in self._places.values() if not place.seen.is_dark]
            best = max(usable, key=lambda each: each.seen.well, default=None)
            best = best or next(iter(self._places.values()), None)
            if best is not None:
                best.share += rest

    def _changes(self, now: float, rule: ShiftRule) -> Sequence[Change]:
        changes = []
        for name, place in self._places.items():
            state = _state(place, rule)
            place.why = _why(place, state, rule)
            if state is not place.state:
                if place.state is not None or state is not State.ACTIVE:
                    changes.append(Change(name, place.state, state, place.why))
                place.state, place.since = state, now
        return changes


def _see(place: _Place, seen: Seen, now: float, rule: ShiftRule) -> None:
    """Takes in how a place is now."""
    place.seen = seen
    if seen.total:
        place.there_at = now
    if seen.load is None or place.load is None:
        place.load = seen.load
    else:
        # A mean since about the last step: engines have somebody waiting for a moment all the time.
        weight = min(1.0, (now - place.looked_at) / rule.every_s)
        place.load += weight * (seen.load - place.load)
    place.looked_at = now
    if not seen.is_ready(rule):
        place.ready_since = None
    elif place.ready_since is None:
        place.ready_since = now
    if not seen.is_dark:
        if place.dark_since is not None and place.moved < ALL:
            place.blinked_at = now
        place.dark_since = None
        return
    if place.dark_since is None:
        place.dark_since = now
    is_restless = place.blinked_at is not None and now - place.blinked_at < rule.stable_s
    if is_restless or now - place.dark_since >= rule.offline_after_s:
        place.moved, place.spilled = ALL, 0


def _is_failing(
    name: str, before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]], rule: ShiftRule
) -> bool:
    """Whether too many of a place's tries failed between two counts."""
    counts = zip(before.get(name, (0, 0)), after[name], strict=True)
    tries, failures = (max(0, late - early) for early, late in counts)
    return failures >= MIN_FAILURES and ALL * failures > rule.max_errors * tries


def _state(place: _Place, rule: ShiftRule) -> State:
    if place.seen.is_dark:
        return State.OFFLINE
    if place.arriving and place.moved:
        return State.FAILOVER
    return State.ACTIVE if place.seen.is_ready(rule) and not place.spilled else State.DEGRADED


def _why(place: _Place, state: State, rule: ShiftRule) -> str:
    seen = place.seen
    if state is State.OFFLINE:
        return f"none of {seen.total} endpoints can be used" if seen.total else "it has no endpoints any more"
    if not seen.is_ready(rule):
        found = f"{seen.healthy} of {seen.total} endpoints are healthy, it needs {rule.min_healthy} %"
        return f"{found}; {place.gone} % of its requests go elsewhere" if place.arriving else found
    if state is State.FAILOVER:
        return f"it is ready again; {place.gone} % of its requests still go elsewhere"
    if state is State.DEGRADED:
        return f"it is full; {place.spilled} % of its requests spill over"
    return ""
