"""Counts of endpoints by how they are."""

from control_plane.admin.health_metrics import changes, endpoints, hardware, mirrored, trials


def test_endpoints() -> None:
    """By pool and word; a word that nobody has is not there."""
    (family,) = endpoints(
        {
            "p": {"endpoints": [{"health": "healthy"}, {"health": "ejected"}, {"health": "healthy"}]},
            "q": {"endpoints": []},
        }
    )
    assert family.name == "kvpilot_endpoints"
    found = [(*sample.labels.values(), sample.value) for sample in family.samples]
    assert found == [("p", "ejected", 1), ("p", "healthy", 2)]


def test_mirrored() -> None:
    """By pool and state, and how often there was news; the families are there without any."""
    rows = [{"pool": "p", "address": f"10.0.0.{n}:80", "state": "unhealthy"} for n in range(2)]
    gauge, counter = mirrored(rows, 3)
    assert [(*sample.labels.values(), sample.value) for sample in gauge.samples] == [("p", "unhealthy", 2)]
    assert [sample.value for sample in counter.samples] == [3]
    gauge, _ = mirrored([], 0)
    assert gauge.samples == []


def test_changes() -> None:
    """By the state that endpoints came into."""
    (family,) = changes({"unhealthy": 2, "degraded": 1})
    assert [(*sample.labels.values(), sample.value) for sample in family.samples] == [("degraded", 1), ("unhealthy", 2)]


def test_hardware() -> None:
    """How often exporters were read, and how many cannot be now; nothing where none is asked."""
    assert list(hardware({}, 0)) == []
    reads, failing = hardware({"ok": 3}, 2)
    assert {sample.labels["result"]: sample.value for sample in reads.samples} == {"ok": 3, "failed": 0}
    assert [sample.value for sample in failing.samples] == [2]


def test_trials() -> None:
    """By pool and answer; the family is there without any."""
    (family,) = trials({("q", "ok"): 2, ("p", "timeout"): 1})
    assert family.name == "kvpilot_trials"
    found = [(*sample.labels.values(), sample.value) for sample in family.samples]
    assert found == [("p", "timeout", 1), ("q", "ok", 2)]
    (family,) = trials({})
    assert family.samples == []
