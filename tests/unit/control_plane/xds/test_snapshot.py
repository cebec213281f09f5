"""Versions come from content; building is deterministic, checked and remembered."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.xds.errors import ResourceError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS
from control_plane.xds.snapshot import Memo, Snapshot, build_snapshot, version_of
from protos.messages import load


def cluster(name: str, **fields: object) -> dict[str, object]:
    """An EDS cluster in Envoy's JSON."""
    return {"name": name, "type": "EDS", "edsClusterConfig": {"edsConfig": {"ads": {}}}, **fields}


def endpoints(name: str, port: int) -> dict[str, object]:
    """An endpoint set with one endpoint."""
    address = {"socketAddress": {"address": "127.0.0.1", "portValue": port}}
    return {"clusterName": name, "endpoints": [{"lbEndpoints": [{"endpoint": {"address": address}}]}]}


def build(*clusters: dict[str, object], memo: Memo | None = None) -> Snapshot:
    """A snapshot of these clusters."""
    return build_snapshot({CLUSTERS: {str(c["name"]): c for c in clusters}}, load(), memo)


class TestVersions:
    """The same content, the same version."""

    def test_a_resource_is_as_old_as_its_content(self) -> None:
        """Another field, another version; the same fields in another order, the same."""
        one = build(cluster("a", connectTimeout="1s", altStatName="x")).types[CLUSTERS]["a"]
        same = build(dict(reversed(cluster("a", connectTimeout="1s", altStatName="x").items()))).types[CLUSTERS]["a"]
        other = build(cluster("a", connectTimeout="2s", altStatName="x")).types[CLUSTERS]["a"]
        assert one == same
        assert one.version != other.version

    def test_maps_do_not_depend_on_their_order(self) -> None:
        """Metadata are maps in protobuf, whose order is anyone's."""

        def with_metadata(*keys: str) -> dict[str, object]:
            return cluster("a", metadata={"filterMetadata": {"kvpilot": dict.fromkeys(keys, 1.0)}})

        keys = [f"key{number}" for number in range(20)]
        assert build(with_metadata(*keys)).versions == build(with_metadata(*reversed(keys))).versions

    def test_known_version(self) -> None:
        """A version is a promise across releases and restarts: this one must not change by accident."""
        assert build(cluster("a")).types[CLUSTERS]["a"].version == "ce44ef208c1c470d"

    @given(st.dictionaries(st.text(), st.text(), max_size=5), st.randoms())
    def test_a_set_has_one_version_in_any_order(self, versions: dict[str, str], random: Any) -> None:
        """Order is not content."""
        pairs = list(versions.items())
        random.shuffle(pairs)
        assert version_of(pairs) == version_of(versions.items())

    @given(*(st.dictionaries(st.text("ab", max_size=2), st.text("ab", max_size=2), max_size=3) for _ in range(2)))
    def test_different_sets_have_different_versions(self, one: dict[str, str], other: dict[str, str]) -> None:
        """Names and versions cannot run into each other."""
        assert (version_of(one.items()) == version_of(other.items())) == (one == other)

    def test_each_type_has_its_own(self) -> None:
        """A change of endpoints leaves the clusters' version alone; an empty type has one, too."""
        one = build_snapshot(
            {CLUSTERS: {"a": cluster("a")}, ENDPOINTS: {"a": endpoints("a", 1)}, LISTENERS: {}}, load()
        )
        two = build_snapshot(
            {CLUSTERS: {"a": cluster("a")}, ENDPOINTS: {"a": endpoints("a", 2)}, LISTENERS: {}}, load()
        )
        assert one.versions[CLUSTERS] == two.versions[CLUSTERS]
        assert one.versions[ENDPOINTS] != two.versions[ENDPOINTS]
        assert one.versions[LISTENERS] == version_of([])


class TestBuilding:
    """From JSON to bytes."""

    def test_the_body_is_the_message(self) -> None:
        """What is sent is what was compiled."""
        resource = build(cluster("a", connectTimeout="3s")).types[CLUSTERS]["a"]
        message: Any = load()["envoy.config.cluster.v3.Cluster"].FromString(resource.body)
        assert message.connect_timeout.seconds == 3

    def test_a_cluster_says_which_endpoints_it_needs(self) -> None:
        """Its service name if it has one, else its own; none for a cluster without EDS."""
        service = {"edsConfig": {"ads": {}}, "serviceName": "svc"}
        named = cluster("b", edsClusterConfig=service)
        types = build(cluster("a"), named, {"name": "c", "type": "STATIC"}).types[CLUSTERS]
        assert [types[name].eds_name for name in "abc"] == ["a", "svc", ""]

    def test_an_unknown_field_is_an_error_that_names_the_resource(self) -> None:
        """A typo in the compiler does not reach Envoy."""
        with pytest.raises(ResourceError, match=r"Cluster 'a'.*conectTimeout"):
            build(cluster("a", conectTimeout="1s"))

    def test_a_resource_under_another_name_is_an_error(self) -> None:
        """Envoy would not find it, or find it twice."""
        with pytest.raises(ResourceError, match="'a' calls itself 'b'"):
            build_snapshot({ENDPOINTS: {"a": endpoints("b", 1)}}, load())

    def test_a_type_that_is_not_served_has_no_resources(self) -> None:
        """Asking is harmless."""
        assert dict(build().resources(LISTENERS)) == {}


class TestMemo:
    """Unchanged resources are not built again."""

    def test_unchanged_resources_are_the_same_objects(self) -> None:
        """Also when their JSON was made anew."""
        memo = Memo()
        one = build(cluster("a"), cluster("b"), memo=memo)
        two = build(cluster("a"), cluster("b", altStatName="x"), memo=memo)
        assert two.types[CLUSTERS]["a"] is one.types[CLUSTERS]["a"]
        assert two.types[CLUSTERS]["b"] != one.types[CLUSTERS]["b"]

    def test_an_unchanged_type_is_the_same_object(self) -> None:
        """Sessions see at once that there is nothing to compare."""
        memo = Memo()
        one = build(cluster("a"), memo=memo)
        assert build(cluster("a"), memo=memo).types[CLUSTERS] is one.types[CLUSTERS]

    def test_what_is_gone_is_forgotten(self) -> None:
        """A memo is as big as the last snapshot."""
        memo = Memo()
        build(cluster("a"), cluster("b"), memo=memo)
        build(cluster("a"), memo=memo)
        assert list(memo.resources) == [(CLUSTERS, "a")]

    def test_it_changes_nothing_but_the_work(self) -> None:
        """With and without a memo the snapshot is the same."""
        memo = Memo()
        build(cluster("a", altStatName="x"), memo=memo)
        assert build(cluster("a"), memo=memo) == build(cluster("a"))
