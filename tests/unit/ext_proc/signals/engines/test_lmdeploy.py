"""LMDeploy's page."""

from ext_proc.signals.engines.lmdeploy import read_lmdeploy
from tests.unit.ext_proc.signals.pages import page


def test_page() -> None:
    """The queue is what waits for the engine and what waits for a handle of it."""
    found = read_lmdeploy(page("lmdeploy-0.18.prom"))
    assert found.values() == {"running": 8, "waiting": 2, "kv_usage": 0.512, "prefix_hit_rate": 0.33}
    more = b'lmdeploy:num_requests_waiting{engine="0"} 2\nlmdeploy:num_api_requests_waiting{engine="0"} 3\n'
    assert read_lmdeploy(more).waiting == 5
    assert read_lmdeploy(b'lmdeploy:num_requests_waiting{engine="0"} 2\n').waiting == 2


def test_settings() -> None:
    """Either engine's settings tell the block size; the capacity only where it was set by hand."""
    for labels, expected in (
        ('cache_block_seq_len="64"', (64, None)),
        ('block_size="16",num_gpu_blocks="0"', (16, None)),
        ('block_size="16",num_gpu_blocks="100"', (16, 1_600)),
        ('block_size="None"', (None, None)),
    ):
        found = read_lmdeploy(f"lmdeploy:backend_config_info{{{labels}}} 1.0\n".encode())
        assert (found.block_size, found.kv_tokens) == expected


def test_counters() -> None:
    """Cached tokens are counted by newer versions."""
    body = b"lmdeploy:prompt_tokens_total 70\nlmdeploy:cached_tokens_total 30\nlmdeploy:generation_tokens_total 9\n"
    assert read_lmdeploy(body).values() == {
        "prefix_queries": 70, "prefix_hits": 30, "prompt_tokens": 70, "generation_tokens": 9,
    }  # fmt: skip
