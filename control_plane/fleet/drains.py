"""Drains: endpoints that get nothing new, until what runs there has ended and they are taken out. Pure.

    drains = Drains()
    drains.begin([("chat", "10.0.0.1:8000")], now, deadline)     # DRAINING: no new picks, Envoy is told, streams go on
    drains.look(now, listed, running, is_confirmed)              # REMOVED when nothing runs there, or at the deadline;
                                                                 # DRAINED when nothing does and Envoys have heard
    drains.end([("chat", "10.0.0.1:8000")])                      # back

An operator's drain holds until an operator ends it, over restarts of kvpilot and of the pod. It is forgotten when
discovery has not listed the endpoint for `FORGET_S`: the next pod of that address is another one. A pod's own
announcement makes it DRAINING for as long as the pod says so; it is never taken out for that, since it leaves by
itself. `now` and deadlines are Unix time, for they outlive the process.

Who is REMOVED is taken out of Envoy's assignments rather than kept there as DRAINING. What runs goes on either way; but
Envoy closes its idle connections, checks it no longer, does not count it as lost capacity (which would move load to
the next priority), and begins with slow start when it comes back.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from control_plane.fleet.model import Endpoint, Fleet, Health

Key = tuple[str, str]
"""Pool and address."""

FORGET_S = 600.0
"""An address that is not listed for so long is free for somebody else. A host that is rebooted is away for minutes, and
must not come back by itself meanwhile."""

SETTLE_S = 0.5
"""Nobody is taken out sooner: what Envoy had sent there by its own choice before it was told must first be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """An operator's drain of one endpoint. `unlisted_at` is when discovery was first seen without it."""

    pool: str
    address: str
    since: float
    deadline: float
    stage: Health = Health.DRAINING
    unlisted_at: float | None = None

    @property
    def key(self) -> Key:
        """Pool and address."""
        return self.pool, self.address


class Drains:
    """Mutable: the operator's drains by endpoint, and the pods' own announcements by address; its methods write."""

    def __init__(self, drains: Iterable[Drain] = ()) -> None:
        self._drains = {drain.key: drain for drain in drains}
        self._announced: dict[str, str] = {}

    def __iter__(self) -> Iterator[Drain]:
        return iter(tuple(self._drains.values()))

    def __len__(self) -> int:
        return len(self._drains)

    def get(self, key: Key) -> Drain | None:
        """The drain of an endpoint."""
        return self._drains.get(key)

    @property
    def announced(self) -> Mapping[str, str]:
        """Addresses of pods that want nothing new, with the reason in a word."""
        return dict(self._announced)

    def begin(self, keys: Iterable[Key], now: float, deadline: float) -> frozenset[str]:
        """Drains these; one that is being drained gets the new deadline. Gives the pools that are others now."""
        changed = set()
        for key in keys:
            known = self._drains.get(key)
            if known is None:
                self._drains[key] = Drain(pool=key[0], address=key[1], since=now, deadline=deadline)
                changed.add(key[0])
            elif known.stage is not Health.DRAINED:
                self._drains[key] = replace(known, deadline=deadline)
        return frozenset(changed)

    def end(self, keys: Iterable[Key]) -> frozenset[str]:
        """They may be used again. Gives the pools that are others now."""
        return frozenset(key[0] for key in keys if self._drains.pop(key, None) is not None)

    def announce(self, address: str, reason: str) -> bool:
        """A pod says that it wants nothing new, in a word why; or, with none, that it does. Whether that is new."""
        before = self._announced.get(address, "")
        if reason:
            self._announced[address] = reason
        else:
            self._announced.pop(address, None)
        return bool(before) != bool(reason)

    def look(
        self,
        now: float,
        listed: Collection[Key],
        running: Callable[[Key], int | None],
        is_confirmed: Callable[[Key], bool],
    ) -> frozenset[str]:
        """Takes out whose time has come, and forgets whom nobody lists. Gives the pools that are others now.

        `running` says how many requests run at an endpoint, None where that is not known: then it is the deadline.
        `is_confirmed` says whether every Envoy has answered for what its pool has now.
        """
        changed = set()
        for key, drain in list(self._drains.items()):
            drain = self._seen(drain, now, is_listed=key in listed)
            if drain.unlisted_at is not None and now - drain.unlisted_at >= FORGET_S:
                del self._drains[key]
                continue
            stage = _next(drain, now, running, is_confirmed)
            if stage is not drain.stage:
                drain = replace(drain, stage=stage)
                changed.add(drain.pool)
            self._drains[key] = drain
        addresses = {address for _, address in listed}
        self._announced = {address: why for address, why in self._announced.items() if address in addresses}
        return frozenset(changed)

    def shown(self, fleet: Fleet) -> Fleet:
        """`fleet` with the endpoints that drain, or are drained, in that state."""
        if not self._drains and not self._announced:
            return fleet
        pools = {pool for pool, _ in self._drains}
        pools |= {
            name
            for name, endpoints in fleet.pools.items()
            if any(endpoint.address in self._announced for endpoint in endpoints)
        }
        return fleet.with_changed(pools, self._shown)

    def _shown(self, endpoint: Endpoint) -> Endpoint:
        drain = self._drains.get((endpoint.pool, endpoint.address))
        if drain is not None:
            return replace(endpoint, health=drain.stage)
        return replace(endpoint, health=Health.DRAINING) if endpoint.address in self._announced else endpoint

    @staticmethod
    def _seen(drain: Drain, now: float, *, is_listed: bool) -> Drain:
        if is_listed == (drain.unlisted_at is None):
            return drain
        return replace(drain, unlisted_at=None if is_listed else now)


