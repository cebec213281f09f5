"""What is wrong, read from what the parts say of themselves."""

from typing import Any

import pytest

from control_plane.notices import conditions, kinds
from control_plane.notices.notice import Condition


def one(found: Any) -> Condition:
    """The only condition."""
    (condition,) = found
    assert isinstance(condition, Condition)
    return condition


def test_all_is_well() -> None:
    """Nobody says anything."""
    row = {"state": "ok", "error": "", "expires": "", "policy": "p", "files": ["f"]}
    assert [
        *conditions.policy("applied", "v", "", "", 0),
        *conditions.policy("rolling-out", "v", "", "", 0),
        *conditions.removal(""),
        *conditions.discovery([{"state": "fresh"}, {"state": "pending"}]),
        *conditions.certificates([row], 0.0, 1e9),
        *conditions.rejected_pushes([]),
        *conditions.endpoints_out([("a", [], 3)], 0.25),
        *conditions.predictions([]),
        *conditions.kv_events({}),
        *conditions.internal_errors(0),
        *conditions.drains([]),
        *conditions.zones([]),
    ] == []


@pytest.mark.parametrize(
    ("state", "words"),
    [("rejected", "has errors"), ("refused", "is not applied"), ("rolled-back", "was rolled back")],
)
def test_an_edit_that_is_not_served(state: str, words: str) -> None:
    """Why, and what is served in its place."""
    found = one(conditions.policy(state, "v1", "p.yaml:3:4: no", "", 2))
    assert found.summary == f"the last edit of the policy {words}: p.yaml:3:4: no"
    assert found.facts["serving"] == "v1"
    assert "2 findings" in one(conditions.policy(state, "v1", "", "", 2)).summary


def test_a_file_that_is_gone_is_another_trouble_than_a_bad_edit() -> None:
    """Both may be there."""
    assert [each.subject for each in conditions.policy("rejected", "v", "e", "gone", 0)] == ["file", "edit"]


def test_discovery() -> None:
    """Critical while there is no endpoint from it."""
    row = {"pool": "a", "kind": "dns", "target": "h:80", "error": "no answer", "endpoints": 3}
    found = one(conditions.discovery([{**row, "state": "stale"}]))
    assert (found.severity, found.subject) == (kinds.WARNING, "a dns h:80")
    assert "its last 3 endpoints are used: no answer" in found.summary
    assert one(conditions.discovery([{**row, "state": "failed"}])).severity == kinds.CRITICAL


def test_certificates() -> None:
    """A file that cannot be used; one that ends within the time that is asked for, and not a second before."""
    row = {"policy": "listeners.a.tls", "files": ["a.pem", "k.pem"], "state": "ok", "error": ""}
    ends = {**row, "expires": "2026-11-20T00:00:00+00:00"}
    at = 1_795_132_800.0
    assert list(conditions.certificates([ends], at - 101, 100)) == []
    assert "ends at 2026-11-20" in one(conditions.certificates([ends], at - 100, 100)).summary
    bad = {**row, "expires": "", "error": "a.pem: gone"}
    severities = [one(conditions.certificates([{**bad, "state": s}], 0, 0)).severity for s in ("missing", "stale")]
    assert severities == [kinds.CRITICAL, kinds.WARNING]


def test_a_bad_push_is_one_trouble_of_its_group() -> None:
    """However many Envoys and resources; the same resource counts once."""
    found = list(
        conditions.rejected_pushes(
            [
                ("edge", "LDS a", "no"),
                ("edge", "LDS a", "no again"),
                ("edge", "RDS b", "nor"),
                ("default", "CDS c", "x"),
            ]
        )
    )
    assert [each.subject for each in found] == ["edge", "default"]
    assert found[0].facts == {"resources": "LDS a, RDS b", "count": 2}
    assert found[0].summary == "Envoys of the group edge do not get 2 resources, first LDS a: no"
    assert found[1].summary == "Envoys of the group default do not get CDS c: x"


@pytest.mark.parametrize(
    ("out", "total", "severity"),
    [(0, 8, None), (1, 8, None), (2, 8, kinds.WARNING), (7, 8, kinds.WARNING), (8, 8, kinds.CRITICAL),
     (1, 1, kinds.CRITICAL), (0, 0, kinds.CRITICAL)],
)  # fmt: skip
def test_a_wave_of_ejections_is_about_its_pool(out: int, total: int, severity: str | None) -> None:
    """From the share on; critical when nobody is left, or there never was anybody."""
    pods = [f"10.0.0.{number}:80" for number in range(out)]
    found = list(conditions.endpoints_out([("a", pods, total)], 0.25))
    assert [each.severity for each in found] == ([severity] if severity else [])


def test_names_are_not_repeated_without_end() -> None:
    """The first few, and how many more."""
    found = one(conditions.endpoints_out([("a", [str(number) for number in range(100)], 200)], 0.25))
    assert found.facts["endpoints"] == "0, 1, 2, 3, 4 and 95 more"


