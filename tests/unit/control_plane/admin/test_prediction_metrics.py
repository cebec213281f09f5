"""Metrics of predictions, of the prefix index and of token sizes."""

from control_plane.admin.prediction_metrics import index, predictions, token_sizes
from ext_proc.core.index import PrefixIndex
from ext_proc.core.learned import Learned
from ext_proc.core.settings import EndpointSettings, PoolSettings


def test_each_pool() -> None:
    """One verdict is 1; a share that nobody has found is absent; what is not acted on is trusted."""
    learned = Learned()
    pods = (EndpointSettings(address="10.0.0.1:8000"),)
    learned.want((PoolSettings(name="p", cluster="c", endpoints=pods),))
    status = learned.status("p") | {"verdict": "over", "trust": 0.0, "believed_tokens": 7}
    status["endpoints"] = {"10.0.0.1:8000": {"verdict": "over"}}
    watched = status | {"is_acting": False, "found_share": 0.5}
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in predictions({"p": {"prediction": status}, "q": {"prediction": watched}}, {("p", "over"): 2})
        for sample in family.samples
    }
    name = "kvpilot_pool_prediction"
    assert [found[f"{name}_verdict", "p", each] for each in ("unknown", "fine", "over", "under", "untold")] == (
        [0, 0, 1, 0, 0]
    )
    assert (found[f"{name}_trust", "p"], found[f"{name}_trust", "q"]) == (0.0, 1.0)
    assert (f"{name}_found_ratio", "p") not in found
    assert found[f"{name}_found_ratio", "q"] == 0.5
    assert found[f"{name}_tokens_total", "p", "believed"] == 7
    assert (found[f"{name}_endpoints", "p", "over"], found[f"{name}_endpoints", "p", "under"]) == (1, 0)
    assert found[f"{name}_changes_total", "p", "over"] == 2


def test_the_index() -> None:
    """All of its numbers, as it tells them."""
    prefixes = PrefixIndex(max_in_all=3)
    prefixes.insert(0, (1, 2, 3))
    prefixes.insert(1, (1, 4))
    found = {sample.name: sample.value for family in index(prefixes.as_dict()) for sample in family.samples}
    assert found["kvpilot_index_held_blocks"] == 3
    assert found["kvpilot_index_evicted_blocks_total"] == 2
    assert 0 < found["kvpilot_index_bytes"] <= found["kvpilot_index_budget_bytes"]


def test_token_sizes() -> None:
    """By model; no model, no sample."""
    told = {"m": {"bytes_per_token": 3.5, "overhead_tokens": 12.0}}
    assert [(each.labels, each.value) for family in token_sizes(told) for each in family.samples] == [
        ({"model": "m"}, 3.5),
        ({"model": "m"}, 12.0),
    ]
    assert [sample for family in token_sizes({}) for sample in family.samples] == []
