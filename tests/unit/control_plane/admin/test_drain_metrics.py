"""The gauge of what drains."""

from control_plane.admin.drain_metrics import drains


def row(pool: str, state: str, by: str = "operator") -> dict[str, str]:
    """As the status has it."""
    return {"pool": pool, "state": state, "by": by, "address": "10.0.0.1:80"}


def test_counts() -> None:
    """Of endpoints, by pool, state and by whose word; without any the family is there and empty."""
    (family,) = drains([row("q", "draining"), row("p", "drained"), row("p", "drained"), row("p", "draining", "pod")])
    assert family.name == "kvpilot_draining_endpoints"
    assert [(*sample.labels.values(), sample.value) for sample in family.samples] == [
        ("p", "drained", "operator", 2),
        ("p", "draining", "pod", 1),
        ("q", "draining", "operator", 1),
    ]
    (family,) = drains([])
    assert family.samples == []
