"""Metrics of shadows."""

from control_plane.admin.shadow_metrics import shadows

SHADOW = {"strategy": "random", "agreed": 3, "differed": 2, "failed": 1, "regret": 4.5, "live_regret": 0.5}


def test_nothing_where_nobody_looks_on() -> None:
    """Not even a name."""
    assert list(shadows({"p": {"strategy": "kv-aware", "endpoints": []}})) == []


def test_each_pool_that_has_one() -> None:
    """Every pick is in one of the results, and each regret is by one of the two."""
    picks, regret = shadows({"p": {"strategy": "kv-aware", "shadow": SHADOW}, "q": {"strategy": "session"}})
    labels = {"pool": "p", "strategy": "kv-aware", "shadow": "random"}
    assert [(sample.name, sample.labels, sample.value) for sample in picks.samples] == [
        ("kvpilot_shadow_picks_total", labels | {"result": "agreed"}, 3),
        ("kvpilot_shadow_picks_total", labels | {"result": "differed"}, 2),
        ("kvpilot_shadow_picks_total", labels | {"result": "failed"}, 1),
    ]
    assert [(sample.labels["by"], sample.value) for sample in regret.samples] == [("live", 4.5), ("shadow", 0.5)]
