"""The xDS transport protocol, sentence by sentence: each test is one rule of Envoy's page "xDS REST and gRPC protocol",
told in our own words, with the section that it comes from.

What one stream is owed is tried on the session itself, in both variants where the rule is of both; what only shows on
the wire on the real server over gRPC. (S) marks a rule of state-of-the-world alone, (D) one of delta alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, short_name
from control_plane.xds.server import XdsServer
from control_plane.xds.session import REPOINT_WAIT_S
from control_plane.xds.snapshot import Snapshot, build_snapshot
from control_plane.xds.transition import REMOVAL_GRACE_S, REMOVAL_WAIT_S
from protos.messages import load
from tests.unit.control_plane.xds.ads_client import AdsClient
from tests.unit.control_plane.xds.dialogue import DeltaDialogue, SotwDialogue, fleet

Dialogue = SotwDialogue | DeltaDialogue

AB = fleet({"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "to a"})
A2B = fleet({"a": "2", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "to a"})
B = fleet({"b": "1"}, {"b": "1"}, {"web": "1"}, {"web": "to b"})


@pytest.fixture(params=[SotwDialogue, DeltaDialogue], ids=["sotw", "delta"])
def play(request: pytest.FixtureRequest) -> Dialogue:
    """A new client of either variant, of a server that has `AB`."""
    client: Dialogue = request.param()
    client.serves(AB)
    return client


@pytest.fixture
def sotw() -> SotwDialogue:
    """A new state-of-the-world client of a server that has `AB`."""
    client = SotwDialogue()
    client.serves(AB)
    return client


@pytest.fixture
def delta() -> DeltaDialogue:
    """A new delta client of a server that has `AB`."""
    client = DeltaDialogue()
    client.serves(AB)
    return client


def everything(play: Dialogue) -> None:
    """The client asks for all of `AB` as Envoy does, and accepts it."""
    for kind, names in (("CDS", ()), ("EDS", ("a", "b")), ("LDS", ()), ("RDS", ("web",))):
        play.asks(kind, *names)
        play.acks(kind)


class TestAnswers:
    """Sections "ACK", "NACK", "ACK and NACK semantics summary", "When to send an update"."""

    def test_an_accepted_response_is_followed_by_silence(self, play: Dialogue) -> None:
        """After an ACK nothing is sent until a resource changes."""
        play.asks("CDS")
        assert play.acks("CDS") == []
        assert play.serves(AB) == []
        assert play.waits(3_600.0) == []

    def test_every_response_has_a_nonce_of_its_own(self, play: Dialogue) -> None:
        """An answer must be told apart from that to any other response of the stream."""
        nonces = set()
        for kind, names in (("CDS", ()), ("EDS", ("a", "b")), ("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            nonces.add(play.last[{"CDS": CLUSTERS, "EDS": ENDPOINTS, "LDS": LISTENERS, "RDS": ROUTES}[kind]].nonce)
            play.acks(kind)
        play.serves(A2B)
        nonces.add(play.last[CLUSTERS].nonce)
        assert len(nonces) == 5

    def test_a_rejected_response_is_not_sent_again(self, play: Dialogue) -> None:
        """After a NACK the server waits until it has something else to say."""
        play.asks("CDS")
        assert play.nacks("CDS", "cluster a is bad, and b, too") == []
        assert play.serves(AB) == []
        assert play.waits(3_600.0) == []

    def test_a_later_version_can_be_accepted(self, play: Dialogue) -> None:
        """A NACK rejects one version, not the type."""
        play.asks("CDS")
        play.nacks("CDS", "cluster a is bad, and b, too")
        pushes = play.serves(A2B)
        assert pushes[0].startswith("CDS a=2")
        assert play.acks("CDS") == []

    def test_only_the_error_makes_a_nack(self, sotw: SotwDialogue) -> None:
        """(S) A request with the newest nonce, an older version and no `error_detail` rejects nothing."""
        sotw.asks("CDS")
        sotw.asks("CDS", version="older")
        assert (sotw.status("CDS").acks, sotw.status("CDS").nacks) == (1, 0)

    def test_a_new_name_can_be_rejected_at_an_unchanged_version(self, sotw: SotwDialogue) -> None:
        """(S) `error_detail` counts also if version and nonce are just those of the last accepted response."""
        sotw.asks("EDS", "a")
        sotw.acks("EDS")
        sotw.asks("EDS", "a", "b")
        assert sotw.nacks("EDS", "b is bad") == []
        assert sotw.status("EDS").nacks == 1
        assert sotw.serves(AB) == []

    def test_types_are_confirmed_apart(self, play: Dialogue) -> None:
        """A NACK of one type says nothing of another."""
        play.asks("CDS")
        play.asks("EDS", "a", "b")
        play.nacks("CDS", "a is bad, b is bad")
        assert play.acks("EDS") == []
        assert (play.status("EDS").nacks, play.status("CDS").nacks) == (0, 1)

    def test_the_nonce_of_another_type_answers_nothing(self, delta: DeltaDialogue) -> None:
        """(D) Nonces belong to their type, also on an aggregated stream."""
        delta.asks("CDS")
        delta.asks("EDS", "a")
        delta.asks("CDS", nonce=delta.last[ENDPOINTS].nonce)
        assert delta.status("CDS").acks == 0

    def test_a_stale_request_is_ignored(self, sotw: SotwDialogue) -> None:
        """(S) A request whose nonce is not the newest of its type is dropped: one that answers the newest will come."""
        sotw.asks("EDS", "a")
        old = sotw.last[ENDPOINTS].nonce
        sotw.acks("EDS")
        sotw.serves(fleet({}, {"a": "2", "b": "1"}))
        assert sotw.asks("EDS", "a", "b", nonce=old) == []
        assert sotw.acks("EDS", "a", "b") == ["EDS b=1"]

    def test_a_subscription_counts_whatever_its_nonce(self, delta: DeltaDialogue) -> None:
        """(D) A stale nonce is no reason to drop a change of the subscription."""
        delta.asks("EDS", "a")
        old = delta.last[ENDPOINTS].nonce
        delta.acks("EDS")
        delta.serves(fleet({}, {"a": "2", "b": "1"}))
        delta.asks("EDS", "b", nonce=old)
        assert delta.acks("EDS") == ["EDS b=1"]

    def test_an_answer_may_carry_a_new_subscription(self, sotw: SotwDialogue) -> None:
        """(S) ACK and demand in one request: both count."""
        sotw.asks("EDS", "a")
        assert sotw.acks("EDS", "a", "b") == ["EDS b=1"]

    def test_one_response_at_a_time(self, play: Dialogue) -> None:
        """While a response is unanswered no other of its type is sent; then the newest content, not the history."""
        everything(play)
        pushed: list[str] = []
        for version in ("2", "3", "4"):
            endpoints = {"a": version, "b": "1"}
            pushed += play.serves(fleet({"a": "1", "b": "1"}, endpoints, {"web": "1"}, {"web": "to a"}))
        assert pushed == ["EDS a=2"]
        assert play.acks("EDS") == ["EDS a=4"]

    def test_resources_are_sent_only_when_they_change(self, play: Dialogue) -> None:
        """A new snapshot with equal content is no update."""
        everything(play)
        again = fleet({"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "to a"})
        assert play.serves(again) == []


class TestSubscriptions:
    """Sections "How the client specifies what resources to return", "Client behavior", "Unsubscribing"."""

    @pytest.mark.parametrize("kind", ["CDS", "LDS"])
    def test_naming_nothing_wants_everything(self, play: Dialogue, kind: str) -> None:
        """The historical wildcard of clusters and listeners: a first request without names."""
        assert play.asks(kind) == [{"CDS": "CDS a=1 b=1", "LDS": "LDS web=1"}[kind]]

    @pytest.mark.parametrize("kind", ["EDS", "RDS"])
    def test_naming_nothing_wants_nothing_of_other_types(self, play: Dialogue, kind: str) -> None:
        """Endpoints and routes have no historical wildcard."""
        assert all(len(pushed.split()) == 1 for pushed in play.asks(kind))

    @pytest.mark.parametrize("kind", ["CDS", "EDS"])
    def test_a_star_wants_everything(self, play: Dialogue, kind: str) -> None:
        """The name `*` is the wildcard of any type."""
        assert play.asks(kind, "*") == [f"{kind} a=1 b=1"]

    def test_a_star_and_names_may_be_mixed(self, play: Dialogue) -> None:
        """A client may want everything and name some of it; nothing is sent twice."""
        assert play.asks("CDS", "*", "b") == ["CDS a=1 b=1"]

    def test_the_historical_wildcard_ends_with_the_first_name(self, sotw: SotwDialogue) -> None:
        """(S) From the first name on only names count, and naming nothing again wants nothing."""
        sotw.asks("CDS")
        sotw.acks("CDS")
        assert sotw.asks("CDS", "a") == ["CDS a=1"]
        sotw.acks("CDS")
        assert [push for push in sotw.serves(fleet({"a": "1", "b": "2"})) if push[:3] == "CDS"] == []
        sotw.asks("CDS")
        assert [push for push in sotw.serves(A2B) if push[:3] == "CDS"] == []

    def test_naming_nothing_after_names_wants_nothing(self, sotw: SotwDialogue) -> None:
        """(S) It ends a subscription to names and does not begin one to everything."""
        sotw.asks("CDS", "a")
        sotw.acks("CDS")
        sotw.asks("CDS")
        assert [pushed for pushed in sotw.serves(A2B) if "a=2" in pushed] == []

    def test_the_star_given_up_leaves_the_names(self, delta: DeltaDialogue) -> None:
        """(D) Unsubscribing from `*` keeps what was named."""
        delta.asks("CDS", "*", "a")
        delta.acks("CDS")
        delta.asks("CDS", drops=("*",))
        assert delta.serves(fleet({"a": "1", "b": "2"})) == []
        assert delta.serves(A2B) == ["CDS a=2"]

    def test_the_historical_wildcard_can_be_given_up(self, delta: DeltaDialogue) -> None:
        """(D) `*` may be unsubscribed from by a client that never named it."""
        delta.asks("CDS")
        delta.acks("CDS")
        delta.asks("CDS", drops=("*",))
        assert delta.serves(A2B) == []

    def test_a_name_given_up_beside_the_star_is_answered(self, delta: DeltaDialogue) -> None:
        """(D) The client drops what it unsubscribes from, so it must be sent again what the wildcard still covers, or
        be told that it does not exist."""
        delta.asks("CDS", "*", "a", "none")
        delta.acks("CDS")
        assert delta.asks("CDS", drops=("a", "none")) == ["CDS a=1 -none"]

    def test_a_new_name_is_sent_at_an_unchanged_version(self, play: Dialogue) -> None:
        """What a subscription adds is sent even if nothing has changed."""
        play.asks("EDS", "a")
        play.acks("EDS")
        names = ("a", "b") if isinstance(play, SotwDialogue) else ("b",)
        assert play.asks("EDS", *names) == ["EDS b=1"]

    def test_a_name_asked_for_again_is_sent_again(self, delta: DeltaDialogue) -> None:
        """(D) The server must not conclude that the client still has it."""
        delta.asks("EDS", "a", "b")
        delta.acks("EDS")
        assert delta.asks("EDS", "a") == ["EDS a=1"]

    def test_a_name_given_up_and_taken_again_is_sent_again(self, play: Dialogue) -> None:
        """Whatever the client held of it is gone."""
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        if isinstance(play, SotwDialogue):
            play.asks("EDS", "a")
            assert play.asks("EDS", "a", "b") == ["EDS b=1"]
        else:
            play.asks("EDS", drops=("b",))
            assert play.asks("EDS", "b") == ["EDS b=1"]

    def test_giving_up_a_name_needs_no_answer(self, play: Dialogue) -> None:
        """And the name is not sent any more."""
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        dropped = play.asks("EDS", "a") if isinstance(play, SotwDialogue) else play.asks("EDS", drops=("b",))
        assert dropped == []
        assert [pushed for pushed in play.serves(fleet({}, {"a": "1", "b": "2"})) if "b=2" in pushed] == []

    def test_a_name_that_does_not_exist_is_no_error(self, play: Dialogue) -> None:
        """It is sent as soon as it exists."""
        play.asks("EDS", "later", "a")
        play.acks("EDS")
        assert play.serves(fleet({}, {"a": "1", "b": "1", "later": "1"})) == ["EDS later=1"]

    def test_a_name_that_does_not_exist_is_told_as_removed(self, delta: DeltaDialogue) -> None:
        """(D) At once, so that the client need not wait for a timeout."""
        assert delta.asks("EDS", "a", "none") == ["EDS a=1 -none"]

    def test_the_same_name_twice_is_sent_once(self, play: Dialogue) -> None:
        """A response must not have two resources of one name."""
        assert play.asks("EDS", "a", "a") == ["EDS a=1"]


class TestContent:
    """Sections "Grouping Resources into Responses", "Deleting Resources", "Incremental xDS"."""

    @pytest.mark.parametrize(("kind", "expected"), [("CDS", "CDS a=2 b=1"), ("LDS", "LDS api=1 web=1")])
    def test_clusters_and_listeners_are_complete(self, sotw: SotwDialogue, kind: str, expected: str) -> None:
        """(S) What is left out of such a response is deleted, so all of it is in each."""
        everything(sotw)
        listeners, routes = {"web": "1", "api": "1"}, {"web": "to a"}
        after = fleet({"a": "2", "b": "1"}, {"a": "1", "b": "1"}, listeners, routes)
        pushed = sotw.serves(after)
        pushed += sotw.acks("EDS") + sotw.acks("CDS")
        assert [" ".join((push.split()[0], *sorted(push.split()[1:]))) for push in pushed if push[:3] == kind] == [
            expected
        ]

    def test_other_types_may_be_partial(self, sotw: SotwDialogue) -> None:
        """(S) Endpoints that are left out stay as they are, so only what changed is sent."""
        everything(sotw)
        assert sotw.serves(fleet({"a": "1", "b": "1"}, {"a": "2", "b": "1"}))[0] == "EDS a=2"

    def test_only_differences_are_sent(self, delta: DeltaDialogue) -> None:
        """(D) One changed resource is one resource in the response."""
        delta.asks("CDS")
        delta.acks("CDS")
        assert delta.serves(A2B) == ["CDS a=2"]

    def test_a_removal_is_told_by_name(self, delta: DeltaDialogue) -> None:
        """(D) In `removed_resources`, for whatever the client has of it."""
        delta.asks("LDS")
        delta.acks("LDS")
        assert delta.serves(fleet()) == ["LDS -web"]

    def test_a_removal_of_what_is_not_wanted_is_not_told(self, delta: DeltaDialogue) -> None:
        """(D) A name that was unsubscribed from is the client's own affair."""
        delta.asks("EDS", "a", "b")
        delta.acks("EDS")
        delta.asks("EDS", drops=("b",))
        assert delta.serves(fleet({}, {"a": "1"})) == []

    def test_a_removal_is_told_by_omission(self, sotw: SotwDialogue) -> None:
        """(S) Of listeners: the response without it."""
        sotw.asks("LDS")
        sotw.acks("LDS")
        assert sotw.serves(fleet({}, {}, {"api": "1"})) == ["LDS api=1"]

    def test_an_empty_type_is_answered(self, play: Dialogue) -> None:
        """An Envoy that asks for everything waits for the first answer, even if there is nothing."""
        play.serves(fleet({"a": "1"}))
        assert play.asks("LDS") == ["LDS"]
        assert play.acks("LDS") == []


