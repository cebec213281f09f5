"""All shifts of a fleet: each pool as Envoys at each place use it, and what the fleet shows of that. Pure.

    shifts = Shifts()
    changed, news = shifts.look(now, outlooks)
    shifts.shown(fleet)                                     # `Endpoint.shares` says it

A pool and a place of Envoys that are not looked at any more are forgotten: when they are back, they begin from what is
seen then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from control_plane.fleet.model import Endpoint, Fleet, Share
from control_plane.fleet.seen import Change, Seen, ShiftRule
from control_plane.fleet.zones import Shift
from control_plane.policy.places import path_of

Locality = tuple[str, str]
"""Region and zone."""

Key = tuple[str, Locality]
"""A pool, and where the Envoys are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A pool as Envoys at `envoys` see it: each locality's place, and what is seen of the places, nearest first."""

    pool: str
    envoys: Locality
    rule: ShiftRule
    places: Mapping[Locality, str]
    seen: Mapping[str, Seen]


@dataclass(frozen=True, slots=True)
class News:
    """A place of a pool that is otherwise than before, as Envoys at `envoys` see it."""

    pool: str
    envoys: Locality
    change: Change


class Shifts:
    """Mutable: the shifts, and what is shown of them; `look` writes."""

    def __init__(self) -> None:
        self._shifts: dict[Key, Shift] = {}
        self._shown: dict[str, dict[Locality, tuple[Share, ...]]] = {}

    def look(self, now: float, outlooks: Iterable[Outlook]) -> tuple[frozenset[str], Sequence[News]]:
        """Takes what is seen of all pools; gives the pools that are shown otherwise now, and what is new."""
        shifts: dict[Key, Shift] = {}
        shown: dict[str, dict[Locality, tuple[Share, ...]]] = {}
        news: list[News] = []
        for outlook in outlooks:
            key = (outlook.pool, outlook.envoys)
            shift = shifts[key] = self._shifts.get(key) or Shift()
            news += [News(*key, change) for change in shift.look(now, outlook.seen, outlook.rule)]
            if not shift.is_plain:
                of_pool = shown.setdefault(outlook.pool, {})
                for locality, share in _shares(outlook, shift).items():
                    of_pool[locality] = (*of_pool.get(locality, ()), share)
        changed = frozenset(
            pool for pool in shown.keys() | self._shown.keys() if shown.get(pool) != self._shown.get(pool)
        )
        self._shifts, self._shown = shifts, shown
        return changed, news

    def shown(self, fleet: Fleet) -> Fleet:
        """`fleet` with the shares of its endpoints."""
        if not self._shown:
            return fleet
        return fleet.with_changed(self._shown, lambda endpoint: _shared(endpoint, self._shown[endpoint.pool]))

    @property
    def is_idle(self) -> bool:
        """Whether nothing is known, and nothing shown."""
        return not self._shifts and not self._shown

    def rows(self, now: float) -> list[dict[str, Any]]:
        """JSON values: each place of each pool, with `from`, where the Envoys are that see it so."""
        return [
            {"pool": pool, "from": path_of(*envoys), **row}
            for (pool, envoys), shift in sorted(self._shifts.items(), key=lambda item: item[0])
            for row in shift.rows(now)
        ]


def _shares(outlook: Outlook, shift: Shift) -> dict[Locality, Share]:
    shares = shift.shares
    return {
        locality: Share(*outlook.envoys, shares[place], shift.why(place))
        for locality, place in outlook.places.items()
        if place in shares
    }


def _shared(endpoint: Endpoint, shares: Mapping[Locality, tuple[Share, ...]]) -> Endpoint:
    found = shares.get((endpoint.region, endpoint.zone), ())
    return replace(endpoint, shares=found) if found else endpoint
