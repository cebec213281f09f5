"""Make before break: clusters that a new snapshot drops stay until nothing routes to them. Pure.

Sending "clusters first" alone is not enough: a removal that rides along with it breaks the routes that still point
there. So a change takes three steps: add and change clusters, repoint listeners and routes, and only when these are
confirmed remove clusters ("Eventual consistency considerations" in Envoy's xDS protocol page).

The confirmation alone is not enough either: Envoy routes a request by the route table that was in force when the
request began, but looks its cluster up only when the filters are done with it, which is after its body has come and
the picker has answered. A cluster that is gone by then is a 503 (`no_cluster`). So a removal follows the confirmation
only after a grace.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from control_plane.xds.kinds import CLUSTERS, ENDPOINTS
from control_plane.xds.snapshot import Resource, Snapshot

REMOVAL_WAIT_S = 10.0
"""How long a dropped cluster waits for listeners and routes to be confirmed. Envoy confirms in milliseconds; one that
is silent for so long is stuck, and must not pin old clusters for ever."""

REMOVAL_GRACE_S = 5.0
"""How long a dropped cluster stays after listeners and routes without it are confirmed, for requests that began under
the old routes. Far longer than the picker's default message timeout (250 ms), so what is left of it is for the body:
5 s take 16 MiB, the default limit, over 27 Mbit/s. A cluster that nobody asks for costs Envoy some kilobytes."""

MAX_KEPT = 4_096
"""Dropped clusters kept per stream, however often the policy changes meanwhile; beyond it the oldest go at once."""


@dataclass(frozen=True, slots=True)
class _Kept:
    # None: a reconnected delta client holds the cluster, but we never saw its content.
    cluster: Resource | None
    endpoints: Resource | None
    deadline: float
    unreferenced: bool = False


@dataclass(slots=True)
class Retention:
    """Clusters that are no longer in the snapshot but still with the client. Mutable: the table, by these methods."""

    _kept: dict[str, _Kept] = field(default_factory=dict)

    def keep(self, held: Iterable[str], old: Snapshot | None, new: Snapshot, now: float) -> None:
        """Keeps those of the `held` clusters that `new` lacks, with their content in `old`; frees those that it has."""
        clusters = new.resources(CLUSTERS)
        if old is not None and old.resources(CLUSTERS) is clusters:
            return  # most changes are of endpoints only, for a thousand Envoys at once
        for name in [name for name in self._kept if name in clusters]:
            del self._kept[name]
        for name in held:
            if name in clusters or name in self._kept:
                continue
            cluster = old.resources(CLUSTERS).get(name) if old else None
            endpoints = old.resources(ENDPOINTS).get(cluster.eds_name) if old and cluster else None
            self._kept[name] = _Kept(cluster, endpoints, now + REMOVAL_WAIT_S)
        while len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    def unreferenced(self, now: float) -> None:
        """No route leads to the kept clusters any more: each goes after the grace, counted from the first time."""
        for name, kept in self._kept.items():
            if not kept.unreferenced:
                self._kept[name] = replace(kept, deadline=now + REMOVAL_GRACE_S, unreferenced=True)

    def release_expired(self, now: float, *, referenced: bool) -> bool:
        """Lets go of what has waited long enough, if `referenced` also of what routes may still lead to; whether there
        was any."""
        expired = [name for name, kept in self._expiring(referenced=referenced) if kept.deadline <= now]
        for name in expired:
            del self._kept[name]
        return bool(expired)

    def added_to(self, type_url: str, resources: Mapping[str, Resource]) -> Mapping[str, Resource]:
        """`resources` of the snapshot together with what is kept of that type."""
        if not self._kept or type_url not in (CLUSTERS, ENDPOINTS):
            return resources
        kept = (entry.cluster if type_url == CLUSTERS else entry.endpoints for entry in self._kept.values())
        return {resource.name: resource for resource in kept if resource is not None} | dict(resources)

    def names(self) -> frozenset[str]:
        """The kept clusters."""
        return frozenset(self._kept)

    def deadline(self, *, referenced: bool) -> float | None:
        """When `release_expired` has something to do, None if never."""
        return min((kept.deadline for _, kept in self._expiring(referenced=referenced)), default=None)

    def _expiring(self, *, referenced: bool) -> Iterator[tuple[str, _Kept]]:
        return ((name, kept) for name, kept in self._kept.items() if referenced or kept.unreferenced)

    def __bool__(self) -> bool:
        return bool(self._kept)
