"""What is served in place of refused resources."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.xds import quarantine as module
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES, RUNTIME
from control_plane.xds.quarantine import LAST_GOOD, LEFT_OUT, Quarantine, Rejected
from control_plane.xds.snapshot import Resource, Snapshot, content_version

SCOPE, PLACE = "envoy 1.40", "zone a"


def resource(name: str, version: str) -> Resource:
    """A resource whose content is its version."""
    return Resource(name, version, version.encode())


def snapshot(**types: Mapping[str, str]) -> Snapshot:
    """Name → version by short type."""
    urls = {"cds": CLUSTERS, "eds": ENDPOINTS, "lds": LISTENERS, "rds": ROUTES, "rtds": RUNTIME}
    tables = {
        url: MappingProxyType({name: resource(name, version) for name, version in types.get(short, {}).items()})
        for short, url in urls.items()
    }
    return Snapshot(tables, {url: content_version(table) for url, table in tables.items()})


def rejected(type_url: str, name: str, version: str, **fields: Any) -> Rejected:
    """A refusal."""
    defaults: dict[str, Any] = {"scope": SCOPE, "error": "bad", "policy": "v"}
    return Rejected(type_url=type_url, name=name, version=version, **defaults | fields)


def accept(quarantine: Quarantine, type_url: str, name: str, version: str, place: str = PLACE) -> None:
    """An Envoy accepts a content."""
    quarantine.accept(SCOPE, place, type_url, {name: resource(name, version)})


def versions(found: Snapshot, type_url: str) -> dict[str, str]:
    """Name → version of what is served."""
    return {name: found.version for name, found in found.resources(type_url).items()}


def test_nothing_refused() -> None:
    """The very same snapshot is served, also when something else was refused."""
    quarantine, generated = Quarantine(), snapshot(cds={"a": "1"})
    assert quarantine.effective(SCOPE, PLACE, generated, None).snapshot is generated
    quarantine.reject(rejected(CLUSTERS, "a", "2"))
    assert quarantine.effective(SCOPE, PLACE, generated, None).snapshot is generated


def test_last_accepted_in_place_of_what_was_refused() -> None:
    """Everything else is new, the refused one is as it was accepted last; the version of the type says so."""
    quarantine = Quarantine()
    accept(quarantine, CLUSTERS, "a", "1")
    assert quarantine.reject(rejected(CLUSTERS, "a", "2"))
    generated = snapshot(cds={"a": "2", "b": "2"}, eds={"a": "2"})
    found = quarantine.effective(SCOPE, PLACE, generated, None)
    assert versions(found.snapshot, CLUSTERS) == {"a": "1", "b": "2"}
    assert found.snapshot.resources(ENDPOINTS) is generated.resources(ENDPOINTS)
    assert found.snapshot.versions[CLUSTERS] == content_version(found.snapshot.resources(CLUSTERS))
    assert [(held.rejected.name, held.instead) for held in found.held] == [("a", LAST_GOOD)]


def test_the_last_good_policy_knows_it() -> None:
    """For a kind of Envoy that has accepted nothing yet, the last good policy is asked."""
    quarantine = Quarantine()
    quarantine.reject(rejected(LISTENERS, "l", "2"))
    last = snapshot(lds={"l": "1"})
    found = quarantine.effective(SCOPE, "zone b", snapshot(lds={"l": "2"}), last)
    assert versions(found.snapshot, LISTENERS) == {"l": "1"}


def test_nothing_to_take_its_place() -> None:
    """It is left out; so it is if the last good one was refused as well."""
    quarantine = Quarantine()
    quarantine.reject(rejected(CLUSTERS, "a", "2"))
    quarantine.reject(rejected(CLUSTERS, "a", "1"))
    for last in (None, snapshot(cds={"a": "1"})):
        found = quarantine.effective(SCOPE, PLACE, snapshot(cds={"a": "2", "b": "1"}), last)
        assert versions(found.snapshot, CLUSTERS) == {"b": "1"}
        assert [held.instead for held in found.held] == [LEFT_OUT]


def test_old_routes_keep_their_clusters() -> None:
    """What routes that were held back may lead to stays, with its endpoints; a cluster that was refused does not come
    back that way, and a listener that is gone is gone."""
    quarantine = Quarantine()
    quarantine.reject(rejected(ROUTES, "r", "2"))
    quarantine.reject(rejected(CLUSTERS, "worse", "1"))
    last = snapshot(cds={"a": "1", "old": "1", "worse": "1"}, eds={"old": "1"}, lds={"gone": "1"}, rds={"r": "1"})
    found = quarantine.effective(SCOPE, PLACE, snapshot(cds={"a": "2"}, rds={"r": "2"}), last).snapshot
    assert versions(found, CLUSTERS) == {"a": "2", "old": "1"}
    assert versions(found, ENDPOINTS) == {"old": "1"}
    assert versions(found, LISTENERS) == {}
    assert versions(found, ROUTES) == {"r": "1"}


def test_a_refused_cluster_alone_keeps_nothing_else() -> None:
    """Clusters name nobody, so what is gone is gone."""
    quarantine = Quarantine()
    quarantine.reject(rejected(CLUSTERS, "a", "2"))
    last = snapshot(cds={"a": "1", "old": "1"})
    found = quarantine.effective(SCOPE, PLACE, snapshot(cds={"a": "2"}), last).snapshot
    assert versions(found, CLUSTERS) == {"a": "1"}


def test_another_kind_of_envoy_is_not_concerned() -> None:
    """What an old build refuses a new one gets."""
    quarantine = Quarantine()
    quarantine.reject(rejected(CLUSTERS, "a", "2"))
    generated = snapshot(cds={"a": "2"})
    assert quarantine.effective("envoy 1.36", PLACE, generated, None).snapshot is generated


def test_what_one_has_accepted_is_not_held_against_another() -> None:
    """Accepted first, the refusal does not count; accepted later, it counts no more."""
    quarantine = Quarantine()
    accept(quarantine, CLUSTERS, "a", "2", place="zone b")
    assert not quarantine.reject(rejected(CLUSTERS, "a", "2"))
    assert quarantine.reject(rejected(CLUSTERS, "b", "2"))
    before = quarantine.revision
    accept(quarantine, CLUSTERS, "b", "2", place="zone b")
    assert not quarantine.rejections()
    assert quarantine.revision != before


@pytest.mark.parametrize(
    "error",
    ["cannot bind '127.0.0.1:80': Address already in use", "unable to open file '/x': No such file or directory"],
)
def test_an_envoys_own_machine(error: str) -> None:
    """Others are spared it only if there is something instead; and when that Envoy has gone, it counts no more."""
    quarantine = Quarantine()
    refusal = rejected(LISTENERS, "l", "2", error=error)
    assert refusal.is_local
    quarantine.reject(refusal)
    generated = snapshot(lds={"l": "2"})
    assert quarantine.effective(SCOPE, PLACE, generated, None).snapshot is generated
    found = quarantine.effective(SCOPE, PLACE, generated, snapshot(lds={"l": "1"}))
    assert versions(found.snapshot, LISTENERS) == {"l": "1"}
    quarantine.forget([refusal])
    quarantine.forget([refusal])
    assert quarantine.effective(SCOPE, PLACE, generated, snapshot(lds={"l": "1"})).snapshot is generated


def test_suspects_get_another_chance() -> None:
    """With the next policy; what was named does not, unless the operator insists."""
    quarantine = Quarantine()
    quarantine.reject(rejected(CLUSTERS, "a", "2", is_suspect=True))
    quarantine.reject(rejected(CLUSTERS, "b", "2"))
    quarantine.forget_suspects()
    assert [found.name for found in quarantine.rejections()] == ["b"]
    quarantine.forget_all()
    assert not quarantine.rejections()


def test_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest refusals are forgotten, and places that nobody is at any more."""
    monkeypatch.setattr(module, "MAX_REJECTED", 3)
    quarantine = Quarantine()
    for number in range(5):
        quarantine.reject(rejected(CLUSTERS, "a", str(number)))
    assert [found.version for found in quarantine.rejections()] == ["2", "3", "4"]
    accept(quarantine, CLUSTERS, "a", "9", place="here")
    accept(quarantine, CLUSTERS, "a", "8", place="there")
    quarantine.keep_places(frozenset({(SCOPE, "here")}))
    assert quarantine.is_accepted(SCOPE, CLUSTERS, "a", "9")
    assert not quarantine.is_accepted(SCOPE, CLUSTERS, "a", "8")
    quarantine.keep_places(frozenset())
    assert not quarantine.is_accepted(SCOPE, CLUSTERS, "a", "9")


