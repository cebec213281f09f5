"""The pages of `trtllm-serve`."""

import json

import pytest

from ext_proc.signals.engines.trtllm import TRTLLM, read_iterations, read_trtllm
from tests.unit.ext_proc.signals.pages import page


def test_prometheus() -> None:
    """Blocks become tokens."""
    assert read_trtllm(page("trtllm-serve-prometheus.prom")).values() == {
        "running": 17, "waiting": 5, "kv_usage": 0.6215, "block_size": 32, "kv_tokens": 6_239 * 32,
        "prefix_queries": (120_931 + 237_712) * 32, "prefix_hits": 120_931 * 32, "prefix_hit_rate": 0.3372,
    }  # fmt: skip


def test_iterations() -> None:
    """Of several iterations the newest counts."""
    (newest,) = json.loads(page("trtllm-serve-iteration-stats.json"))
    older = {**newest, "numActiveRequests": 1, "numQueuedRequests": 0}
    assert read_iterations(json.dumps([older, newest]).encode()).values() == {
        "running": 17, "waiting": 5, "max_running": 2_048, "kv_usage": pytest.approx(0.62157, abs=1e-5),
        "block_size": 32, "kv_tokens": 6_239 * 32, "prefix_queries": (120_931 + 237_712) * 32,
        "prefix_hits": 120_931 * 32, "prefix_hit_rate": 0.3372,
    }  # fmt: skip


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"[1]", b"[null]", b'[{"kvCacheStats": 3}]', b"[" * 100_000])
def test_nothing_to_read(body: bytes) -> None:
    """An idle engine answers `[]`, and so does one whose iterations somebody else has taken: that tells nothing."""
    assert read_iterations(body).values() == {}


def test_blocks_of_unknown_size() -> None:
    """Blocks without a size are no tokens."""
    assert read_trtllm(b"trtllm_kv_cache_max_blocks 7\ntrtllm_kv_cache_tokens_per_block 0\n").values() == {}


def test_records_are_left_alone() -> None:
    """The page whose reading takes records away is none of those that are read unasked."""
    assert "/metrics" not in {each.path for each in TRTLLM.pages}
    assert TRTLLM.on_request["/metrics"] is read_iterations
