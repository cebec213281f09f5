"""Any client, any order: subscribe, unsubscribe, accept, reject, change of the snapshot, time, reconnect.

Other than in `test_orders` the client is not Envoy but one that subscribes to whatever it likes. Always: at most one
response per type is unanswered, and what was rejected is not sent again. At rest: the client's view is the snapshot
restricted to its subscription.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from control_plane.xds.delta import DeltaDialect
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, FULL_STATE, LISTENERS
from control_plane.xds.past import Past
from control_plane.xds.requests import DeltaRequest, Push, SotwRequest
from control_plane.xds.session import Session
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.sotw import SotwDialect
from control_plane.xds.subscription import WILDCARD
from control_plane.xds.transition import REMOVAL_GRACE_S, REMOVAL_WAIT_S
from tests.unit.control_plane.xds.dialogue import fleet

NAMES = st.sampled_from(("a", "b", "c"))
KINDS = st.sampled_from((CLUSTERS, ENDPOINTS, LISTENERS))
VERSIONS = st.dictionaries(NAMES, st.sampled_from(("1", "2", "3")))


class Client:
    """One type at the client. Mutable: all of it, by the machine."""

    def __init__(self, type_url: str) -> None:
        self.type_url = type_url
        self.wanted: set[str] = set()
        self.has_named = False
        self.view: dict[str, str] = {}
        self.version = ""
        self.nonce = ""
        self.waiting: deque[Push] = deque()
        self.rejected: dict[str, str] = {}
        """What was rejected, name to version, until something else came."""
        self.last_rejected: Mapping[str, str] | None = None
        self.refused = False
        """Whether it rejected the last response."""
        self.asked: set[str] = set()
        """Names asked for since the last response: these may come, rejected or not."""

    def wants(self, name: str) -> bool:
        """Whether its subscription covers the name."""
        return WILDCARD in self.wanted or name in self.wanted or self.is_legacy_wildcard()

    def is_legacy_wildcard(self) -> bool:
        """Whether it wants everything because it has never named anything."""
        return self.type_url in FULL_STATE and not self.has_named

    def forget_unwanted(self) -> None:
        """What it no longer wants it drops."""
        self.view = {name: version for name, version in self.view.items() if self.wants(name)}
        self.rejected = {name: version for name, version in self.rejected.items() if self.wants(name)}


class AnyClient(RuleBasedStateMachine):
    """Machine and client; `delta` is set by the two machines below."""

    delta = False

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.past = Past()
        self.snapshot: Snapshot | None = None
        self.clients = {type_url: Client(type_url) for type_url in (CLUSTERS, ENDPOINTS, LISTENERS)}

    @initialize()
    def begin(self) -> None:
        """The first stream."""
        self._connect()

    # --- what may happen

    @rule(clusters=VERSIONS, endpoints=VERSIONS, listeners=VERSIONS)
    def change(self, clusters: dict[str, str], endpoints: dict[str, str], listeners: dict[str, str]) -> None:
        """The server has another snapshot."""
        self.snapshot = fleet(clusters, endpoints, listeners)
        self.past.remember(self.snapshot)
        for client in self.clients.values():
            self._allow_changed(client)
        self._hear(self.session.on_snapshot(self.snapshot, self.now))

    @rule(kind=KINDS, names=st.sets(st.one_of(NAMES, st.just(WILDCARD)), min_size=1))
    def subscribe(self, kind: str, names: set[str]) -> None:
        """Wants more, or asks again for what it has."""
        client = self.clients[kind]
        if self.delta and client.is_legacy_wildcard():
            client.wanted.add(WILDCARD)  # in delta a name adds to the historical wildcard
        client.has_named = True
        client.wanted |= names
        client.forget_unwanted()
        client.asked |= names
        if self.delta:
            self._say(DeltaRequest(type_url=kind, subscribe=tuple(sorted(names))))
        else:
            self._say_sotw(client)

    @rule(kind=KINDS, name=st.one_of(NAMES, st.just(WILDCARD)))
    def unsubscribe(self, kind: str, name: str) -> None:
        """Wants less."""
        client = self.clients[kind]
        if name not in client.wanted:
            return
        client.wanted.discard(name)
        client.forget_unwanted()
        client.asked.add(name)  # under a wildcard a name that is given up is sent again
        if self.delta:
            client.view.pop(name, None)
            self._say(DeltaRequest(type_url=kind, unsubscribe=(name,)))
        else:
            self._say_sotw(client)

    @precondition(lambda self: any(client.waiting for client in self.clients.values()))
    @rule(data=st.data(), is_good=st.booleans(), is_named=st.booleans())
    def take(self, data: st.DataObject, is_good: bool, is_named: bool) -> None:
        """Takes a response and accepts or rejects it, naming what is bad or not."""
        client = data.draw(st.sampled_from([client for client in self.clients.values() if client.waiting]))
        if is_good or not client.waiting[0].resources:
            self._accept(client)
            return
        bad = data.draw(st.sampled_from(client.waiting[0].resources)).name
        self._reject(client, bad if is_named else "")

    @rule(seconds=st.sampled_from((0.5, REMOVAL_GRACE_S, REMOVAL_WAIT_S)))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        self._hear(self.session.on_tick(self.now))

    @rule()
    def reconnect(self) -> None:
        """The stream breaks, with all that was under way."""
        for client in self.clients.values():
            client.waiting.clear()
            client.nonce, client.rejected, client.last_rejected = "", {}, None
            client.asked.clear()
        self._connect()
        if self.snapshot is not None:
            self._hear(self.session.on_snapshot(self.snapshot, self.now))

    # --- what must hold

    @invariant()
    def one_in_flight(self) -> None:
        """At most one unanswered response per type."""
        assert all(len(client.waiting) <= 1 for client in self.clients.values())

    def teardown(self) -> None:
        """At rest the client has what it wants of what there is, except what it rejected."""
        for _ in range(4):
            for _ in range(50):
                waiting = [client for client in self.clients.values() if client.waiting]
                for client in waiting:
                    self._accept(client)
                if not waiting:
                    break
            else:
                raise AssertionError("the conversation does not end")
            self.wait(REMOVAL_WAIT_S)
        if self.snapshot is None:
            assert not any(client.view for client in self.clients.values())
            return
        for client in self.clients.values():
            if client.refused and not self.delta and client.type_url in FULL_STATE:
                continue  # it rejected everything, and stays with what it last accepted
            there = {name: v for name, v in self._served(client.type_url).items() if client.wants(name)}
            # In state-of-the-world only clusters and listeners can be deleted.
            can_delete = self.delta or client.type_url in FULL_STATE
            view = {name: v for name, v in client.view.items() if can_delete or name in there}
            for name in [name for name, version in client.rejected.items() if there.get(name) == version]:
                del there[name]
                view.pop(name, None)
            if client.type_url == CLUSTERS and self.clients[LISTENERS].rejected:
                # Rejected listeners leave the old ones in use, and the clusters that those lead to.
                view = {name: version for name, version in view.items() if name in there}
            assert view == there, f"{client.type_url}: {view} is not {there}"

    # --- how it is done

    def _connect(self) -> None:
        self.session: Session[SotwRequest] | Session[DeltaRequest] = (
            Session(DeltaDialect(), self.past) if self.delta else Session(SotwDialect(), self.past)
        )
        for client in self.clients.values():
            if self.delta:
                names = tuple(sorted(client.wanted))
                self._say(DeltaRequest(type_url=client.type_url, subscribe=names, initial_versions=dict(client.view)))
            else:
                # An honest client: it names a version only if it has all that it names.
                if not client.wanted - {WILDCARD} <= client.view.keys():
                    client.version = ""
                self._say_sotw(client)

    def _allow_changed(self, client: Client) -> None:
        """What has been rejected may come again when the server has had something else in between."""
        now = self._served(client.type_url)
        client.asked |= {name for name, version in client.rejected.items() if now.get(name) != version}
        if client.last_rejected is not None and client.last_rejected != now:
            client.last_rejected = None

    def _served(self, type_url: str) -> dict[str, str]:
        resources = self.snapshot.resources(type_url) if self.snapshot else {}
        return {name: resource.version for name, resource in resources.items()}

    def _accept(self, client: Client) -> None:
        push = client.waiting.popleft()
        sent = {resource.name: resource.version for resource in push.resources if client.wants(resource.name)}
        if not self.delta and client.type_url in FULL_STATE:
            client.view = sent
        else:
            client.view.update(sent)
        for name in push.removed:
            client.view.pop(name, None)
        for name in sent:
            client.rejected.pop(name, None)
        client.version, client.nonce, client.refused = push.version, push.nonce, False
        self._answer(client, None)

    def _reject(self, client: Client, bad: str) -> None:
        push = client.waiting.popleft()
        client.nonce, client.refused = push.nonce, True
        carried = {resource.name: resource.version for resource in push.resources}
        is_complete = not self.delta and client.type_url in FULL_STATE
        offenders = {bad: carried[bad]} if bad and not is_complete else carried
        client.rejected.update({name: version for name, version in offenders.items() if client.wants(name)})
        client.last_rejected = carried if is_complete else None
        self._allow_changed(client)
        self._answer(client, f"{bad or 'something'} is bad")

    def _answer(self, client: Client, error: str | None) -> None:
        if self.delta:
            self._say(DeltaRequest(type_url=client.type_url, nonce=client.nonce, error=error))
        else:
            self._say_sotw(client, error)

    def _say_sotw(self, client: Client, error: str | None = None) -> None:
        self._say(
            SotwRequest(
                type_url=client.type_url,
                names=tuple(sorted(client.wanted)),
                version=client.version,
                nonce=client.nonce,
                error=error,
            )
        )

    def _say(self, request: SotwRequest | DeltaRequest) -> None:
        self._hear(self.session.on_request(request, self.now))  # type: ignore[arg-type]

    def _hear(self, pushes: Iterable[Push]) -> None:
        for push in pushes:
            client = self.clients[push.type_url]
            carried = {resource.name: resource.version for resource in push.resources}
            assert len(carried) == len(push.resources), "a name twice in one response"
            if not self.delta and push.type_url in FULL_STATE:
                assert client.asked or carried != client.last_rejected, "the rejected response again"
            elif WILDCARD not in client.asked:
                again = {name for name, version in carried.items() if client.rejected.get(name) == version}
                assert again <= client.asked, f"rejected and sent again: {again}"
            client.asked.clear()
            client.rejected = {name: v for name, v in client.rejected.items() if name not in carried}
            for name in push.removed:
                client.rejected.pop(name, None)
            client.waiting.append(push)
            if push.type_url == CLUSTERS:
                # A changed cluster warms until its endpoints come, so they are tried again.
                self.clients[ENDPOINTS].asked |= carried.keys()


class SotwClient(AnyClient):
    """In state-of-the-world."""


class DeltaClient(AnyClient):
    """In delta."""

    delta = True


TestSotw = SotwClient.TestCase
TestDelta = DeltaClient.TestCase
TestSotw.settings = TestDelta.settings = settings(deadline=None, max_examples=60, stateful_step_count=20)
