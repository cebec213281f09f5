"""The rules that hold in both variants, each as a dialogue."""

import pytest

from control_plane.xds.errors import RefusedRequestError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, RUNTIME, SECRETS
from control_plane.xds.lane import MAX_RESPONSE_BYTES, Answer
from control_plane.xds.requests import SotwRequest
from control_plane.xds.session import MAX_NAMES, MAX_TYPES, REPOINT_WAIT_S, Session
from control_plane.xds.snapshot import Resource, Snapshot, content_version
from control_plane.xds.sotw import SotwDialect
from control_plane.xds.status import SyncState
from control_plane.xds.transition import REMOVAL_GRACE_S, REMOVAL_WAIT_S
from tests.unit.control_plane.xds.dialogue import DeltaDialogue, SotwDialogue, fleet

Dialogue = SotwDialogue | DeltaDialogue


@pytest.fixture(params=[SotwDialogue, DeltaDialogue], ids=["sotw", "delta"])
def play(request: pytest.FixtureRequest) -> Dialogue:
    """A new client of either variant."""
    client: Dialogue = request.param()
    return client


ONE = fleet(clusters={"a": "1"}, endpoints={"a": "1"}, listeners={"web": "1"}, routes={"web": "1"})


def started(play: Dialogue) -> Dialogue:
    """A client that has asked for everything in `ONE`, in Envoy's order, and accepted it."""
    play.serves(ONE)
    for kind, names in (("CDS", ()), ("EDS", ("a",)), ("LDS", ()), ("RDS", ("web",))):
        assert play.asks(kind, *names) == [f"{kind} {'web' if kind in ('LDS', 'RDS') else 'a'}=1"]
        assert play.acks(kind) == []
    return play


class TestHolding:
    """Before there is a snapshot."""

    def test_nothing_is_answered_without_a_snapshot(self, play: Dialogue) -> None:
        """A client that asks too early is held, because an empty answer would delete what it has."""
        assert play.asks("CDS") == []
        assert play.asks("LDS") == []
        assert play.status("CDS").state is SyncState.NOT_SENT

    def test_what_was_asked_early_is_answered_in_order(self, play: Dialogue) -> None:
        """A new client gets all that it asked for at once, what is referred to before what refers to it."""
        play.asks("LDS")
        play.asks("EDS", "a")
        play.asks("CDS")
        assert play.serves(ONE) == ["CDS a=1", "EDS a=1", "LDS web=1"]


class TestOneInFlight:
    """At most one unanswered response per type."""

    def test_changes_meanwhile_are_sent_after_the_answer_newest_only(self, play: Dialogue) -> None:
        """Two changes during one flight give one push, of the last content."""
        started(play)
        assert play.serves(fleet({"a": "1"}, {"a": "2"}, {"web": "1"}, {"web": "1"})) == ["EDS a=2"]
        assert play.serves(fleet({"a": "1"}, {"a": "3"}, {"web": "1"}, {"web": "1"})) == []
        assert play.serves(fleet({"a": "1"}, {"a": "4"}, {"web": "1"}, {"web": "1"})) == []
        assert play.acks("EDS") == ["EDS a=4"]

    def test_a_change_that_is_taken_back_meanwhile_is_sent_back(self, play: Dialogue) -> None:
        """What counts is what the client was last sent, not what it was last known to accept."""
        started(play)
        play.serves(fleet(clusters={"a": "1"}, endpoints={"a": "2"}, listeners={"web": "1"}, routes={"web": "1"}))
        assert play.serves(ONE) == []
        assert play.acks("EDS") == ["EDS a=1"]

    def test_endpoints_do_not_wait_for_clusters(self, play: Dialogue) -> None:
        """Envoy withholds its answer to clusters until their endpoints have come: both go out at once."""
        started(play)
        changed = fleet(clusters={"a": "2"}, endpoints={"a": "1"}, listeners={"web": "1"}, routes={"web": "1"})
        assert play.serves(changed) == ["CDS a=2", "EDS a=1"]
        play.acks("EDS")
        moved = fleet(clusters={"a": "2"}, endpoints={"a": "2"}, listeners={"web": "1"}, routes={"web": "1"})
        assert play.serves(moved) == ["EDS a=2"]

    def test_the_same_snapshot_again_sends_nothing(self, play: Dialogue) -> None:
        """Nothing that has not changed is sent again."""
        started(play)
        assert play.serves(ONE) == []
        assert play.status("CDS").pushes == 1


