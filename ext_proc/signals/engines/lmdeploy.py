"""LMDeploy 0.10 to 0.18: `/metrics`, rows by data-parallel rank (`engine`). Pure.

Names as in its `lmdeploy/metrics/loggers.py`; the engine's settings are labels of an Info, under their own names
(`cache_block_seq_len` of TurboMind, `block_size` and `num_gpu_blocks` of the PyTorch engine).
"""

from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.exposition import Scanner
from ext_proc.signals.numbers import Numbers, Scrape

_RUNNING: Final = "lmdeploy:num_requests_running"
_WAITING: Final = "lmdeploy:num_requests_waiting"
# Requests that wait for a handle of the engine, before its own queue.
_API_WAITING: Final = "lmdeploy:num_api_requests_waiting"
_KV_USAGE: Final = "lmdeploy:gpu_cache_usage_perc"
_HIT_RATE: Final = "lmdeploy:prefix_cache_hit_rate"
_PROMPT: Final = "lmdeploy:prompt_tokens_total"
_CACHED: Final = "lmdeploy:cached_tokens_total"
_GENERATED: Final = "lmdeploy:generation_tokens_total"
_CONFIG: Final = "lmdeploy:backend_config_info"

_SCAN: Final = Scanner((_RUNNING, _WAITING, _API_WAITING, _KV_USAGE, _HIT_RATE, _PROMPT, _CACHED, _GENERATED, _CONFIG))


def read_lmdeploy(page: bytes) -> Scrape:
    """The numbers of its page."""
    samples, numbers = _SCAN(page), Numbers()
    numbers.take("running", samples.total(_RUNNING))
    if (waiting := samples.total(_WAITING)) is not None:
        before = samples.total(_API_WAITING)
        both = waiting if before is None else (waiting[0] + before[0], f"{_WAITING} + {_API_WAITING}")
        numbers.take("waiting", both)
    numbers.take("kv_usage", samples.average(_KV_USAGE))
    numbers.take("prefix_hit_rate", samples.average(_HIT_RATE))
    numbers.take("prompt_tokens", samples.total(_PROMPT))
    if (cached := samples.total(_CACHED)) is not None:
        numbers.take("prefix_queries", samples.total(_PROMPT))
        numbers.take("prefix_hits", cached)
    numbers.take("generation_tokens", samples.total(_GENERATED))
    for name in ("cache_block_seq_len", "block_size"):
        for size, blocks in samples.label_numbers(_CONFIG, name, "num_gpu_blocks"):
            if size:
                numbers.take("block_size", (size, f"{_CONFIG}{{{name}}}"))
            if size and blocks:  # 0: the engine chooses, and does not tell
                numbers.take("kv_tokens", (size * blocks, f"{_CONFIG}{{{name} × num_gpu_blocks}}"))
    return numbers.scrape()


LMDEPLOY: Final = Adapter(
    engine="lmdeploy",
    title="LMDeploy",
    pages=(Page(path="/metrics", read=read_lmdeploy, needs="--enable-metrics where it is off"),),
    prefixes=("lmdeploy:",),
    owner="lmdeploy",
    missing={
        "waiting_tokens": "LMDeploy counts requests, not their tokens",
        "max_running": "LMDeploy does not show --max-batch-size",
        "block_size": "a label of backend_config_info, where it is shown",
        "kv_tokens": "a label of backend_config_info, where the number of blocks was set by hand",
        "prefix_queries": "counted by newer versions",
        "prefix_hits": "counted by newer versions",
        "prompt_tokens": "shown from the first request on",
        "generation_tokens": "shown from the first request on",
        "preemptions": "LMDeploy does not show it",
        "running_loras": "LMDeploy does not show the adapters of a batch",
        "waiting_loras": "LMDeploy does not show the adapters that are waited for",
        "max_loras": "LMDeploy does not show it",
        "is_asleep": "LMDeploy does not show it",
    },
)
