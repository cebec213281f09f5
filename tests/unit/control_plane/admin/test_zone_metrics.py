"""Places for Prometheus."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

from control_plane.admin.zone_metrics import zones


def test_zones() -> None:
    """One state of each place is 1; the families are there without any."""
    lane: Any = SimpleNamespace(pushes=3, changes=Counter({("p", "za", "offline"): 2}))
    row = {"pool": "p", "from": "zb", "place": "za", "state": "offline", "share": 40}
    states, shares, changes, told = zones([row], lane)
    found = {sample.labels["state"]: sample.value for sample in states.samples}
    assert found == {"active": 0, "degraded": 0, "failover": 0, "offline": 1}
    assert states.samples[0].labels | {"state": ""} == {"pool": "p", "from": "zb", "zone": "za", "state": ""}
    assert [sample.value for sample in shares.samples] == [40]
    assert [(*sample.labels.values(), sample.value) for sample in changes.samples] == [("p", "za", "offline", 2)]
    assert [sample.value for sample in told.samples] == [3]
    assert [family.samples for family in list(zones([], lane))[:2]] == [[], []]
