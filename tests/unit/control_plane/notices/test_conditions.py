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


def test_the_others() -> None:
    """One condition each, with the numbers in it."""
    assert "count for 30%: why" in one(conditions.predictions([("a", "over", 0.3, "why")])).summary
    assert one(conditions.kv_events({"a:1": "refused", "b:2": "x"})).facts["count"] == 2
    assert one(conditions.internal_errors(4)).facts["count"] == 4
    rows = [{"pool": "a", "address": "1"}, {"pool": "a", "address": "2"}, {"pool": "b", "address": "3"}]
    assert [(each.subject, each.facts["count"]) for each in conditions.drains(rows)] == [("a", 2), ("b", 1)]


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
        *conditions.kv_events({"a": "b"}),
        *conditions.internal_errors(1),
        *conditions.drains([row]),
    ]
    assert {each.kind for each in found} == set(kinds.KINDS)
    assert all(name.isidentifier() for each in found for name in each.facts)