def test_a_settled_snapshot_forgets_what_is_gone() -> None:
    """What was accepted before and is not in it will not be served again."""
    quarantine = Quarantine()
    accept(quarantine, CLUSTERS, "gone", "1")
    quarantine.settle(SCOPE, PLACE, snapshot(cds={"a": "1"}, rds={"r": "1"}))
    quarantine.reject(rejected(ROUTES, "r", "2"))
    found = quarantine.effective(SCOPE, PLACE, snapshot(cds={"a": "1"}, rds={"r": "2"}), None).snapshot
    assert versions(found, CLUSTERS) == {"a": "1"}


NAMES, VERSIONS = st.sampled_from("ab"), st.sampled_from("123")
TYPES = st.sampled_from([CLUSTERS, LISTENERS, ROUTES])
STEPS = st.lists(st.tuples(st.sampled_from(["accept", "reject"]), TYPES, NAMES, VERSIONS), max_size=25)
TABLES = st.dictionaries(NAMES, VERSIONS)


@given(STEPS, TABLES, TABLES, TABLES, st.one_of(st.none(), TABLES))
def test_no_refused_resource_is_served_and_none_blocks_another(
    steps: list[tuple[str, str, str, str]],
    cds: dict[str, str],
    lds: dict[str, str],
    rds: dict[str, str],
    last: dict[str, str] | None,
) -> None:
    """After any history: nothing that stands refused is served, and all that does not stand refused is."""
    quarantine = Quarantine()
    for step, type_url, name, version in steps:
        if step == "accept":
            accept(quarantine, type_url, name, version)
        else:
            quarantine.reject(rejected(type_url, name, version))
    generated = snapshot(cds=cds, lds=lds, rds=rds)
    before = snapshot(cds=last, lds=last, rds=last) if last is not None else None
    found = quarantine.effective(SCOPE, PLACE, generated, before).snapshot
    for type_url in (CLUSTERS, LISTENERS, ROUTES):
        served = found.resources(type_url)
        assert not any(quarantine.is_rejected(SCOPE, type_url, one) for one in served.values())
        for name, wanted in generated.resources(type_url).items():
            if not quarantine.is_rejected(SCOPE, type_url, wanted):
                assert served[name] is wanted
        assert found.versions[type_url] == content_version(served)