class TestEndpointsOfChangedClusters:
    """Endpoints go with their cluster."""

    def test_a_changed_cluster_takes_its_unchanged_endpoints_along(self, play: Dialogue) -> None:
        """The cluster warms until endpoints arrive, and in delta nobody asks for them."""
        started(play)
        after = fleet(clusters={"a": "2"}, endpoints={"a": "1"}, listeners={"web": "1"}, routes={"web": "1"})
        assert play.serves(after) == ["CDS a=2", "EDS a=1"]

    def test_a_new_cluster_takes_its_endpoints_along_unasked(self, play: Dialogue) -> None:
        """A new cluster is complete with one round; other clusters' endpoints stay at home."""
        started(play)
        after = fleet(
            clusters={"a": "1", "b": "1"}, endpoints={"a": "1", "b": "1"}, listeners={"web": "1"}, routes={"web": "1"}
        )
        pushed = play.serves(after)
        assert pushed[1:] == ["EDS b=1"]
        assert pushed[0] in ("CDS a=1 b=1", "CDS b=1")

    def test_a_client_that_has_not_asked_for_endpoints_gets_none(self, play: Dialogue) -> None:
        """Nothing of a type goes out before its first request on the stream."""
        play.serves(ONE)
        assert play.asks("CDS") == ["CDS a=1"]

    def test_endpoints_asked_for_while_they_are_in_flight_are_sent_again(self, play: Dialogue) -> None:
        """A newly requested name must be answered, even if it has just been sent unasked."""
        started(play)
        after = fleet(
            clusters={"a": "1", "b": "1"}, endpoints={"a": "1", "b": "1"}, listeners={"web": "1"}, routes={"web": "1"}
        )
        play.serves(after)
        if isinstance(play, SotwDialogue):
            assert play.acks("EDS", "a", "b") == ["EDS b=1"]
        else:
            assert play.asks("EDS", "b") == []
            assert play.acks("EDS") == ["EDS b=1"]
        assert play.acks("EDS") == []

    def test_a_blocked_endpoint_push_follows_its_clusters(self, play: Dialogue) -> None:
        """With an endpoint answer outstanding, the forced ones go out as soon as it is there."""
        started(play)
        moved = fleet(clusters={"a": "1"}, endpoints={"a": "2"}, listeners={"web": "1"}, routes={"web": "1"})
        assert play.serves(moved) == ["EDS a=2"]
        changed = fleet(clusters={"a": "2"}, endpoints={"a": "2"}, listeners={"web": "1"}, routes={"web": "1"})
        assert play.serves(changed) == ["CDS a=2"]
        assert play.acks("EDS") == ["EDS a=2"]


class TestOrder:
    """Clusters, endpoints, listeners, routes; the latter two when the clusters are confirmed."""

    TWO = fleet(clusters={"a": "2"}, endpoints={"a": "2"}, listeners={"web": "2"}, routes={"web": "2"})

    def test_listeners_and_routes_wait_for_clusters(self, play: Dialogue) -> None:
        """Routes are not warmed by Envoy: pointed at a cluster that is not there yet, they give 503."""
        started(play)
        assert play.serves(self.TWO) == ["CDS a=2", "EDS a=2"]
        assert play.acks("EDS") == []
        assert play.status("LDS").state is SyncState.STALE
        assert play.acks("CDS") == ["LDS web=2", "RDS web=2"]

    def test_a_reconnected_client_waits_too(self, play: Dialogue) -> None:
        """It has listeners in use from an earlier stream, and its clusters have changed meanwhile."""
        play.serves(self.TWO)
        if isinstance(play, SotwDialogue):
            assert play.asks("CDS", version="old") == ["CDS a=2"]
            assert play.asks("LDS", version="old") == []
        else:
            assert play.asks("CDS", holds={"a": "1"}) == ["CDS a=2"]
            assert play.asks("LDS", holds={"web": "1"}) == []
        assert play.acks("CDS") == ["LDS web=2"]

    def test_the_wait_is_bounded(self, play: Dialogue) -> None:
        """A cluster that never confirms (its health checks hang) does not hold up routes for ever."""
        started(play)
        play.serves(self.TWO)
        assert play.session.deadline() == REPOINT_WAIT_S
        assert play.waits(REPOINT_WAIT_S - 0.1) == []
        assert play.waits(0.1) == ["LDS web=2", "RDS web=2"]

    def test_rejected_clusters_do_not_hold_up_the_rest(self, play: Dialogue) -> None:
        """One bad cluster must not freeze everything else."""
        started(play)
        play.serves(self.TWO)
        assert play.nacks("CDS", "a: bad") == ["LDS web=2", "RDS web=2"]

    def test_a_route_change_alone_waits_for_nothing(self, play: Dialogue) -> None:
        """With clusters confirmed, routes go out at once."""
        started(play)
        after = fleet(clusters={"a": "1"}, endpoints={"a": "1"}, listeners={"web": "1"}, routes={"web": "2"})
        assert play.serves(after) == ["RDS web=2"]

    def test_a_type_of_ours_without_order_comes_last(self, play: Dialogue) -> None:
        """Other types are served after those that have an order."""
        play.serves(ONE)
        play.asks("other", "x")
        play.asks("RTDS", "x")
        play.asks("CDS")
        assert list(play.session.status())[-1] == "x/other"


