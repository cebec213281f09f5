"""What was served before, and what it is good for: a client that comes back by a version only."""

from control_plane.xds.kinds import CLUSTERS
from control_plane.xds.past import MAX_REMEMBERED, Past
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.transition import REMOVAL_GRACE_S
from tests.unit.control_plane.xds.dialogue import SotwDialogue, fleet

OLD = fleet({"a": "1"}, {"a": "1"}, {"web": "1"}, {"web": "to a"})
NEW = fleet({"b": "1"}, {"b": "1"}, {"web": "1"}, {"web": "to b"})


def back(claimed: str, past: Past) -> SotwDialogue:
    """A client that was served `NEW` on a new stream and says that it holds clusters of the version `claimed`."""
    play = SotwDialogue(past)
    play.serves(NEW)
    play.asks("CDS", version=claimed, nonce="")
    return play


def test_a_snapshot_is_found_by_the_version_of_its_clusters() -> None:
    """The newest of them, where only other types differ."""
    past = Past()
    past.remember(OLD)
    newer = fleet({"a": "1"}, {"a": "2"})
    past.remember(newer)
    assert past.of_version(OLD.versions[CLUSTERS]) is newer
    assert past.of_version("other") is None


def test_the_number_is_bounded() -> None:
    """The oldest go; one that is served again counts as new."""
    past = Past()
    many = [Snapshot({}, {CLUSTERS: str(number)}) for number in range(MAX_REMEMBERED)]
    for snapshot in [*many, fleet({"a": "1"}), Snapshot({}, {CLUSTERS: "1"}), fleet({"b": "1"})]:
        past.remember(snapshot)
    assert [past.of_version(version) is None for version in ("0", "1", "2", "3")] == [True, False, True, False]


class TestComingBack:
    """A state-of-the-world client whose policy dropped a cluster while it was away."""

    def test_the_cluster_stays_until_nothing_leads_to_it(self) -> None:
        """Add, repoint, and only then remove: as if it had never been away."""
        past = Past()
        past.remember(OLD)
        play = back(OLD.versions[CLUSTERS], past)
        assert [resource.name for resource in play.last[CLUSTERS].resources] == ["a", "b"]
        assert play.asks("EDS", "a", "b") == ["EDS a=1 b=1"]
        play.acks("EDS")
        play.acks("CDS")
        for kind, names in (("LDS", ()), ("RDS", ("web",))):
            play.asks(kind, *names)
            play.acks(kind)
        assert play.waits(REMOVAL_GRACE_S) == ["CDS b=1"]

    def test_also_a_mixture_is_known_again(self) -> None:
        """It goes away while the old cluster is kept for it, and comes back with that."""
        past = Past()
        past.remember(OLD)
        first = back(OLD.versions[CLUSTERS], past)
        again = back(first.last[CLUSTERS].version, past)
        assert CLUSTERS not in again.last

    def test_an_unknown_version_holds_nobody_up(self) -> None:
        """Nothing can be kept of what nobody knows."""
        assert [resource.name for resource in back("foreign", Past()).last[CLUSTERS].resources] == ["b"]
