"""The rules of the state-of-the-world variant, each as a dialogue."""

from control_plane.xds import kinds
from control_plane.xds.status import SyncState
from tests.unit.control_plane.xds.dialogue import SotwDialogue, fleet

ONE = fleet({"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"web": "1"}, {"web": "1"})


def serving() -> SotwDialogue:
    """A new client of a server that has `ONE`."""
    play = SotwDialogue()
    play.serves(ONE)
    return play


class TestFullState:
    """Clusters and listeners are always sent complete."""

    def test_one_change_sends_all(self) -> None:
        """What is left out of a cluster response is deleted, so nothing is left out."""
        play = serving()
        play.asks("CDS")
        play.acks("CDS")
        assert play.serves(fleet({"a": "2", "b": "1"}, {"a": "1", "b": "1"}))[0] == "CDS a=2 b=1"

    def test_named_clusters_are_sent_complete_as_far_as_they_are_named(self) -> None:
        """Clients other than Envoy name the clusters that they want."""
        play = serving()
        assert play.asks("CDS", "b", "none") == ["CDS b=1"]
        assert play.acks("CDS") == []
        assert play.acks("CDS", "a", "b") == ["CDS a=1 b=1"]

    def test_a_named_cluster_that_is_not_there_is_answered(self) -> None:
        """Its absence from a complete answer is the answer."""
        play = serving()
        assert play.asks("CDS", "none") == ["CDS"]

    def test_fewer_names_need_no_answer(self) -> None:
        """The client drops what it no longer wants by itself."""
        play = serving()
        play.asks("CDS", "a", "b")
        assert play.acks("CDS", "a") == []
        assert play.serves(fleet({"a": "1", "b": "2"})) == []

    def test_an_empty_type_is_answered(self) -> None:
        """An Envoy without listeners would else wait 15 s for its first answer."""
        play = SotwDialogue()
        play.serves(fleet({"a": "1"}))
        assert play.asks("LDS") == ["LDS"]
        assert play.acks("LDS") == []

    def test_the_wildcard_given_up_and_taken_again(self) -> None:
        """After names, nothing means nothing; a star brings all back."""
        play = serving()
        play.asks("CDS")
        assert play.acks("CDS", "a") == ["CDS a=1"]
        play.acks("CDS")
        assert play.asks("CDS") == []
        assert play.serves(fleet({"a": "2", "b": "2"})) == []
        assert play.asks("CDS", "*") == ["CDS a=2 b=2"]


class TestPartial:
    """Endpoints and routes are sent as far as they are wanted and have changed."""

    def test_only_changes_are_sent(self) -> None:
        """Omission means nothing here, so one changed endpoint set is all that goes out."""
        play = serving()
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        assert play.serves(fleet({}, {"a": "1", "b": "2"})) == ["EDS b=2"]

    def test_added_names_are_sent(self) -> None:
        """Names that ride on an ACK count; those that were there before are not repeated."""
        play = serving()
        assert play.asks("EDS", "a") == ["EDS a=1"]
        assert play.acks("EDS", "a", "b") == ["EDS b=1"]
        assert play.acks("EDS") == []

    def test_a_name_dropped_and_taken_again_is_sent_again(self) -> None:
        """The client has forgotten it."""
        play = serving()
        play.asks("EDS", "a", "b")
        assert play.acks("EDS", "a") == []
        assert play.asks("EDS", "a", "b") == ["EDS b=1"]

    def test_an_unknown_name_is_remembered(self) -> None:
        """There is no way to say "not there"; it is sent when it appears."""
        play = serving()
        assert play.asks("EDS", "later") == []
        assert play.serves(fleet({}, {"later": "1"})) == ["EDS later=1"]

    def test_what_vanishes_is_told_by_the_version_only(self) -> None:
        """An answer without resources deletes nothing, but a client that comes back with its version is known."""
        play = serving()
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        after = fleet({}, {"a": "1"})
        assert play.serves(after) == ["EDS"]
        assert play.acks("EDS") == []
        again = SotwDialogue()
        again.serves(after)
        assert again.asks("EDS", "a", version=play.versions["EDS"]) == []

    def test_no_names_after_names_want_nothing(self) -> None:
        """Envoy drops its last cluster: an empty list is no wildcard."""
        play = serving()
        play.asks("EDS", "a")
        play.acks("EDS")
        assert play.asks("EDS") == []
        assert play.serves(fleet({}, {"a": "2"})) == []


class TestNonces:
    """Only the latest nonce of the type counts."""

    def test_a_stale_request_is_ignored(self) -> None:
        """It is about an older response; the client will answer the latest, too."""
        play = serving()
        play.asks("EDS", "a")
        first = play.last[kinds.ENDPOINTS].nonce
        play.acks("EDS")
        play.serves(fleet({}, {"a": "2", "b": "1"}))
        assert play.asks("EDS", "a", "b", nonce=first) == []
        assert play.status("EDS").state is SyncState.STALE
        assert play.acks("EDS", "a", "b") == ["EDS b=1"]

    def test_nonces_are_per_type(self) -> None:
        """An answer to one type says nothing of another."""
        play = serving()
        play.asks("CDS")
        clusters = play.last[kinds.CLUSTERS].nonce
        play.asks("LDS")
        play.asks("EDS", "a", nonce="")
        play.asks("EDS", "a", "b", nonce=clusters)
        assert play.status("EDS").state is SyncState.STALE
        assert play.status("EDS").pushes == 1

    def test_a_first_request_may_carry_a_nonce_of_another_stream(self) -> None:
        """Some clients forget to clear it when they reconnect."""
        play = serving()
        assert play.asks("CDS", nonce="17") == ["CDS a=1 b=1"]

    def test_a_version_alone_rejects_nothing(self) -> None:
        """An answer with an old version but no error is no NACK: only `error_detail` is."""
        play = serving()
        play.asks("EDS", "a")
        nonce = play.last[kinds.ENDPOINTS].nonce
        play.asks("EDS", "a", version="old", nonce=nonce)
        assert play.status("EDS").state is SyncState.SYNCED
        assert play.status("EDS").nacks == 0

    def test_a_new_name_at_the_same_version_can_be_rejected(self) -> None:
        """The protocol's own example: version unchanged, nonce current, and yet a NACK."""
        play = serving()
        play.asks("EDS", "a")
        play.acks("EDS", "a", "b")
        assert play.nacks("EDS", "b is bad") == []
        status = play.status("EDS")
        assert status.state is SyncState.ERROR
        assert status.rejection is not None
        assert status.rejection.resources == ("b",)


class TestWarmingRequests:
    """Envoy asks again for endpoints when a changed cluster warms, with old nonce and version."""

    @staticmethod
    def warmed() -> SotwDialogue:
        """A client that was pushed changed clusters whose endpoints it has not been sent yet."""
        play = serving()
        play.asks("CDS")
        play.acks("CDS")
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        return play

    def test_the_request_that_crosses_the_push_is_stale(self) -> None:
        """Endpoints went out behind the clusters, so the request with the older nonce needs no second answer."""
        play = self.warmed()
        before = play.last[kinds.ENDPOINTS].nonce
        assert play.serves(fleet({"a": "2", "b": "1"}, {"a": "1", "b": "1"})) == ["CDS a=2 b=1", "EDS a=1"]
        assert play.asks("EDS", "b", "a", nonce=before) == []
        assert play.acks("EDS") == []

    def test_it_is_answered_when_the_clusters_came_after_the_last_endpoints(self) -> None:
        """Same names in another order, same nonce: no ACK and not stale, but a demand."""
        play = SotwDialogue()
        # No endpoints of "a" in the snapshots: nothing can be pushed behind the changed cluster.
        play.serves(fleet({"a": "1", "b": "1"}, {"b": "1"}))
        play.asks("CDS")
        play.acks("CDS")
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        assert play.serves(fleet({"a": "2", "b": "1"}, {"b": "1"})) == ["CDS a=2 b=1"]
        assert play.asks("EDS", "b", "a") == ["EDS b=1"]
        assert play.acks("EDS") == []

    def test_the_same_request_without_a_cluster_push_is_not_answered(self) -> None:
        """Answering each repeated request would be a loop."""
        play = self.warmed()
        assert play.asks("EDS", "b", "a") == []
        assert play.asks("EDS", "b", "a") == []


class TestReconnect:
    """The first request of a new stream says which version the client holds."""

    def test_the_same_version_is_not_sent_again(self) -> None:
        """After a restart of the server Envoy is left alone; its requests keep an empty nonce, and changes still go."""
        play = serving()
        assert play.asks("CDS", version=ONE.versions[kinds.CLUSTERS]) == []
        assert play.asks("EDS", "a", "b", version=ONE.versions[kinds.ENDPOINTS]) == []
        assert play.status("CDS").state is play.status("EDS").state is SyncState.SYNCED
        assert play.status("EDS").pushes == 0
        assert play.asks("EDS", "a", "b", version=ONE.versions[kinds.ENDPOINTS]) == []
        assert play.serves(fleet({"a": "1", "b": "1"}, {"a": "1", "b": "2"})) == ["EDS b=2"]
        assert play.acks("EDS") == []

    def test_an_early_reconnect_is_left_alone_when_the_snapshot_comes(self) -> None:
        """The version is compared when there is something to compare it with."""
        play = SotwDialogue()
        assert play.asks("CDS", version=ONE.versions[kinds.CLUSTERS]) == []
        assert play.serves(ONE) == []
        assert play.status("CDS").state is SyncState.SYNCED

    def test_an_empty_type_is_synced_too(self) -> None:
        """Nothing held, nothing served, and the version says so."""
        empty = fleet({"a": "1"})
        play = SotwDialogue()
        play.serves(empty)
        assert play.asks("LDS", version=empty.versions[kinds.LISTENERS]) == []
        assert play.status("LDS").state is SyncState.SYNCED

    def test_another_version_is_sent(self) -> None:
        """Any other version gets everything that is wanted."""
        assert serving().asks("EDS", "b", version="other") == ["EDS b=1"]

    def test_a_version_of_fewer_names_is_sent(self) -> None:
        """A client that added a name just before the stream broke has never got it; the version tells."""
        play = serving()
        play.asks("EDS", "a")
        fewer = play.last[kinds.ENDPOINTS].version
        assert serving().asks("EDS", "a", version=fewer) == []
        assert serving().asks("EDS", "a", "b", version=fewer) == ["EDS a=1 b=1"]

    def test_a_version_that_covers_a_rejected_resource_is_another(self) -> None:
        """Accepting a later push does not accept what was rejected before: after a reconnect it is tried again."""
        play = serving()
        play.asks("EDS", "a", "b")
        play.acks("EDS")
        bad = fleet({}, {"a": "1", "b": "bad"})
        play.serves(bad)
        play.nacks("EDS", "b")
        after = fleet({}, {"a": "2", "b": "bad"})
        assert play.serves(after) == ["EDS a=2"]
        accepted = play.last[kinds.ENDPOINTS].version
        assert accepted != after.versions[kinds.ENDPOINTS]
        again = SotwDialogue()
        again.serves(after)
        assert again.asks("EDS", "a", "b", version=accepted) == ["EDS a=2 b=bad"]

    def test_changed_clusters_take_endpoints_along_that_are_asked_for_later(self) -> None:
        """Clusters go out before the request for endpoints is read; its version is current, its clusters warm."""
        play = serving()
        assert play.asks("CDS", version="other") == ["CDS a=1 b=1"]
        assert play.asks("EDS", "a", "b", version=ONE.versions[kinds.ENDPOINTS]) == ["EDS a=1 b=1"]


class TestUnservedTypes:
    """Types that we know nothing of."""

    def test_they_get_an_empty_answer(self) -> None:
        """Envoy then goes on instead of waiting."""
        play = serving()
        assert play.asks("SDS", "cert") == ["SDS"]
        assert play.acks("SDS") == []
        assert play.acks("SDS", "cert", "other") == ["SDS"]

    def test_clusters_that_are_not_served_are_not_wiped(self) -> None:
        """An empty answer would delete all; an Envoy that holds some gets none."""
        play = SotwDialogue()
        play.serves(type(ONE)({}, {}))
        assert play.asks("CDS", version="held") == []

    def test_a_new_envoy_goes_on_without_them(self) -> None:
        """One that holds nothing is not kept waiting."""
        play = SotwDialogue()
        play.serves(type(ONE)({}, {}))
        assert play.asks("CDS") == ["CDS"]
