"""A client that behaves like Envoy 1.40, message by message, so that orders of events can be tried by the thousand.

What it copies from the real one: clusters wait for their endpoints before they are used, and the answer to clusters
is withheld until then; endpoints of a changed cluster are asked for again with old nonce and version in SotW and not at
all in delta; listeners are asked for after the first clusters; a response with a bad cluster applies the good ones and
is rejected; an endpoint or route response with a bad one is rejected as a whole; answers go out one by one, in order.

A resource whose version is `bad` is rejected. A route's version `to X` says that it points at cluster X.
"""

from collections import deque
from collections.abc import Iterable

from control_plane.xds.delta import DeltaDialect
from control_plane.xds.kinds import ASKED_BY_ALL, CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.past import Past
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from control_plane.xds.session import Session
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.sotw import SotwDialect

BAD = "bad"


class EnvoyModel:
    """The client, the wires in both directions, and the session at the other end."""

    def __init__(self, *, delta: bool) -> None:
        self.delta = delta
        self.now = 0.0
        self.held: dict[str, dict[str, str]] = {type_url: {} for type_url in ASKED_BY_ALL}
        """What is applied, by type and name."""
        self.in_use: set[str] = set()
        """Clusters that have warmed at least once."""
        self.warming: set[str] = set()
        self.started = False
        self.pushes = 0
        self._versions: dict[str, str] = {}
        self._known: dict[str, dict[str, str]] = {type_url: {} for type_url in ASKED_BY_ALL}
        self.past = Past()
        self.connect()

    # --- the wires

    def connect(self) -> None:
        """A new stream: what was on the wires is lost, and everything is asked for again."""
        self.session: Session[SotwRequest] | Session[DeltaRequest] = (
            Session(DeltaDialect(), self.past) if self.delta else Session(SotwDialect(), self.past)
        )
        self.requests: deque[SotwRequest | DeltaRequest] = deque()
        self.responses: deque[Push] = deque()
        self.unanswered: dict[str, str] = {}
        self._nonces: dict[str, str] = {}
        self._told: dict[str, set[str]] = {}
        self._withheld: tuple[str, str | None] | None = None
        for type_url in ASKED_BY_ALL:
            if type_url == CLUSTERS or (type_url == LISTENERS and self.started) or self._wanted(type_url):
                self._ask(type_url)

    def publish(self, snapshot: Snapshot) -> None:
        """The server has a new snapshot."""
        self.past.remember(snapshot)
        self._sent(self.session.on_snapshot(snapshot, self.now))

    def tick(self, seconds: float) -> None:
        """Time passes for the server."""
        self.now += seconds
        self._sent(self.session.on_tick(self.now))

    def to_server(self) -> None:
        """The server takes the oldest request."""
        request = self.requests.popleft()
        if request.nonce and self.unanswered.get(request.type_url) == request.nonce:
            del self.unanswered[request.type_url]
        self._sent(self.session.on_request(request, self.now))  # type: ignore[arg-type]

    def to_client(self) -> None:
        """The client takes the oldest response."""
        push = self.responses.popleft()
        self._nonces[push.type_url] = push.nonce
        if push.type_url == CLUSTERS:
            self._take_clusters(push)
        elif push.type_url == ENDPOINTS:
            self._take_endpoints(push)
        else:
            self._take_listeners_or_routes(push)

    def settle(self) -> None:
        """Delivers everything until both wires are empty."""
        for _ in range(1_000):
            if self.requests:
                self.to_server()
            elif self.responses:
                self.to_client()
            else:
                return
        raise AssertionError("the conversation does not end")

    def give_up_warming(self) -> None:
        """`initial_fetch_timeout`: clusters without endpoints are used as they are."""
        self._warmed(self.warming.copy())

    def targets(self) -> set[str]:
        """The clusters that routes in use lead to."""
        return {to.removeprefix("to ") for to in self.held[ROUTES].values()}

    def _sent(self, pushes: list[Push]) -> None:
        for push in pushes:
            assert push.type_url not in self.unanswered, f"two in flight: {push}"
            self.unanswered[push.type_url] = push.nonce
            self.pushes += 1
        self.responses.extend(pushes)

    # --- what the client makes of a response

    def _take_clusters(self, push: Push) -> None:
        good = {r.name: r.version for r in push.resources if r.version != BAD}
        clusters = self.held[CLUSTERS]
        sent = {resource.name for resource in push.resources}
        removed = push.removed if self.delta else tuple(clusters.keys() - sent)
        changed = {name for name, version in good.items() if clusters.get(name) != version}
        for name in removed:
            clusters.pop(name, None)
            self.held[ENDPOINTS].pop(name, None)
            self._known[ENDPOINTS].pop(name, None)
            self.in_use.discard(name)
            self.warming.discard(name)
        clusters.update(good)
        self.warming |= changed
        bad = [resource.name for resource in push.resources if resource.version == BAD]
        error = f"Error adding/updating cluster(s) {', '.join(bad)}: bad" if bad else None
        self._note(push, error)
        self._withheld = (push.nonce, error)
        self._ask_for_changed_names(ENDPOINTS, again=bool(changed))
        self._warmed(set())

    def _take_endpoints(self, push: Push) -> None:
        bad = [resource.name for resource in push.resources if resource.version == BAD]
        error = f"endpoints of {', '.join(bad)} are bad" if bad else None
        self._note(push, error)
        arrived = {r.name: r.version for r in push.resources if r.name in self._wanted(ENDPOINTS) and not bad}
        self.held[ENDPOINTS].update(arrived)
        self._answer(ENDPOINTS, push.nonce, error)
        self._warmed(set(arrived))

    def _warmed(self, names: set[str]) -> None:
        self.in_use |= self.warming & names
        self.warming -= names
        if self.warming:
            return
        answer, self._withheld = self._withheld, None
        if answer is not None:
            self._answer(CLUSTERS, *answer)
        if not self.started:
            self.started = True
            self._ask(LISTENERS)

    def _take_listeners_or_routes(self, push: Push) -> None:
        bad = [resource.name for resource in push.resources if resource.version == BAD]
        error = f"Error adding/updating listener(s) {', '.join(bad)}: bad" if bad else None
        self._note(push, error)
        held = self.held[push.type_url]
        good = {r.name: r.version for r in push.resources if r.version != BAD}
        if push.type_url == LISTENERS:
            sent = {resource.name for resource in push.resources}
            for name in push.removed if self.delta else tuple(held.keys() - sent):
                held.pop(name, None)
            held.update(good)
            self._answer(LISTENERS, push.nonce, error)
            self._ask_for_changed_names(ROUTES, again=False)
            for name in self.held[ROUTES].keys() - held.keys():
                del self.held[ROUTES][name]
                self._known[ROUTES].pop(name, None)
            return
        if not bad:
            held.update({name: version for name, version in good.items() if name in self._wanted(ROUTES)})
        self._answer(ROUTES, push.nonce, error)

    # --- what it says

    def _wanted(self, type_url: str) -> set[str]:
        parents = {ENDPOINTS: CLUSTERS, ROUTES: LISTENERS}
        return set(self.held[parents[type_url]]) if type_url in parents else set()

    def _note(self, push: Push, error: str | None) -> None:
        """What a reconnect will say is held, at once and not only when the answer goes out; not what was rejected."""
        if error is None:
            self._versions[push.type_url] = push.version
            known = self._known[push.type_url]
            known.update({resource.name: resource.version for resource in push.resources})
            for name in push.removed:
                known.pop(name, None)

    def _names(self, type_url: str) -> tuple[str, ...]:
        return () if type_url in (CLUSTERS, LISTENERS) else tuple(sorted(self._wanted(type_url), reverse=True))

    def _ask(self, type_url: str) -> None:
        names = self._names(type_url)
        self._told[type_url] = set(names)
        if self.delta:
            wanted = names or self._known[type_url]
            known = {name: v for name, v in self._known[type_url].items() if name in wanted}
            self._say(DeltaRequest(type_url=type_url, subscribe=names, initial_versions=known))
        else:
            self._say(self._sotw(type_url, self._versions.get(type_url, ""), None))

    def _ask_for_changed_names(self, type_url: str, *, again: bool) -> None:
        wanted, told = self._wanted(type_url), self._told.get(type_url)
        if told is None:
            if wanted:
                self._ask(type_url)
            return
        self._told[type_url] = wanted
        if not self.delta and (again or wanted != told):
            self._say(self._sotw(type_url, self._versions.get(type_url, ""), None))
        elif self.delta and wanted != told:
            more, less = tuple(sorted(wanted - told)), tuple(sorted(told - wanted))
            for name in less:
                self._known[type_url].pop(name, None)
            self._say(DeltaRequest(type_url=type_url, subscribe=more, unsubscribe=less))

    def _answer(self, type_url: str, nonce: str, error: str | None) -> None:
        if self.delta:
            self._say(DeltaRequest(type_url=type_url, nonce=nonce, error=error))
            return
        self._say(self._sotw(type_url, self._versions.get(type_url, ""), error))

    def _sotw(self, type_url: str, version: str, error: str | None) -> SotwRequest:
        nonce = self._nonces.get(type_url, "")
        return SotwRequest(type_url=type_url, version=version, nonce=nonce, names=self._names(type_url), error=error)

    def _say(self, request: SotwRequest | DeltaRequest) -> None:
        self.requests.append(request)


def routes_without_cluster(model: EnvoyModel) -> Iterable[str]:
    """Routes in use that point at a cluster that is not: requests to them get a 503."""
    return (name for name, to in model.held[ROUTES].items() if to.removeprefix("to ") not in model.in_use)
