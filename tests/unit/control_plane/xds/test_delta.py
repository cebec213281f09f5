"""The rules of the delta variant, each as a dialogue."""

import pytest

from control_plane.xds import kinds
from control_plane.xds.status import SyncState
from control_plane.xds.transition import REMOVAL_GRACE_S
from tests.unit.control_plane.xds.dialogue import DeltaDialogue, fleet

ONE = fleet({"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "1"})


def serving() -> DeltaDialogue:
    """A new client of a server that has `ONE`."""
    play = DeltaDialogue()
    play.serves(ONE)
    return play


class TestSubscriptions:
    """Names come and go."""

    def test_only_changes_are_sent(self) -> None:
        """One changed cluster is all that goes out."""
        play = serving()
        assert play.asks("CDS") == ["CDS a=1 b=1"]
        play.acks("CDS")
        assert play.serves(fleet({"a": "2", "b": "1"}, {"a": "1", "b": "1"})) == ["CDS a=2"]

    def test_an_unknown_name_is_answered_as_removed(self) -> None:
        """The client need not wait for a timeout; and it is sent when it appears."""
        play = serving()
        assert play.asks("EDS", "a", "later") == ["EDS a=1 -later"]
        play.acks("EDS")
        assert play.serves(fleet({}, {"a": "1", "b": "1", "later": "1"})) == ["EDS later=1"]

    def test_a_name_subscribed_again_is_sent_again(self) -> None:
        """The client may have lost it."""
        play = serving()
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        assert play.asks("EDS", "a") == ["EDS a=1"]

    def test_an_unsubscription_needs_no_answer(self) -> None:
        """And its name is not sent any more."""
        play = serving()
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        assert play.asks("EDS", drops=("b",)) == []
        assert play.serves(fleet({}, {"a": "1", "b": "2"})) == []

    def test_changes_count_whatever_the_nonce(self) -> None:
        """A subscription with the nonce of an older response is honoured; the answer to the newer one is still due."""
        play = serving()
        play.asks("EDS", "a")
        old = play.last[kinds.ENDPOINTS].nonce
        play.acks("EDS")
        play.serves(fleet({}, {"a": "2", "b": "1"}))
        assert play.asks("EDS", "b", nonce=old) == []
        assert play.status("EDS").state is SyncState.STALE
        assert play.acks("EDS") == ["EDS b=1"]

    def test_no_names_are_no_wildcard_for_endpoints(self) -> None:
        """A first request without names wants nothing."""
        assert serving().asks("EDS") == []


class TestWildcard:
    """Everything, with or without names beside it."""

    def test_a_name_given_up_under_a_wildcard_is_answered(self) -> None:
        """The client cannot know whether the wildcard still covers it: present, it is sent; absent, removed."""
        play = serving()
        play.asks("CDS", "*", "a", "none")
        play.acks("CDS")
        assert play.asks("CDS", drops=("a",)) == ["CDS a=1"]
        play.acks("CDS")
        assert play.asks("CDS", drops=("none",)) == ["CDS -none"]

    def test_the_wildcard_given_up_leaves_the_names(self) -> None:
        """Only what is named is sent from then on."""
        play = serving()
        play.asks("CDS")
        play.acks("CDS")
        assert play.asks("CDS", "a") == ["CDS a=1"]
        play.acks("CDS")
        assert play.asks("CDS", drops=("*",)) == []
        assert play.serves(fleet({"a": "1", "b": "2"})) == []
        assert play.serves(fleet({"a": "2", "b": "2"})) == ["CDS a=2"]

    def test_the_wildcard_taken_later_sends_the_rest(self) -> None:
        """What was sent by name is not sent again."""
        play = serving()
        play.asks("CDS", "a")
        play.acks("CDS")
        assert play.asks("CDS", "*") == ["CDS b=1"]

    def test_the_wildcard_asked_for_again_sends_all_again(self) -> None:
        """As with any name."""
        play = serving()
        play.asks("CDS", "*")
        play.acks("CDS")
        assert play.asks("CDS", "*") == ["CDS a=1 b=1"]

    def test_an_empty_type_is_answered(self) -> None:
        """An Envoy without listeners would else wait 15 s for its first answer."""
        play = DeltaDialogue()
        play.serves(fleet({"a": "1"}))
        assert play.asks("LDS") == ["LDS"]
        assert play.acks("LDS") == []


class TestReconnect:
    """The first request of a new stream says what the client holds, resource by resource."""

    def test_only_differences_are_sent(self) -> None:
        """Current ones are not, stale and missing ones are."""
        assert serving().asks("EDS", "a", "b", holds={"a": "1", "b": "old"}) == ["EDS b=1"]

    def test_an_up_to_date_client_is_left_alone(self) -> None:
        """After a restart of the server nothing is sent, and changes still go."""
        play = serving()
        assert play.asks("CDS", holds={"a": "1", "b": "1"}) == []
        assert play.status("CDS").state is SyncState.SYNCED
        assert play.serves(fleet({"a": "1", "b": "2"}, {"a": "1", "b": "1"})) == ["CDS b=2"]

    def test_the_wildcard_by_its_name_as_well(self) -> None:
        """A client that says `*` and what it holds gets differences, not all."""
        assert serving().asks("CDS", "*", holds={"a": "1", "b": "old"}) == ["CDS b=1"]

    def test_vanished_names_are_removed(self) -> None:
        """What the client learnt from an earlier server and is gone here is told."""
        assert serving().asks("LDS", holds={"web": "1", "old": "1"}) == ["LDS -old"]

    def test_vanished_clusters_wait_for_routes(self) -> None:
        """Make before break holds across a restart: routes may still point at what is gone."""
        play = serving()
        assert play.asks("CDS", holds={"a": "1", "b": "1", "old": "1"}) == []
        assert play.asks("EDS", "a", "b", "old", holds={"a": "1", "b": "1", "old": "1"}) == []
        assert play.asks("LDS", holds={"web": "1"}) == []
        assert play.asks("RDS", "web", holds={"web": "to old"}) == ["RDS web=1"]
        assert play.acks("RDS") == []
        assert play.waits(REMOVAL_GRACE_S) == ["CDS -old"]
        assert play.acks("CDS") == ["EDS -old"]

    def test_an_early_reconnect_is_compared_when_the_snapshot_comes(self) -> None:
        """Held until then, and then only differences."""
        play = DeltaDialogue()
        assert play.asks("CDS", holds={"a": "1", "b": "0"}) == []
        assert play.asks("LDS", holds={"web": "1"}) == []
        assert play.serves(fleet({"a": "1", "b": "1"}, {}, {"web": "1"})) == ["CDS b=1"]

    def test_held_versions_count_only_once(self) -> None:
        """A later request of the type cannot change what was sent."""
        play = serving()
        play.asks("EDS", "a")
        play.acks("EDS")
        assert play.asks("EDS", holds={"a": "old"}) == []

    def test_changed_clusters_take_endpoints_along_that_are_asked_for_later(self) -> None:
        """Clusters go out before the request for endpoints is read; what it holds is current, its cluster warms."""
        play = serving()
        assert play.asks("CDS", holds={"a": "1", "b": "old"}) == ["CDS b=1"]
        assert play.asks("EDS", "a", "b", holds={"a": "1", "b": "1"}) == ["EDS b=1"]


class TestRemovals:
    """What vanishes is told, in the right order."""

    def test_a_listener_at_once(self) -> None:
        """Nothing refers to it."""
        play = serving()
        play.asks("LDS")
        play.acks("LDS")
        assert play.serves(fleet({"a": "1", "b": "1"})) == ["LDS -web"]

    def test_endpoints_after_their_cluster(self) -> None:
        """Told before, they would be gone under a cluster that is still used."""
        play = serving()
        for kind, names in (("CDS", ()), ("EDS", ("a", "b")), ("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            play.acks(kind)
        assert play.serves(fleet({"a": "1"}, {"a": "1"}, {"web": "1"}, {"web": "2"})) == ["RDS web=2"]
        assert play.acks("RDS") == []
        assert play.waits(REMOVAL_GRACE_S - 0.1) == []
        assert play.waits(0.1) == ["CDS -b"]
        assert play.acks("CDS") == ["EDS -b"]

    def test_endpoints_that_the_client_gives_up_itself_are_not_told(self) -> None:
        """Envoy unsubscribes when it drops the cluster."""
        play = serving()
        for kind, names in (("CDS", ()), ("EDS", ("a", "b")), ("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            play.acks(kind)
        assert play.serves(fleet({"a": "1"}, {"a": "1"}, {"web": "1"}, {"web": "1"})) == []
        assert play.waits(REMOVAL_GRACE_S) == ["CDS -b"]
        assert play.asks("EDS", drops=("b",)) == []
        assert play.acks("CDS") == []

    def test_routes_after_their_listener(self) -> None:
        """The listener that used them is confirmed gone first."""
        play = serving()
        for kind, names in (("CDS", ()), ("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            play.acks(kind)
        assert play.serves(fleet({"a": "1", "b": "1"})) == ["LDS -web"]
        assert play.acks("LDS") == ["RDS -web"]

    def test_unsubscribed_names_are_not_removed(self) -> None:
        """Endpoints that were sent unasked and never subscribed need no removal."""
        play = serving()
        play.asks("CDS")
        play.acks("CDS")
        play.asks("EDS", "a")
        play.acks("EDS")
        more = fleet({"a": "1", "b": "1", "c": "1"}, {"a": "1", "b": "1", "c": "1"})
        assert play.serves(more) == ["CDS c=1", "EDS c=1"]
        play.acks("CDS")
        play.acks("EDS")
        assert play.serves(fleet({"a": "1", "b": "1", "c": "1"}, {"a": "1"})) == []


class TestUnservedTypes:
    """Types that we know nothing of."""

    def test_names_are_answered_as_removed(self) -> None:
        """Envoy goes on instead of waiting."""
        assert serving().asks("SDS", "cert") == ["SDS -cert"]

    def test_a_wildcard_is_answered_empty(self) -> None:
        """The same for one that names nothing."""
        assert serving().asks("SDS", "*") == ["SDS"]

    @pytest.mark.parametrize("kind", ["CDS", "LDS"])
    def test_what_the_client_holds_of_them_is_left_alone(self, kind: str) -> None:
        """A server that serves no clusters does not delete those of another."""
        play = DeltaDialogue()
        play.serves(type(ONE)({}, {}))
        assert play.asks(kind, holds={"a": "1"}) == []


class TestRejectedChanges:
    """A client that rejects a response may have applied nothing of it."""

    def test_a_removal_that_came_with_what_was_bad_is_told_again(self) -> None:
        """Without the bad resource it can be followed."""
        play = serving()
        play.asks("LDS")
        play.acks("LDS")
        assert play.serves(fleet({}, {}, {"api": "1"})) == ["LDS api=1 -web"]
        assert play.nacks("LDS", "api is bad") == ["LDS -web"]
        assert play.acks("LDS") == []

    def test_a_rejected_removal_is_not_told_for_ever(self) -> None:
        """There is nothing else to try."""
        play = serving()
        play.asks("LDS")
        play.acks("LDS")
        assert play.serves(fleet()) == ["LDS -web"]
        assert play.nacks("LDS", "no") == []

    def test_what_came_along_and_vanished_meanwhile_is_removed(self) -> None:
        """The client may still have an older version of it."""
        play = serving()
        play.asks("LDS")
        play.acks("LDS")
        play.serves(fleet({}, {}, {"web": "2", "api": "1"}))
        play.serves(fleet({}, {}, {"api": "1"}))
        assert play.nacks("LDS", "api is bad") == ["LDS -web"]

    def test_what_was_under_way_when_given_up_and_taken_again_is_removed(self) -> None:
        """The client applies the response late, and must then hear that the listener is gone."""
        play = serving()
        assert play.asks("LDS", "*") == ["LDS web=1"]
        play.asks("LDS", drops=("*",))
        play.asks("LDS", "*")
        play.serves(fleet({}, {}, {"api": "1"}))
        assert play.acks("LDS") == ["LDS api=1 -web"]

    def test_what_was_sent_unasked_is_sent_again_to_a_wildcard(self) -> None:
        """Endpoints of a new cluster, which the client may have dropped because it did not want them yet."""
        play = serving()
        play.asks("EDS", "a")
        play.acks("EDS")
        play.asks("CDS")
        play.acks("CDS")
        assert play.acks("EDS") == []
        assert play.asks("EDS", "*") == ["EDS b=1"]