def _next(
    drain: Drain, now: float, running: Callable[[Key], int | None], is_confirmed: Callable[[Key], bool]
) -> Health:
    if drain.stage is Health.DRAINING:
        # `since` may lie in the future after the clock was set back; then it is the work alone.
        is_settled = not 0 <= now - drain.since < SETTLE_S
        is_due = now >= drain.deadline or (is_settled and running(drain.key) == 0)
        return Health.REMOVED if is_due else Health.DRAINING
    if drain.stage is Health.REMOVED and is_confirmed(drain.key) and running(drain.key) == 0:
        return Health.DRAINED
    return drain.stage


class DrainRefusedError(Exception):
    """What was asked for cannot be done; the text says why."""


def targets(words: Iterable[str], known: Collection[Key], noun: str) -> tuple[Key, ...]:
    """The endpoints that `POOL/ADDRESS` or `POOL` mean, in the order of `known`; `*` stands for any text in either.

    Raises DrainRefusedError for a word that means none of them; `noun` says what they are.
    """
    found: set[Key] = set()
    everybody = frozenset(known)
    for word in words:
        pool, slash, address = word.partition("/")
        meant = {(pool, address)} & everybody  # thousands of endpoints may be named one by one
        meant = meant or {key for key in known if _fits(pool, key[0]) and (not slash or _fits(address, key[1]))}
        if not meant:
            raise DrainRefusedError(f"{word!r} is no {noun}")
        found |= meant
    return tuple(key for key in known if key in found)


def _fits(pattern: str, text: str) -> bool:
    """Shell patterns with `*` alone: `[` stands in IPv6 addresses."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    if len(text) < len(pattern) - len(others) or not text.startswith(first) or not text.endswith(others[-1]):
        return False
    at, end = len(first), len(text) - len(others[-1])
    for part in others[:-1]:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def emptied(fleet: Fleet, keys: Collection[Key], is_serving: Callable[[Key], bool]) -> tuple[str, ...]:
    """Pools that would have nobody left to serve requests without `keys`, and have somebody now."""
    found = []
    for pool, endpoints in fleet.pools.items():
        nameable = {(pool, e.address) for e in endpoints if e.health in (Health.HEALTHY, Health.DEGRADED)}
        # Where nobody is sound all are used.
        serving = {key for key in nameable if is_serving(key)} or nameable
        if serving and serving <= set(keys):
            found.append(pool)
    return tuple(found)


def elsewhere(drains: Drains, listed: Iterable[Key], keys: Iterable[Key]) -> tuple[Key, ...]:
    """Who of the `listed` serves all the same at an address of `keys`: in another pool, where nobody drains it."""
    addresses = {address for _, address in keys}
    return tuple(key for key in listed if key[1] in addresses and drains.get(key) is None)


def as_json(drains: Drains) -> list[dict[str, Any]]:
    """What outlives a restart."""
    return [
        {
            "pool": drain.pool,
            "address": drain.address,
            "since": drain.since,
            "deadline": drain.deadline,
            "stage": drain.stage.value,
        }
        for drain in drains
    ]


def restored(value: Any) -> Drains:
    """What `as_json` gave. Raises KeyError, TypeError and ValueError for what it did not give."""
    return Drains(
        Drain(
            pool=str(each["pool"]),
            address=str(each["address"]),
            since=float(each["since"]),
            deadline=float(each["deadline"]),
            stage=Health(each["stage"]),
        )
        for each in value or ()
    )
