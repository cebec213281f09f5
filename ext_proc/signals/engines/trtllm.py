"""TensorRT-LLM behind `trtllm-serve`: `/prometheus/metrics`, and on request the statistics in `/metrics`. Pure.

`/metrics` is a JSON list of the iterations since somebody read it last: reading takes them away from whoever else reads
them, so it is read only where the policy names it. An empty list says nothing: the engine is idle, or stuck, or
somebody was here before.

Names as in TensorRT-LLM's `tensorrt_llm/metrics/collector.py` and `tensorrt_llm/serve/openai_server.py`.
"""

from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.engines.json_pages import json_of, number_in
from ext_proc.signals.exposition import Samples, Scanner
from ext_proc.signals.numbers import Number, Numbers, Scrape

_RUNNING: Final = "trtllm_num_requests_running"
_WAITING: Final = "trtllm_num_requests_waiting"
_KV_USAGE: Final = "trtllm_kv_cache_utilization"
_TOKENS_PER_BLOCK: Final = "trtllm_kv_cache_tokens_per_block"
_MAX_BLOCKS: Final = "trtllm_kv_cache_max_blocks"
_REUSED: Final = "trtllm_kv_cache_reused_blocks_total"
_MISSED: Final = "trtllm_kv_cache_missed_blocks_total"
_HIT_RATE: Final = "trtllm_kv_cache_hit_rate"
_PROMPT: Final = "trtllm_prompt_tokens_total"
_GENERATED: Final = "trtllm_generation_tokens_total"

_SCAN: Final = Scanner(
    (
        *(_RUNNING, _WAITING, _KV_USAGE, _TOKENS_PER_BLOCK, _MAX_BLOCKS, _REUSED, _MISSED, _HIT_RATE, _PROMPT),
        _GENERATED,
    )
)


def read_trtllm(page: bytes) -> Scrape:
    """The numbers of `/prometheus/metrics`."""
    samples, numbers = _SCAN(page), Numbers()
    numbers.take("running", samples.total(_RUNNING))
    numbers.take("waiting", samples.total(_WAITING))
    numbers.take("kv_usage", samples.average(_KV_USAGE))
    numbers.take("prefix_hit_rate", samples.average(_HIT_RATE))
    numbers.take("prompt_tokens", samples.total(_PROMPT))
    numbers.take("generation_tokens", samples.total(_GENERATED))
    _take_blocks(samples, numbers)
    return numbers.scrape()


def _take_blocks(samples: Samples, numbers: Numbers) -> None:
    """Blocks as tokens: those of the cache, and those that were looked up and found."""
    take_blocks(
        numbers,
        size=samples.largest(_TOKENS_PER_BLOCK),
        blocks=samples.total(_MAX_BLOCKS),
        reused=samples.total(_REUSED),
        missed=samples.total(_MISSED),
    )


def take_blocks(
    numbers: Numbers, *, size: Number | None, blocks: Number | None, reused: Number | None, missed: Number | None
) -> None:
    """The same, from whatever shows them."""
    if size is None or not size[0]:
        return
    numbers.take("block_size", size)
    if blocks is not None and blocks[0]:
        numbers.take("kv_tokens", (blocks[0] * size[0], f"{blocks[1]} × {size[1]}"))
    if reused is not None and missed is not None:
        numbers.take("prefix_queries", ((reused[0] + missed[0]) * size[0], f"({reused[1]} + {missed[1]}) × {size[1]}"))
        numbers.take("prefix_hits", (reused[0] * size[0], f"{reused[1]} × {size[1]}"))


def read_iterations(body: bytes) -> Scrape:
    """The numbers of the newest iteration in `/metrics`."""
    iterations = json_of(body)
    if not isinstance(iterations, list) or not iterations:
        return Scrape()
    newest = iterations[-1]
    numbers = Numbers()
    numbers.take("running", number_in(newest, "numActiveRequests"))
    numbers.take("waiting", number_in(newest, "numQueuedRequests"))
    numbers.take("max_running", number_in(newest, "maxNumActiveRequests"))
    cache = newest.get("kvCacheStats") if isinstance(newest, dict) else None
    most, used = number_in(cache, "maxNumBlocks"), number_in(cache, "usedNumBlocks")
    if most and used and most[0]:
        numbers.take("kv_usage", (used[0] / most[0], "usedNumBlocks / maxNumBlocks"))
    numbers.take("prefix_hit_rate", number_in(cache, "cacheHitRate"))
    take_blocks(
        numbers,
        size=number_in(cache, "tokensPerBlock"),
        blocks=most,
        reused=number_in(cache, "reusedBlocks"),
        missed=number_in(cache, "missedBlocks"),
    )
    return numbers.scrape()


TRTLLM: Final = Adapter(
    engine="trtllm",
    title="TensorRT-LLM (trtllm-serve)",
    pages=(
        Page(path="/prometheus/metrics", read=read_trtllm, needs="return_perf_metrics: true in its configuration file"),
    ),
    on_request={"/metrics": read_iterations},
    prefixes=("trtllm_",),
    owner="tensorrt_llm",
    missing={
        "running": "of /metrics: no iteration since somebody read it last",
        "waiting": "of /metrics: no iteration since somebody read it last",
        "waiting_tokens": "trtllm-serve counts requests, not their tokens",
        "max_running": "told by the iteration statistics (`scrape: {path: /metrics}`)",
        "prompt_tokens": "counted by newer versions, in /prometheus/metrics",
        "generation_tokens": "counted by newer versions, in /prometheus/metrics",
        "preemptions": "trtllm-serve does not show it",
        "running_loras": "trtllm-serve does not show the adapters of a batch",
        "waiting_loras": "trtllm-serve does not show the adapters that are waited for",
        "max_loras": "trtllm-serve does not show it",
        "is_asleep": "trtllm-serve does not show it",
    },
)