class TestReconnects:
    """Sections "Resource versions", "ACK", "Client behavior on reconnect"; `initial_resource_versions`."""

    def test_the_version_in_use_is_not_sent_again(self, sotw: SotwDialogue) -> None:
        """(S) A first request may name a version, with the nonce of another stream or none."""
        assert sotw.asks("CDS", version=AB.versions[CLUSTERS], nonce="foreign") == []
        assert sotw.asks("LDS", version=AB.versions[LISTENERS]) == []

    def test_another_version_is_sent(self, sotw: SotwDialogue) -> None:
        """(S) Versions are compared for equality, not for order."""
        assert sotw.asks("CDS", version="zzzz") == ["CDS a=1 b=1"]

    def test_a_version_of_fewer_names_is_not_enough(self, sotw: SotwDialogue) -> None:
        """(S) Who reconnects and wants more than before is sent it."""
        sotw.asks("EDS", "a")
        before = sotw.last[ENDPOINTS].version
        again = SotwDialogue()
        again.serves(AB)
        assert again.asks("EDS", "a", "b", version=before) == ["EDS a=1 b=1"]

    def test_what_is_held_is_not_sent_again(self, delta: DeltaDialogue) -> None:
        """(D) Versions in `initial_resource_versions` that are current owe nothing, subscribed anew or not."""
        assert delta.asks("CDS", holds={"a": "1", "b": "1"}) == []
        assert delta.asks("EDS", "a", holds={"a": "1"}) == []

    def test_what_is_stale_is_sent(self, delta: DeltaDialogue) -> None:
        """(D) Only that."""
        assert delta.asks("CDS", holds={"a": "1", "b": "0"}) == ["CDS b=1"]

    def test_what_is_gone_is_removed(self, delta: DeltaDialogue) -> None:
        """(D) Names that the client learnt on an earlier stream are removed like any other."""
        assert delta.asks("LDS", holds={"web": "1", "old": "1"}) == ["LDS -old"]

    def test_held_versions_count_in_the_first_request_only(self, delta: DeltaDialogue) -> None:
        """(D) Later ones are no news: the server knows what it sent."""
        delta.asks("CDS")
        delta.acks("CDS")
        assert delta.asks("CDS", holds={"a": "0"}) == []


