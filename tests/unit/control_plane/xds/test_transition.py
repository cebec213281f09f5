"""What is kept of dropped clusters, and for how long."""

from control_plane.xds import transition
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, ROUTES
from control_plane.xds.transition import REMOVAL_GRACE_S, REMOVAL_WAIT_S, Retention
from tests.unit.control_plane.xds.dialogue import fleet

OLD = fleet({"a": "1", "b": "1"}, {"a": "1", "b": "1"})
NEW = fleet({"b": "1"}, {"b": "1"})


def kept() -> Retention:
    """`a` was dropped at second 0."""
    retention = Retention()
    retention.keep(["a", "b"], OLD, NEW, 0.0)
    return retention


def test_dropped_clusters_are_kept_with_their_endpoints() -> None:
    """They are added to what the new snapshot has, and to nothing else."""
    retention = kept()
    assert retention.names() == {"a"}
    assert set(retention.added_to(CLUSTERS, NEW.types[CLUSTERS])) == {"a", "b"}
    assert set(retention.added_to(ENDPOINTS, NEW.types[ENDPOINTS])) == {"a", "b"}
    assert retention.added_to(ROUTES, NEW.types[ROUTES]) is NEW.types[ROUTES]


def test_what_is_still_there_is_not_kept() -> None:
    """Without a dropped cluster there is nothing to do, and no deadline."""
    retention = Retention()
    retention.keep(["b"], OLD, NEW, 0.0)
    assert not retention
    assert retention.deadline(referenced=True) is None


def test_a_cluster_that_comes_back_is_freed() -> None:
    """The new snapshot's own content counts."""
    retention = kept()
    retention.keep(["a", "b"], NEW, OLD, 1.0)
    assert not retention


def test_each_has_its_own_deadline() -> None:
    """A later change does not prolong the wait of an earlier one."""
    retention = kept()
    retention.keep(["a", "b"], NEW, fleet(), 4.0)
    assert retention.deadline(referenced=True) == REMOVAL_WAIT_S
    assert retention.release_expired(REMOVAL_WAIT_S, referenced=True)
    assert retention.names() == {"b"}
    assert not retention.release_expired(REMOVAL_WAIT_S, referenced=True)
    assert retention.release_expired(4.0 + REMOVAL_WAIT_S, referenced=True)


def test_the_grace_counts_from_the_first_confirmation() -> None:
    """What nothing leads to any more goes after the grace; what is dropped later has its own."""
    retention = kept()
    retention.unreferenced(2.0)
    retention.keep(["a", "b"], NEW, fleet(), 4.0)
    retention.unreferenced(4.0)
    assert retention.deadline(referenced=True) == 2.0 + REMOVAL_GRACE_S
    assert not retention.release_expired(2.0 + REMOVAL_GRACE_S - 0.1, referenced=True)
    assert retention.release_expired(2.0 + REMOVAL_GRACE_S, referenced=True)
    assert retention.names() == {"b"}
    assert retention.release_expired(4.0 + REMOVAL_GRACE_S, referenced=True)


def test_what_routes_may_still_lead_to_stays_when_asked() -> None:
    """Refused routes keep what they lead to without an end, but not what was let go of before."""
    retention = kept()
    retention.unreferenced(0.0)
    retention.keep(["a", "b"], NEW, fleet(), 1.0)
    assert retention.deadline(referenced=False) == REMOVAL_GRACE_S
    assert retention.release_expired(100.0, referenced=False)
    assert retention.names() == {"b"}
    assert retention.deadline(referenced=False) is None
    assert not retention.release_expired(100.0, referenced=False)


def test_a_cluster_of_unknown_content_is_kept_by_name() -> None:
    """A reconnected client holds it: it is not removed yet, but cannot be sent either."""
    retention = Retention()
    retention.keep(["a"], None, NEW, 0.0)
    assert retention.names() == {"a"}
    assert set(retention.added_to(CLUSTERS, NEW.types[CLUSTERS])) == {"b"}


def test_endpoints_that_are_still_served_are_not_kept_old() -> None:
    """Two clusters may share an endpoint set: the new content wins."""
    retention = Retention()
    new = fleet({"b": "1"}, {"a": "2", "b": "1"})
    retention.keep(["a", "b"], OLD, new, 0.0)
    assert retention.added_to(ENDPOINTS, new.types[ENDPOINTS])["a"].version == "2"


def test_the_number_is_bounded() -> None:
    """However often the policy changes; the oldest go first."""
    retention = Retention()
    names = [f"c{number}" for number in range(transition.MAX_KEPT + 2)]
    retention.keep(names, None, NEW, 0.0)
    assert len(retention.names()) == transition.MAX_KEPT
    assert "c0" not in retention.names()
    assert names[-1] in retention.names()