def test_why_endpoints_are_out() -> None:
    """The first of whom more is known than that its requests fail; nothing where that is all."""
    words = {"b": "GPU 0 has error XID 79"}
    found = one(conditions.endpoints_out([("p", ["a", "b"], 4)], 0.25, lambda address: words.get(address, "")))
    assert found.facts["why"] == "b: GPU 0 has error XID 79"
    assert "why" not in one(conditions.endpoints_out([("p", ["a"], 4)], 0.25)).facts
    assert one(conditions.endpoints_out([("p", ["a"], 1)], 0.25)).summary == "pool p: its only endpoint fails"


def test_the_others() -> None:
    """One condition each, with the numbers in it."""
    assert "count for 30%: why" in one(conditions.predictions([("a", "over", 0.3, "why")])).summary
    assert one(conditions.strategies_off([("a", "it is slow")])).summary.endswith("kv-aware stands in: it is slow")
    assert one(conditions.kv_events({"a:1": "refused", "b:2": "x"})).facts["count"] == 2
    gpus = one(conditions.gpu_exporters({"http://a:9400/metrics": "refused", "b:2": "x"}))
    assert gpus.facts == {"count": 2, "exporters": "http://a:9400/metrics, b:2"}
    assert gpus.summary.endswith("http://a:9400/metrics: refused")
    assert list(conditions.gpu_exporters({})) == []
    assert one(conditions.internal_errors(4)).facts["count"] == 4
    rows = [{"pool": "a", "address": "1"}, {"pool": "a", "address": "2"}, {"pool": "b", "address": "3"}]
    assert [(each.subject, each.facts["count"]) for each in conditions.drains(rows)] == [("a", 2), ("b", 1)]


def test_degraded() -> None:
    """One for each model; who answers, and how often, are facts: they change from request to request."""
    row = {"model": "m", "pool": "p", "label": "n", "why": "full", "requests": 3}
    (found,) = conditions.degraded([row])
    assert (found.kind, found.subject) == ("degraded", "m")
    assert found.summary == "model m: pool p cannot serve all requests, they are answered otherwise"
    assert found.facts == {"pool": "p", "latest": "n", "why": "full", "requests": 3}
    (later,) = conditions.degraded([{**row, "label": "o", "requests": 4}])
    assert (later.summary, later.severity) == (found.summary, found.severity)


def test_all_kinds_are_known() -> None:
    """Whatever is yielded is in the table, and facts have names that every format can have."""
    row = {"pool": "a", "kind": "dns", "target": "h", "error": "e", "endpoints": 0, "state": "failed", "address": "x"}
    found = [
        *conditions.policy("rejected", "v", "e", "f", 0),
        *conditions.removal("x"),
        *conditions.discovery([row]),
        *conditions.certificates([{"policy": "p", "files": [], "state": "stale", "error": "e", "expires": ""}], 0, 0),
        *conditions.rejected_pushes([("g", "r", "e")]),
        *conditions.endpoints_out([("a", ["b"], 1)], 0.25),
        *conditions.predictions([("a", "over", 0.3, "why")]),
        *conditions.strategies_off([("a", "why")]),
        *conditions.kv_events({"a": "b"}),
        *conditions.gpu_exporters({"a": "b"}),
        *conditions.degraded([{"model": "m", "pool": "p", "label": "n", "why": "w", "requests": 1}]),
        *conditions.internal_errors(1),
        *conditions.drains([row]),
        *conditions.zones([place("za", "offline"), place("zb", "active")]),
    ]
    assert {each.kind for each in found} == set(kinds.KINDS)
    assert all(name.isidentifier() for each in found for name in each.facts)


def place(name: str, state: str, *, pool: str = "p", envoys: str = "za") -> dict[str, Any]:
    """A row of `zones`."""
    return {"pool": pool, "from": envoys, "place": name, "state": state, "share": 0, "why": "so it is"}


def test_requests_go_elsewhere() -> None:
    """One for each place that is not as it should be, also on its way back; once for all Envoys that see it so."""
    rows = [
        place("za", "offline"),
        place("zb", "active"),
        place("zb", "active", envoys="zb"),
        place("za", "offline", envoys="zb"),
        place("za", "degraded", pool="q"),
        place("zb", "failover", pool="q"),
    ]
    found = list(conditions.zones(rows))
    assert [(each.kind, each.subject, each.severity) for each in found] == [
        (kinds.ZONE, "p za", kinds.WARNING),
        (kinds.ZONE, "q za", kinds.INFO),
        (kinds.ZONE, "q zb", kinds.WARNING),
    ]
    assert found[0].summary == "pool p: za is offline: so it is"
    assert found[0].facts["share"] == 0


def test_a_place_without_another_one() -> None:
    """Its requests go nowhere else: it is its endpoints that are told of."""
    assert list(conditions.zones([place("za", "offline")])) == []