class TestOrder:
    """Sections "Eventual consistency considerations", "Resource warming", "Aggregated Discovery Service"."""

    def test_what_is_referred_to_goes_first(self, play: Dialogue) -> None:
        """Clusters, endpoints, listeners, routes, in whatever order they were asked for."""
        waiting = type(play)()
        for kind, names in (("RDS", ("web",)), ("LDS", ()), ("EDS", ("a",)), ("CDS", ())):
            waiting.asks(kind, *names)
        pushed = waiting.serves(AB)
        assert [push[:3] for push in pushed] == ["CDS", "EDS", "LDS", "RDS"]

    def test_endpoints_do_not_wait_for_the_answer_to_clusters(self, play: Dialogue) -> None:
        """Envoy answers clusters when they have warmed, for which they need their endpoints."""
        play.asks("CDS")
        assert play.asks("EDS", "a", "b") == ["EDS a=1 b=1"]

    def test_a_changed_cluster_is_sent_its_endpoints_again(self, play: Dialogue) -> None:
        """A changed cluster warms anew, and waits for a response of endpoints, changed or not."""
        everything(play)
        assert [push for push in play.serves(A2B) if push[:3] == "EDS"] == ["EDS a=1"]

    def test_endpoints_asked_for_again_are_answered(self, sotw: SotwDialogue) -> None:
        """(S) The same names, nonce and version as before, when a cluster warms: no ACK, but a demand."""
        everything(sotw)
        sotw.serves(A2B)
        sotw.acks("EDS")
        sotw.acks("CDS")
        changed = fleet({"a": "3", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "to a"})
        assert "EDS a=1" in sotw.serves(changed)

    def test_routes_wait_until_new_clusters_are_in_use(self, play: Dialogue) -> None:
        """A route that comes before its cluster is a 503."""
        everything(play)
        both = fleet({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "1", "c": "1"}, {"web": "1"}, {"web": "to c"})
        assert [push for push in play.serves(both) if push[:3] == "RDS"] == []
        assert "RDS web=to c" in play.acks("CDS")

    def test_no_wait_is_for_ever(self, play: Dialogue) -> None:
        """A cluster that never warms must not keep every other change from the client."""
        everything(play)
        play.serves(fleet({"c": "1"} | {"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "to c"}))
        assert "RDS web=to c" in play.waits(REPOINT_WAIT_S)

    def test_clusters_are_removed_last(self, play: Dialogue) -> None:
        """Only when the client has confirmed that nothing routes to them, and requests under way had time to end."""
        everything(play)
        # In state-of-the-world an empty response tells the version of the endpoints that are left.
        assert [push for push in play.serves(B) if push != "EDS"] == ["RDS web=to b"]
        assert play.acks("RDS") == []
        gone = play.waits(REMOVAL_GRACE_S)
        assert gone[0] in ("CDS b=1", "CDS -a")

    def test_a_silent_client_does_not_pin_old_clusters(self, play: Dialogue) -> None:
        """The wait for its confirmation is bounded."""
        everything(play)
        play.serves(B)
        assert play.waits(REMOVAL_WAIT_S)[0] in ("CDS b=1", "CDS -a")

    def test_types_that_are_not_ours_wipe_nothing(self, play: Dialogue) -> None:
        """A client that asks for what this server does not serve goes on with what it has."""
        assert play.asks("other", "x") in (["x/other"], ["other"], ["other -x"])
        everything(play)


def served(note: str = "", **clusters: str) -> Snapshot:
    """Static clusters with a text in them, on top of one that is always there."""
    made = {name: {"name": name, "type": "STATIC", "altStatName": text} for name, text in clusters.items()}
    made["a"] = {"name": "a", "type": "STATIC", "altStatName": note}
    return build_snapshot({CLUSTERS: made, ENDPOINTS: {}, LISTENERS: {}, ROUTES: {}}, load())


@pytest.fixture
async def server() -> AsyncIterator[tuple[str, dict[str, Snapshot], XdsServer]]:
    """A server that listens: its address, what it serves under `now`, itself."""
    serves = {"now": served()}
    server = XdsServer(load(), lambda node: serves["now"], lambda: 0.0)
    [address] = await server.start(["127.0.0.1:0"])
    yield address, serves, server
    await server.stop()


@asynccontextmanager
async def connected(address: str, *, delta: bool, node: str | None = "envoy") -> AsyncIterator[AdsClient]:
    """A client on a stream of its own."""
    client = AdsClient(address, delta=delta, node=node)
    try:
        yield client
    finally:
        await client.close()


Running = tuple[str, dict[str, Snapshot], XdsServer]


@pytest.mark.parametrize("delta", [False, True], ids=["sotw", "delta"])
class TestWire:
    """What shows only over gRPC: the messages' fields, the ends of streams, and that clients do not feel each other."""

    async def test_a_response_says_what_it_is(self, server: Running, delta: bool) -> None:
        """Type URL, nonce, who sent it; every resource in an Any of the response's own type, in delta with name and
        version."""
        async with connected(server[0], delta=delta) as client:
            await client.send(CLUSTERS)
            response = await client.receive()
        assert (response.type_url, response.control_plane.identifier) == (CLUSTERS, "kvpilot")
        assert response.nonce
        [entry] = response.resources
        held: Any = entry.resource if delta else entry
        assert held.type_url == CLUSTERS
        assert (response.system_version_info if delta else response.version_info) == served().versions[CLUSTERS]
        if delta:
            assert (entry.name, entry.version) == ("a", served().types[CLUSTERS]["a"].version)

    async def test_resources_do_not_expire(self, server: Running, delta: bool) -> None:
        """No TTL is sent, so none has to be refreshed: an Envoy without its control plane keeps what it has."""
        async with connected(server[0], delta=delta) as client:
            await client.send(CLUSTERS)
            [entry] = (await client.receive()).resources
        if delta:
            assert not entry.HasField("ttl")
        else:
            assert entry.type_url == CLUSTERS, "not wrapped in a Resource, which alone could carry a TTL"

    async def test_only_the_first_request_needs_the_node(self, server: Running, delta: bool) -> None:
        """Later ones are of the same stream and so of the same node."""
        async with connected(server[0], delta=delta) as client:
            for type_url in (CLUSTERS, LISTENERS):
                await client.send(type_url)
                assert (await client.receive()).type_url == type_url

    async def test_the_first_request_needs_the_node(self, server: Running, delta: bool) -> None:
        """Without it there is nobody to choose a configuration for."""
        async with connected(server[0], delta=delta, node=None) as client:
            await client.send(CLUSTERS)
            assert (await client.end())[0] is grpc.StatusCode.INVALID_ARGUMENT

    async def test_an_aggregated_request_needs_its_type(self, server: Running, delta: bool) -> None:
        """On an aggregated stream nothing else says what is wanted."""
        async with connected(server[0], delta=delta) as client:
            await client.send("")
            assert (await client.end())[0] is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_client_may_end_its_stream(self, server: Running, delta: bool) -> None:
        """One that says that it will ask no more is told goodbye, without an error."""
        async with connected(server[0], delta=delta) as client:
            await client.send(CLUSTERS)
            await client.receive()
            await client.call.done_writing()
            assert await client.end() == (grpc.StatusCode.OK, "")

    async def test_streams_of_one_node_do_not_share_anything(self, server: Running, delta: bool) -> None:
        """Nonces, subscriptions and answers belong to a stream: what one accepted the other is still sent."""
        async with connected(server[0], delta=delta) as one, connected(server[0], delta=delta) as two:
            await one.send(CLUSTERS)
            await one.send(CLUSTERS, responseNonce=(await one.receive()).nonce)
            await two.send(CLUSTERS)
            assert len((await two.receive()).resources) == 1

    async def test_a_slow_reader_holds_up_nobody(self, server: Running, delta: bool) -> None:
        """Another client gets every change while one takes none of them."""
        address, serves, running = server
        async with connected(address, delta=delta, node="slow") as slow, connected(address, delta=delta) as quick:
            await slow.send(CLUSTERS)
            await quick.send(CLUSTERS)
            nonce = (await quick.receive()).nonce
            for number in range(20):
                await quick.send(CLUSTERS, responseNonce=nonce)
                serves["now"] = served(note=f"{number}" + "x" * 300_000)
                running.publish()
                nonce = (await quick.receive()).nonce
            rows = {row["node"]: row["types"]["CDS"] for row in running.status()}
            assert (rows["slow"]["pushes"], rows["envoy"]["pushes"]) == (1, 21)

    async def test_versions_are_the_same_after_a_restart(self, server: Running, delta: bool) -> None:
        """They come from content: another server with the same content has the same, so nothing is sent again."""
        other = XdsServer(load(), lambda node: served(), lambda: 0.0)
        [address] = await other.start(["127.0.0.1:0"])
        versions = []
        for to in (server[0], address):
            async with connected(to, delta=delta) as client:
                await client.send(CLUSTERS)
                response = await client.receive()
                versions.append(response.resources[0].version if delta else response.version_info)
        await other.stop()
        assert versions[0] == versions[1]

    async def test_endpoints_larger_than_a_grpc_client_takes_come_in_parts(self, server: Running, delta: bool) -> None:
        """A client with gRPC's own limit of 4 MiB for a message gets 6 MB of endpoints."""
        address, serves, _ = server
        policy = {"dropOverloads": [{"category": "x" * 2_000_000}]}
        made = {name: {"clusterName": name, "policy": policy} for name in "abc"}
        serves["now"] = build_snapshot({CLUSTERS: {}, ENDPOINTS: made}, load())
        wanted: dict[str, object] = {"resourceNamesSubscribe" if delta else "resourceNames": list("abc")}
        async with connected(address, delta=delta) as client:
            await client.send(ENDPOINTS, **wanted)
            seen = 0
            while seen < 3:
                response = await client.receive()
                assert short_name(response.type_url) == "EDS"
                assert response.ByteSize() < 4 * 1024 * 1024
                seen += len(response.resources)
                answer = {"responseNonce": response.nonce}
                await client.send(ENDPOINTS, **(answer if delta else answer | wanted))
