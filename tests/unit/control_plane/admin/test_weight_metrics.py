"""The numbers about weights that were learned."""

from types import SimpleNamespace
from typing import Any

from control_plane.admin.weight_metrics import weights


def lane(rows: list[dict[str, Any]], pushes: int = 0, reports: int = 0, *, envoys: bool = True) -> Any:
    """A lane with these."""
    service = SimpleNamespace(reports=reports, ignored=2, reporters=3) if envoys else None
    return SimpleNamespace(status=lambda: rows, pushes=pushes, load_stats=service)


ROW = {"pool": "p", "address": "10.0.0.1:80", "configured": 100, "weight": 45.5}


def test_numbers() -> None:
    """The weight of each endpoint that learns, changes, and the reports of Envoys."""
    found = {family.name: family for family in weights(lane([ROW], pushes=4, reports=9))}
    (sample,) = found["kvpilot_endpoint_weight"].samples
    assert (sample.labels, sample.value) == ({"pool": "p", "endpoint": "10.0.0.1:80"}, 45.5)
    assert found["kvpilot_weight_changes"].samples[0].value == 4
    reports = found["kvpilot_envoy_load_reports"].samples
    assert [(sample.labels["result"], sample.value) for sample in reports] == [("ok", 9), ("ignored", 2)]
    assert found["kvpilot_envoy_load_reporters"].samples[0].value == 3


def test_nothing_is_learned() -> None:
    """Then there are no numbers; without Envoys there are none of their reports; counters stay once they count."""
    assert list(weights(lane([]))) == []
    assert [family.name for family in weights(lane([ROW], envoys=False))] == [
        "kvpilot_endpoint_weight",
        "kvpilot_weight_changes",
    ]
    assert [family.name for family in weights(lane([], pushes=1, reports=1))] == [
        "kvpilot_weight_changes",
        "kvpilot_envoy_load_reports",
        "kvpilot_envoy_load_reporters",
    ]
