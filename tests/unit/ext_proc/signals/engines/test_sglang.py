"""SGLang's pages in all their spellings."""

import json
from typing import Any

import pytest

from ext_proc.signals.engines.sglang import MAX_LOADS, read_loads, read_sglang
from tests.unit.ext_proc.signals.pages import page

EXPECTED: dict[str, dict[str, Any]] = {
    "sglang-0.4.6.prom": {
        "running": 2, "waiting": 0, "kv_usage": 0.11, "prefix_queries": 8_128_902, "prefix_hits": 3_100_000,
        "prefix_hit_rate": 0.62, "prompt_tokens": 8_128_902,
    },
    "sglang-0.5.9.prom": {
        "running": 9, "waiting": 1, "kv_usage": 0.38, "block_size": 64, "kv_tokens": 713_408,
        "prefix_queries": 8_128_902, "prefix_hits": 3_100_000, "prefix_hit_rate": 0.41, "prompt_tokens": 8_128_902,
    },
    "sglang-0.5.23.prom": {
        "running": 24, "waiting": 13, "kv_usage": 0.93, "block_size": 64, "kv_tokens": 713_408,
        "prefix_queries": 8_128_902, "prefix_hits": 3_220_000, "prefix_hit_rate": 0.27, "prompt_tokens": 8_128_902,
    },
    "sglang-0.5.23-dp2.prom": {
        "running": 55, "waiting": 4, "kv_usage": 0.63, "block_size": 64, "kv_tokens": 2 * 713_408,
        "prefix_queries": 8_128_902, "prefix_hits": 3_220_000, "prefix_hit_rate": 0.0, "prompt_tokens": 8_128_902,
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "values"), EXPECTED.items())
def test_versions(name: str, values: dict[str, Any]) -> None:
    """Each version's `/metrics` gives its numbers."""
    assert read_sglang(page(name)).values() == values


@pytest.mark.parametrize(
    ("body", "waiting"),
    [
        (b'sglang:num_queue_reqs{priority=""} 5\nsglang:num_queue_reqs{priority="1"} 3\n', 5),
        (b'sglang:num_queue_reqs{tp_rank="0"} 5\nsglang:num_queue_reqs{tp_rank="1"} 5\n', 5),
        (b'sglang:num_queue_reqs{tp_rank="0",dp_rank="0"} 5\nsglang:num_queue_reqs{tp_rank="0",dp_rank="1"} 2\n', 7),
        (b'sglang:num_queue_reqs{model_name="a"} 5\nsglang:num_queue_reqs{model_name="b"} 2\n', 7),
        (b'sglang:num_queue_reqs{priority="1"} 3\n', None),
    ],
)
def test_ranks(body: bytes, waiting: int | None) -> None:
    """Ranks that repeat each other count once, data-parallel ones are summed, rows of one priority do not count."""
    assert read_sglang(body).waiting == waiting


@pytest.mark.parametrize(
    ("body", "kv_tokens"),
    [
        (b'sglang:cache_config_info{page_size="64",num_pages="10"} 1\n', 640),
        (b'sglang:page_size{dp_rank="0"} 64\nsglang:num_pages{dp_rank="0"} 10\n', 640),
        (b"sglang:page_size 64\nsglang:num_pages 10\nsglang:max_total_num_tokens 700\n", 700),
        (b"sglang:page_size 64\n", None),
        (b'sglang:cache_config_info{page_size="64",num_pages="None"} 1\n', None),
    ],
)
def test_capacity(body: bytes, kv_tokens: int | None) -> None:
    """Pages are told by labels or by gauges; tokens, where they are told, count before both."""
    found = read_sglang(body)
    assert (found.block_size or 64, found.kv_tokens) == (64, kv_tokens)


def test_generated_tokens() -> None:
    """The counter that grows with every step counts before the one that grows when a request ends."""
    ended = b"sglang:generation_tokens_total 5\n"
    assert read_sglang(ended).generation_tokens == 5
    each = b'sglang:realtime_tokens_total{mode="decode"} 9\nsglang:realtime_tokens_total{mode="prefill_compute"} 70\n'
    assert read_sglang(ended + each).generation_tokens == 9


def test_loads() -> None:
    """`/v1/loads` tells what waits in tokens, too."""
    assert read_loads(page("sglang-0.5.23-v1_loads.json")).values() == {
        "running": 24, "waiting": 13, "waiting_tokens": 41_211, "max_running": 256, "kv_usage": 0.93,
        "kv_tokens": 713_408, "prefix_hit_rate": 0.27,
    }  # fmt: skip


def test_loads_of_ranks() -> None:
    """Data-parallel ranks are summed, shares averaged; what a rank does not tell is left out."""
    loads = [
        {"dp_rank": 0, "num_running_reqs": 3, "num_waiting_reqs": 1, "token_usage": 0.5},
        {"dp_rank": 1, "num_running_reqs": 4, "num_waiting_reqs": 0, "token_usage": 0.1, "cache_hit_rate": None},
    ]
    found = read_loads(json.dumps({"loads": loads}).encode()).values()
    assert found == {"running": 7, "waiting": 1, "kv_usage": pytest.approx(0.3)}
    many = json.dumps({"loads": [{"num_running_reqs": 1}] * (MAX_LOADS + 1)}).encode()
    assert read_loads(many).running == MAX_LOADS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"loads": {}}',
        b'{"loads": [1, null, "x", []]}',
        b'{"loads": [{"num_running_reqs": -1}]}',
        b'{"loads": [{"num_running_reqs": "3"}]}',
        b"[" * 100_000,
        b'\xff{"loads": []}',
    ],
)
def test_bad_loads(body: bytes) -> None:
    """What is no answer of it tells nothing."""
    assert read_loads(body).values() == {}
