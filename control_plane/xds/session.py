"""One ADS stream: which responses a client is owed, in which order, and what it has confirmed. Pure.

    session = Session(SotwDialect())
    session.on_snapshot(snapshot, now)                                  # nobody has asked yet: []
    session.on_request(SotwRequest(type_url=kinds.CLUSTERS), now)       # [Push(clusters, nonce "1")]
    session.on_request(SotwRequest(type_url=kinds.CLUSTERS, version=V, nonce="1"), now)     # an ACK: []

The rules, each with its test in `tests/unit/control_plane/xds/test_session.py`:

- at most one response in flight per type; what changes meanwhile goes out after the answer, newest content only;
- types do not wait for each other's answers, with one exception: listeners and routes wait for clusters to be
  confirmed (Envoy confirms when the new clusters have warmed), for a bounded time; a new client, which has none of
  either, need not wait;
- endpoints go out right behind the clusters that need them, even unasked and unchanged: Envoy confirms clusters only
  when their endpoints have arrived, and in delta it does not ask for those of a changed cluster;
- a rejected resource is not sent again until its content changes, and holds nothing else up;
- dropped clusters stay until listeners and routes are confirmed, and a grace longer (`transition`);
- without a snapshot nothing is answered: an empty answer would wipe the client.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, FULL_STATE, LISTENERS, ROUTES, push_rank
from control_plane.xds.lane import Answer, Content, Dialect, InFlight, Lane, View, pushed_version
from control_plane.xds.past import Past
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from control_plane.xds.snapshot import Resource, Snapshot, content_version
from control_plane.xds.status import LaneStatus, status_of
from control_plane.xds.transition import Retention

REPOINT_WAIT_S = 10.0
"""How long listeners and routes wait for clusters to be confirmed. Warming takes milliseconds; a cluster whose health
checks hang must not hold up every other change, and Envoy itself gives up on one after 15 s."""

MAX_TYPES = 32
"""Types per stream: Envoy knows about ten; more is a client that makes them up."""

MAX_NAMES = 100_000
"""Names in one subscription: ten times the largest fleet that we plan for."""

R = TypeVar("R", bound=SotwRequest | DeltaRequest)


@dataclass(frozen=True, slots=True)
class _Gate:
    """What must be confirmed before another type may go out, or may tell removals."""

    repoint_after: str = ""
    remove_after: str = ""


_GATES: Mapping[str, _Gate] = {
    ENDPOINTS: _Gate(remove_after=CLUSTERS),
    LISTENERS: _Gate(repoint_after=CLUSTERS),
    ROUTES: _Gate(repoint_after=CLUSTERS, remove_after=LISTENERS),
}
_OPEN = _Gate()


class Session(Generic[R]):
    """The state of one stream. Mutable: all of it, by these methods only; `now` is seconds of one monotonic clock."""

    def __init__(self, dialect: Dialect[R], past: Past | None = None) -> None:
        """`past` is shared by all streams of a server: it knows what was served before."""
        self.dialect = dialect
        self._past = past or Past()
        self._target: Snapshot | None = None
        self._claimed: Snapshot | None = None
        self._lanes: dict[str, Lane] = {}
        self._retention = Retention()
        # Endpoints of clusters that were sent before the client asked for any endpoints on this stream; what it wants
        # of them is forced then, and the rest when it subscribes to it.
        self._forced_early: set[str] = set()
        self._sent = 0

    def on_request(self, request: R, now: float) -> list[Push]:
        """Takes a request; returns what is to be written, in order.

        Raises `RefusedRequestError` for a request that must end the stream.
        """
        if not request.type_url:
            raise RefusedRequestError("INVALID_ARGUMENT", "a discovery request over ADS must name its type_url")
        first = request.type_url not in self._lanes
        lane = self._open(request.type_url) if first else self._lanes[request.type_url]
        self.dialect.receive(lane, request, first=first)
        if len(lane.subscription.names) > MAX_NAMES:
            raise RefusedRequestError("RESOURCE_EXHAUSTED", f"more than {MAX_NAMES} names subscribed")
        if first and request.type_url == CLUSTERS:
            self._recall(lane)
            if self._target:
                self._retain(self._claimed, self._target, now)
        if first and request.type_url == ENDPOINTS:
            lane.forced = {name for name in self._forced_early if lane.subscription.wants(name)}
            self._forced_early = set()
        return self._flush(now)

    def on_snapshot(self, snapshot: Snapshot, now: float) -> list[Push]:
        """Takes what the client is to hold from now on; returns what is to be written, in order."""
        before, self._target = self._target, snapshot
        self._retain(before or self._claimed, snapshot, now)
        for type_url, lane in self._lanes.items():
            if before is None or before.versions.get(type_url) != snapshot.versions.get(type_url):
                lane.dirty = lane.refreshed = True
        return self._flush(now)

    def on_tick(self, now: float) -> list[Push]:
        """Lets waits end that have lasted too long; returns what is to be written, in order."""
        return self._flush(now)

    def deadline(self) -> float | None:
        """When `on_tick` has something to do, if nothing else happens before; None if never."""
        waits = [lane.waiting_since + REPOINT_WAIT_S for lane in self._lanes.values() if lane.waiting_since is not None]
        removal = self._retention.deadline(referenced=not self._refused_repoint())
        return min(waits if removal is None else [*waits, removal], default=None)

    def take_answers(self) -> list[tuple[str, Answer]]:
        """What the client has said of resources since this was last asked, by type URL: in an answer to a response, or
        by what it brought along from an earlier stream."""
        taken = [(lane.type_url, lane.answer) for lane in self._lanes.values() if lane.answer is not None]
        for type_url, _ in taken:
            self._lanes[type_url].answer = None
        return taken

    def status(self) -> dict[str, LaneStatus]:
        """How far the client is with each type that it has asked for, by type URL in push order."""
        return {type_url: status_of(lane) for type_url, lane in self._lanes.items()}

    def _open(self, type_url: str) -> Lane:
        if len(self._lanes) >= MAX_TYPES:
            raise RefusedRequestError("RESOURCE_EXHAUSTED", f"more than {MAX_TYPES} resource types on one stream")
        lane = Lane(type_url)
        self._lanes[type_url] = lane
        self._lanes = dict(sorted(self._lanes.items(), key=lambda item: push_rank(item[0])))
        return lane

    def _flush(self, now: float) -> list[Push]:
        if self._target is None:
            return []
        pushes = self._due(self._target, now)
        if self._release(self._target, now):
            pushes += self._due(self._target, now)
        return pushes

    def _due(self, target: Snapshot, now: float) -> list[Push]:
        pushes = []
        for lane in self._lanes.values():
            if lane.in_flight is not None or not (lane.dirty or lane.withheld) or self._must_wait(lane, now):
                continue
            lane.dirty, lane.waiting_since = False, None
            view = self._view(lane, target)
            is_clear = lane.unpark_changed(view.wanted)
            content = self.dialect.compose(lane, view)
            if content is not None:
                pushes.append(self._emit(lane, view, content))
            elif is_clear:
                lane.rejection = None
        return pushes

    def _must_wait(self, lane: Lane, now: float) -> bool:
        before = self._lanes.get(_GATES.get(lane.type_url, _OPEN).repoint_after)
        if before is None or before.in_flight is None or (lane.is_new() and not before.is_answered()):
            return False
        if lane.waiting_since is None:
            lane.waiting_since = now
        return now - lane.waiting_since < REPOINT_WAIT_S

    def _view(self, lane: Lane, target: Snapshot) -> View:
        in_snapshot = target.resources(lane.type_url)
        everything = self._retention.added_to(lane.type_url, in_snapshot)
        wanted = everything
        if not lane.subscription.wildcard:
            wanted = {name: everything[name] for name in sorted(lane.subscription.names) if name in everything}
        counted = wanted
        if lane.type_url not in FULL_STATE and len(everything) != len(in_snapshot):
            counted = {name: resource for name, resource in wanted.items() if name in in_snapshot}
        is_whole = len(counted) == len(in_snapshot) and (counted is not wanted or len(everything) == len(in_snapshot))
        known = target.versions.get(lane.type_url) if is_whole else None
        return View(
            everything=everything,
            wanted=wanted,
            counted=counted,
            version=known or content_version(counted),
            kept=self._retention.names() if lane.type_url == CLUSTERS else frozenset(),
            served=lane.type_url in target.types,
            removals=self._may_remove(lane.type_url),
        )

    def _may_remove(self, type_url: str) -> bool:
        parent = self._lanes.get(_GATES.get(type_url, _OPEN).remove_after)
        if parent is None:
            return True
        kept = type_url == ENDPOINTS and bool(self._retention)
        return not (kept or parent.in_flight or parent.dirty)

    def _emit(self, lane: Lane, view: View, content: Content) -> Push:
        version = pushed_version(lane, view, content.resources, content.later)
        if lane.type_url == CLUSTERS:
            self._force_endpoints(lane, content.resources)
            if content.complete and self._retention:
                self._remember(version, view)
        carried = {resource.name: resource.version for resource in content.resources}
        lane.held = carried.copy() if content.complete else lane.held | carried
        for name in content.removed:
            lane.held.pop(name, None)
        for name in carried:
            lane.parked.pop(name, None)
        self._sent += 1
        lane.nonce = str(self._sent)
        lane.in_flight = InFlight(lane.nonce, version, carried, content.complete, content.removed)
        lane.sent, lane.clusters_changed = version, False
        lane.pushes += 1
        return Push(
            type_url=lane.type_url,
            nonce=lane.nonce,
            version=version,
            resources=content.resources,
            removed=content.removed,
        )

    def _remember(self, version: str, clusters: View) -> None:
        """Notes what the client holds while clusters are kept for it: no snapshot has this version."""
        assert self._target is not None
        endpoints = self._retention.added_to(ENDPOINTS, self._target.resources(ENDPOINTS))
        self._past.remember(
            Snapshot({CLUSTERS: clusters.everything, ENDPOINTS: endpoints}, {CLUSTERS: version}),
        )

    def _force_endpoints(self, clusters: Lane, pushed: tuple[Resource, ...]) -> None:
        """Has the endpoints sent of each EDS cluster that is new or changed to the client: it warms until they come."""
        names = {r.eds_name for r in pushed if r.eds_name and clusters.held.get(r.name) != r.version}
        endpoints = self._lanes.get(ENDPOINTS)
        if endpoints is None:
            self._forced_early |= names
        elif names:
            endpoints.forced |= names
            endpoints.dirty = endpoints.clusters_changed = True

    def _recall(self, clusters: Lane) -> None:
        """What a reconnected client holds, if it names a version that is remembered."""
        self._claimed = self._past.of_version(clusters.claim) if clusters.claim else None
        if self._claimed is not None:
            held = self._claimed.resources(CLUSTERS).values()
            clusters.held = {r.name: r.version for r in held if clusters.subscription.wants(r.name)}

    def _retain(self, before: Snapshot | None, target: Snapshot, now: float) -> None:
        clusters = self._lanes.get(CLUSTERS)
        if clusters is None:
            return
        # What Envoy named as bad never went into service; keeping it would only have it rejected again.
        bad = clusters.rejection.resources if clusters.rejection else ()
        self._retention.keep((name for name in clusters.held if name not in bad), before, target, now)

    def _release(self, target: Snapshot, now: float) -> bool:
        """Lets go of dropped clusters whose grace is over, or that have waited too long for it to begin."""
        if not self._retention:
            return False
        if all(self._is_confirmed(type_url, target) for type_url in (LISTENERS, ROUTES)):
            self._retention.unreferenced(now)
        if not self._retention.release_expired(now, referenced=not self._refused_repoint()):
            return False
        for type_url in (CLUSTERS, ENDPOINTS):
            if type_url in self._lanes:
                self._lanes[type_url].dirty = True
        return True

    def _is_confirmed(self, type_url: str, target: Snapshot) -> bool:
        """Whether the client has confirmed every resource of the type; those that it never asked for, too."""
        resources = target.resources(type_url)
        lane = self._lanes.get(type_url)
        if lane is None:
            return not resources
        if lane.in_flight or lane.dirty or lane.rejection:
            return False
        return all(lane.held.get(name) == resource.version for name, resource in resources.items())

    def _refused_repoint(self) -> bool:
        """Whether listeners or routes were rejected: Envoy has said that it stays on the old ones, so their clusters
        stay, too, for as long as that is so; this is no wait for an answer."""
        lanes = (self._lanes.get(LISTENERS), self._lanes.get(ROUTES))
        return any(lane is not None and lane.rejection is not None for lane in lanes)