class TestSecretsAndRuntime:
    """Types that only some Envoys ask for."""

    def snapshot(self, secret: str, value: str = "1") -> Snapshot:
        """`ONE` with a secret and a layer of runtime values."""
        types = dict(ONE.types) | {
            SECRETS: {"cert": Resource("cert", secret, b"")},
            RUNTIME: {"kvpilot": Resource("kvpilot", value, b"")},
        }
        return Snapshot(types, {type_url: content_version(resources) for type_url, resources in types.items()})

    def test_their_place_is_before_listeners_and_last(self, play: Dialogue) -> None:
        """A listener refers to its certificate; runtime values refer to nothing."""
        for kind, name in (("RTDS", "kvpilot"), ("LDS", ""), ("SDS", "cert"), ("EDS", "a")):
            play.asks(kind, *filter(None, (name,)))
        assert play.serves(self.snapshot("1")) == ["EDS a=1", "SDS cert=1", "LDS web=1", "RTDS kvpilot=1"]

    def test_a_rotated_certificate_waits_for_nothing(self, play: Dialogue) -> None:
        """Neither for clusters that warm nor for anything else."""
        play.serves(self.snapshot("1"))
        play.asks("CDS")
        assert play.asks("SDS", "cert") == ["SDS cert=1"]
        play.acks("SDS")
        assert play.serves(self.snapshot("2", value="2")) == ["SDS cert=2"]

    def test_an_envoy_that_does_not_ask_is_not_sent_any(self, play: Dialogue) -> None:
        """And is confirmed without them."""
        play.serves(self.snapshot("1"))
        play.asks("CDS")
        play.acks("CDS")
        assert play.serves(self.snapshot("2")) == []


class TestParts:
    """A response that would be too large for a gRPC client is divided, where the protocol lets it be."""

    def snapshot(self, version: str = "1") -> Snapshot:
        """Endpoints of which two make more than one response."""
        body = bytes(MAX_RESPONSE_BYTES * 2 // 3)
        types = {
            CLUSTERS: {name: Resource(name, "1", b"", eds_name=name) for name in "ab"},
            ENDPOINTS: {name: Resource(name, version, body) for name in "ab"},
            LISTENERS: {"web": Resource("web", "1", b"")},
        }
        return Snapshot(types, {type_url: content_version(resources) for type_url, resources in types.items()})

    def test_the_rest_follows_the_answer(self, play: Dialogue) -> None:
        """At most one is in flight, and the last part carries the version of the whole."""
        play.serves(self.snapshot())
        assert play.asks("EDS", "a", "b") == ["EDS a=1"]
        part = play.last[ENDPOINTS].version
        assert play.acks("EDS") == ["EDS b=1"]
        assert play.acks("EDS") == []
        assert part != self.snapshot().versions[ENDPOINTS]
        assert play.status("EDS").acked == self.snapshot().versions[ENDPOINTS]

    def test_a_change_in_between_is_not_lost(self, play: Dialogue) -> None:
        """The part that was sent is sent anew, the one that was not goes out as it is now."""
        play.serves(self.snapshot())
        play.asks("EDS", "a", "b")
        assert play.serves(self.snapshot("2")) == []
        assert play.acks("EDS") == ["EDS a=2"]
        assert play.acks("EDS") == ["EDS b=2"]

    def test_a_rejected_part_does_not_hold_up_the_rest(self, play: Dialogue) -> None:
        """The other part is asked for all the same."""
        play.serves(self.snapshot())
        play.asks("EDS", "a", "b")
        assert play.nacks("EDS", "a is bad") == ["EDS b=1"]
        assert play.acks("EDS") == []


class TestRejection:
    """A NACK parks what it rejected."""

    @pytest.mark.parametrize(
        ("kind", "bad"),
        [
            ("CDS", fleet(clusters={"a": "9"}, endpoints={"a": "1"}, listeners={"web": "1"}, routes={"web": "1"})),
            ("LDS", fleet(clusters={"a": "1"}, endpoints={"a": "1"}, listeners={"web": "9"}, routes={"web": "1"})),
            ("RDS", fleet(clusters={"a": "1"}, endpoints={"a": "1"}, listeners={"web": "1"}, routes={"web": "9"})),
            ("EDS", fleet(clusters={"a": "1"}, endpoints={"a": "9"}, listeners={"web": "1"}, routes={"web": "1"})),
        ],
    )
    def test_it_is_not_sent_again(self, play: Dialogue, kind: str, bad: object) -> None:
        """No answer to a NACK, none to the same snapshot, none to time: the client would only reject it again."""
        started(play)
        play.serves(bad)  # type: ignore[arg-type]
        assert [pushed for pushed in play.nacks(kind, "bad") if pushed.startswith(kind)] == []
        assert play.serves(bad) == []  # type: ignore[arg-type]
        assert play.waits(60.0) == []
        assert play.status(kind).pushes == 2

    def test_the_status_says_what_was_rejected_and_why(self, play: Dialogue) -> None:
        """The text, the version, the resources that the text names, and what is still in use."""
        started(play)
        good = play.status("CDS").acked
        play.serves(fleet({"a": "1", "a-next": "9"}, {"a": "1", "a-next": "1"}, {"web": "1"}, {"web": "1"}))
        play.nacks("CDS", "Error adding/updating cluster(s) a-next: no lb_policy")
        status = play.status("CDS")
        assert status.state is SyncState.ERROR
        assert status.acked == good
        assert status.rejection is not None
        assert status.rejection.version == status.sent != good
        assert status.rejection.text == "Error adding/updating cluster(s) a-next: no lb_policy"
        assert status.rejection.resources == ("a-next",)

    def test_new_content_is_sent_and_clears_the_error(self, play: Dialogue) -> None:
        """A fix goes out at once; its ACK makes the type SYNCED."""
        started(play)
        play.serves(fleet({"a": "9"}, {"a": "1"}, {"web": "1"}, {"web": "1"}))
        play.acks("EDS")
        play.nacks("CDS")
        fixed = fleet({"a": "3"}, {"a": "1"}, {"web": "1"}, {"web": "1"})
        assert play.serves(fixed) == ["CDS a=3", "EDS a=1"]
        play.acks("CDS")
        assert play.status("CDS").state is SyncState.SYNCED
        assert play.status("CDS").rejection is None

    def test_going_back_to_what_was_accepted_is_a_change(self, play: Dialogue) -> None:
        """The operator reverts: the client is sent the old content, and with its ACK the error is gone."""
        started(play)
        play.serves(fleet({"a": "1"}, {"a": "1"}, {"web": "1"}, {"web": "9"}))
        play.nacks("RDS")
        assert play.serves(ONE) == ["RDS web=1"]
        play.acks("RDS")
        assert play.status("RDS").state is SyncState.SYNCED

    def test_a_rejected_cluster_that_is_dropped_is_not_kept(self, play: Dialogue) -> None:
        """Make before break is for clusters in service; one that Envoy named as bad goes with the next push."""
        started(play)
        play.serves(fleet({"a": "1", "bad": "1"}, {"a": "1"}, {"web": "1"}, {"web": "2"}))
        play.nacks("CDS", "Error adding/updating cluster(s) bad: no EDS config")
        after = ["CDS a=1"] if isinstance(play, SotwDialogue) else ["CDS -bad"]
        assert play.serves(fleet({"a": "1"}, {"a": "1"}, {"web": "1"}, {"web": "2"})) == after

    def test_other_resources_go_on(self, play: Dialogue) -> None:
        """With one endpoint set rejected, those that came with it go out without it, and later changes, too."""
        play.serves(fleet({"a": "1", "b": "1"}, {"a": "1", "b": "9"}))
        play.asks("EDS", "a", "b")
        assert play.nacks("EDS", "b is bad") == ["EDS a=1"]
        assert play.acks("EDS") == []
        assert play.status("EDS").state is SyncState.ERROR
        assert play.serves(fleet({"a": "1", "b": "1"}, {"a": "2", "b": "9"})) == ["EDS a=2"]
        assert play.acks("EDS") == []
        assert play.serves(fleet({"a": "1", "b": "1"}, {"a": "2", "b": "2"})) == ["EDS b=2"]
        assert play.acks("EDS") == []
        assert play.status("EDS").state is SyncState.SYNCED

    def test_without_a_name_all_of_the_response_is_parked(self, play: Dialogue) -> None:
        """Where the offender cannot be told, sending any of it again would be a guess, and maybe a loop."""
        play.serves(fleet({"a": "1", "b": "1"}, {"a": "1", "b": "9"}))
        play.asks("EDS", "a", "b")
        assert play.nacks("EDS", "something is bad") == []
        assert play.serves(fleet({"a": "1", "b": "1"}, {"a": "2", "b": "9"})) == ["EDS a=2"]

    def test_two_bad_resources_are_found_one_by_one(self, play: Dialogue) -> None:
        """A client that names only the first is asked again without it; both are in the status at the end."""
        play.serves(fleet({}, {"a": "1", "b": "9", "c": "9"}))
        play.asks("EDS", "a", "b", "c")
        assert play.nacks("EDS", "b is bad") == ["EDS a=1 c=9"]
        assert play.nacks("EDS", "c is bad") == ["EDS a=1"]
        assert play.acks("EDS") == []
        rejection = play.status("EDS").rejection
        assert rejection is not None
        assert rejection.resources == ("b", "c")
        assert rejection.text == "b is bad\nc is bad"

    def test_a_rejected_resource_that_leaves_takes_its_error_along(self, play: Dialogue) -> None:
        """Nothing is refused any more once the offender is gone from the snapshot."""
        play.serves(fleet({}, {"a": "1", "b": "9"}))
        play.asks("EDS", "a", "b")
        play.nacks("EDS", "b is bad")
        play.acks("EDS")
        if play.serves(fleet({}, {"a": "1"})):
            play.acks("EDS")
        assert play.status("EDS").state is SyncState.SYNCED

    def test_an_error_with_another_nonce_counts_for_nothing(self, play: Dialogue) -> None:
        """Only an answer to the response in flight can reject it."""
        started(play)
        play.session.take_answers()
        play.nacks("CDS", "late")
        assert play.session.take_answers() == []
        assert play.status("CDS").nacks == 0
        assert play.status("CDS").state is SyncState.SYNCED


class TestTakeAnswers:
    """What the client has said, for those who watch."""

    def test_an_answer_is_told_once(self, play: Dialogue) -> None:
        """With what the response carried."""
        play.serves(ONE)
        play.asks("CDS")
        assert play.session.take_answers() == []
        play.acks("CDS")
        assert play.session.take_answers() == [(CLUSTERS, Answer({"a": "1"}))]
        assert play.session.take_answers() == []

    def test_a_rejection_tells_the_offenders(self, play: Dialogue) -> None:
        """Those that the text names, else all."""
        two = fleet(clusters={"a": "1", "b": "1"})
        play.serves(two)
        play.asks("CDS")
        play.nacks("CDS", "b is bad")
        assert play.session.take_answers() == [(CLUSTERS, Answer({"b": "1"}, "b is bad", named=True))]
        again = type(play)()
        again.serves(two)
        again.asks("CDS")
        again.nacks("CDS", "no")
        assert again.session.take_answers() == [(CLUSTERS, Answer({"a": "1", "b": "1"}, "no", named=False))]


class TestMakeBeforeBreak:
    """Dropped clusters go last."""

    BEFORE = fleet({"a": "1"}, {"a": "1"}, {"web": "1"}, {"web": "to a"})
    AFTER = fleet({"b": "1"}, {"b": "1"}, {"web": "1"}, {"web": "to b"})

    def begun(self, play: Dialogue) -> Dialogue:
        """A client that holds `BEFORE` and has been sent the first step to `AFTER`."""
        play.serves(self.BEFORE)
        for kind, names in (("CDS", ()), ("EDS", ("a",)), ("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            play.acks(kind)
        both = "CDS a=1 b=1" if isinstance(play, SotwDialogue) else "CDS b=1"
        assert play.serves(self.AFTER) == [both, "EDS b=1"]
        assert play.acks("EDS") == []
        return play

    @staticmethod
    def removal(play: Dialogue) -> list[str]:
        """How `a` is removed in this variant."""
        return ["CDS b=1"] if isinstance(play, SotwDialogue) else ["CDS -a"]

    def test_add_repoint_remove(self, play: Dialogue) -> None:
        """The new cluster first, with the old one still there; then routes; the removal a grace after their ACK."""
        self.begun(play)
        assert play.acks("CDS") == ["RDS web=to b"]
        assert play.acks("RDS") == []
        assert play.session.deadline() == REMOVAL_GRACE_S
        assert play.waits(REMOVAL_GRACE_S - 0.1) == []
        assert play.waits(0.1) == self.removal(play)
        assert play.acks("CDS") == ([] if isinstance(play, SotwDialogue) else ["EDS -a"])
        assert play.session.deadline() is None

    def test_the_grace_begins_with_the_confirmation(self, play: Dialogue) -> None:
        """Routes that are confirmed late, just before the bound, still give the requests under the old ones time."""
        self.begun(play)
        play.acks("CDS")
        assert play.waits(REMOVAL_WAIT_S - 0.1) == []
        assert play.acks("RDS") == []
        assert play.waits(REMOVAL_GRACE_S - 0.1) == []
        assert play.waits(0.1) == self.removal(play)

    def test_later_changes_do_not_prolong_the_grace(self, play: Dialogue) -> None:
        """An operator who edits all the time still gets rid of old clusters, also while new routes are refused."""
        self.begun(play)
        play.acks("CDS")
        play.acks("RDS")
        play.waits(REMOVAL_GRACE_S - 1.0)
        bad = fleet({"b": "1"}, {"b": "1"}, {"web": "1"}, {"web": "to b, bad"})
        assert play.serves(bad) == ["RDS web=to b, bad"]
        assert play.nacks("RDS") == []
        assert play.session.deadline() == REMOVAL_GRACE_S
        assert play.waits(1.0) == self.removal(play)

    def test_the_removal_is_bounded_by_the_clock(self, play: Dialogue) -> None:
        """Routes that are never confirmed do not keep a cluster for ever."""
        self.begun(play)
        play.acks("CDS")
        assert play.waits(REMOVAL_WAIT_S - 0.1) == []
        assert play.session.deadline() == REMOVAL_WAIT_S
        assert play.waits(0.1) == self.removal(play)

    def test_rejected_routes_keep_their_clusters(self, play: Dialogue) -> None:
        """Envoy stays on the old routes, so what they point at stays, until other routes are accepted."""
        self.begun(play)
        play.acks("CDS")
        assert play.nacks("RDS") == []
        assert play.session.deadline() is None
        assert play.waits(10 * REMOVAL_WAIT_S) == []
        fixed = fleet({"b": "1"}, {"b": "1"}, {"web": "1"}, {"web": "to b, fixed"})
        assert play.serves(fixed) == ["RDS web=to b, fixed"]
        assert play.acks("RDS") == []
        assert play.waits(REMOVAL_GRACE_S) == self.removal(play)

    def test_a_removal_alone_waits_for_the_grace_only(self, play: Dialogue) -> None:
        """Where listeners and routes are confirmed as they are, nobody is asked; but it may have been just now."""
        two = fleet({"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "to b"})
        play.serves(two)
        for kind, names in (("CDS", ()), ("EDS", ("a", "b")), ("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            play.acks(kind)
        assert play.serves(self.AFTER) == (["EDS"] if isinstance(play, SotwDialogue) else [])
        assert play.waits(REMOVAL_GRACE_S - 0.1) == []
        assert play.waits(0.1) == self.removal(play)

    def test_a_client_without_routes_gets_the_removal_by_the_clock(self, play: Dialogue) -> None:
        """A client that has not asked for listeners and routes yet may still hold old ones from an earlier stream."""
        play.serves(self.BEFORE)
        play.asks("CDS")
        play.acks("CDS")
        play.serves(self.AFTER)
        play.acks("CDS")
        assert play.waits(REMOVAL_WAIT_S) == self.removal(play)

    def test_a_cluster_that_comes_back_is_not_removed(self, play: Dialogue) -> None:
        """The policy goes back before the removal: the cluster never left, and only the new one goes."""
        self.begun(play)
        play.acks("CDS")
        assert play.serves(self.BEFORE) == (["EDS"] if isinstance(play, SotwDialogue) else [])
        assert play.acks("RDS") == ["RDS web=to a"]
        gone = ["CDS a=1"] if isinstance(play, SotwDialogue) else ["CDS -b"]
        assert play.acks("RDS") == []
        assert play.waits(REMOVAL_GRACE_S) == gone

    def test_a_cluster_that_comes_back_and_goes_again_has_a_new_grace(self, play: Dialogue) -> None:
        """Routes led to it again meanwhile."""
        self.begun(play)
        play.acks("CDS")
        play.acks("RDS")
        play.waits(REMOVAL_GRACE_S - 0.1)
        if play.serves(self.BEFORE) == ["EDS", "RDS web=to a"]:
            play.acks("EDS")
        play.acks("RDS")
        if play.serves(self.AFTER) == ["EDS", "RDS web=to b"]:
            play.acks("EDS")
        play.acks("RDS")
        assert play.waits(REMOVAL_GRACE_S - 0.1) == []
        assert play.waits(0.1) == self.removal(play)

    def test_endpoints_of_a_kept_cluster_are_still_answered(self, play: Dialogue) -> None:
        """A client that asks again for the endpoints of a cluster on its way out gets them."""
        self.begun(play)
        if isinstance(play, SotwDialogue):
            assert play.asks("EDS") == []
            assert play.asks("EDS", "a") == ["EDS a=1"]
        else:
            assert play.asks("EDS", "a") == ["EDS a=1"]

    def test_listeners_are_removed_without_a_wait(self, play: Dialogue) -> None:
        """Nothing refers to a listener, so its removal waits for nothing."""
        play.serves(fleet({"a": "1"}, {}, {"one": "1", "two": "1"}))
        play.asks("LDS")
        play.acks("LDS")
        after = ["LDS one=1"] if isinstance(play, SotwDialogue) else ["LDS -two"]
        assert play.serves(fleet({"a": "1"}, {}, {"one": "1"})) == after


class TestRefusals:
    """Requests that end the stream."""

    def test_a_type_must_be_named(self) -> None:
        """Over ADS nothing else says what is asked for."""
        with pytest.raises(RefusedRequestError, match="type_url") as refused:
            Session(SotwDialect()).on_request(SotwRequest(type_url=""), 0.0)
        assert refused.value.code == "INVALID_ARGUMENT"

    def test_types_are_bounded(self) -> None:
        """A client cannot make the server keep state for ever more types."""
        session = Session(SotwDialect())
        for number in range(MAX_TYPES):
            session.on_request(SotwRequest(type_url=f"t/{number}"), 0.0)
        with pytest.raises(RefusedRequestError, match="types") as refused:
            session.on_request(SotwRequest(type_url="t/more"), 0.0)
        assert refused.value.code == "RESOURCE_EXHAUSTED"

    def test_names_are_bounded(self) -> None:
        """Nor for ever more names."""
        names = tuple(str(number) for number in range(MAX_NAMES + 1))
        with pytest.raises(RefusedRequestError, match="names"):
            Session(SotwDialect()).on_request(SotwRequest(type_url="t", names=names), 0.0)


class TestStatus:
    """What the session says of itself."""

    def test_the_life_of_a_type(self, play: Dialogue) -> None:
        """NOT_SENT before there is anything, STALE while an answer is outstanding, SYNCED after it."""
        play.asks("CDS")
        assert play.status("CDS").state is SyncState.NOT_SENT
        play.serves(ONE)
        assert play.status("CDS").state is SyncState.STALE
        play.acks("CDS")
        status = play.status("CDS")
        assert status.state is SyncState.SYNCED
        assert status.acked == status.sent == ONE.versions[play.last[next(iter(play.last))].type_url]
        assert (status.pushes, status.acks, status.nacks) == (1, 1, 0)
