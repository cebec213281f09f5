"""Triton with its TensorRT-LLM backend: `/metrics` on the port of metrics. Pure.

Names as in tensorrtllm_backend's README, "Triton Metrics". Old versions lack `waiting` and `fraction`.
"""

from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.engines.trtllm import take_blocks
from ext_proc.signals.exposition import Scanner
from ext_proc.signals.numbers import Numbers, Scrape

_REQUESTS: Final = "nv_trt_llm_request_metrics"
_BLOCKS: Final = "nv_trt_llm_kv_cache_block_metrics"
_KIND: Final = "kv_cache_block_type"

_SCAN: Final = Scanner((_REQUESTS, _BLOCKS))

METRICS_PORT: Final = 8002
"""Triton's `--metrics-port`."""


def read_triton(page: bytes) -> Scrape:
    """The numbers of Triton's page, its models together."""
    samples, numbers = _SCAN(page), Numbers()
    scheduled = samples.total(_REQUESTS, where={"request_type": "scheduled"})
    active = samples.total(_REQUESTS, where={"request_type": "active"})
    waiting = samples.total(_REQUESTS, where={"request_type": "waiting"})
    numbers.take("running", scheduled)
    numbers.take("waiting", waiting)
    if waiting is None and scheduled is not None and active is not None:
        # What is active and not scheduled waits.
        numbers.take("waiting", (max(0.0, active[0] - scheduled[0]), f"{active[1]} - {scheduled[1]}"))
    numbers.take("max_running", samples.total(_REQUESTS, where={"request_type": "max"}))
    most, used = samples.total(_BLOCKS, where={_KIND: "max"}), samples.total(_BLOCKS, where={_KIND: "used"})
    numbers.take("kv_usage", samples.average(_BLOCKS, where={_KIND: "fraction"}))
    if most and used and most[0]:
        numbers.take("kv_usage", (used[0] / most[0], f"{used[1]} / {most[1]}"))
    take_blocks(
        numbers, size=samples.largest(_BLOCKS, where={_KIND: "tokens_per"}), blocks=most, reused=None, missed=None
    )
    return numbers.scrape()


TRITON: Final = Adapter(
    engine="triton",
    title="Triton (TensorRT-LLM backend)",
    pages=(Page(path="/metrics", read=read_triton, needs="--allow-metrics, which is on by default"),),
    port=METRICS_PORT,
    prefixes=("nv_trt_llm_",),
    missing={
        "running": "shown by the TensorRT-LLM backend only",
        "waiting": "shown by the TensorRT-LLM backend only",
        "waiting_tokens": "Triton counts requests, not their tokens",
        "prefix_queries": "Triton does not show it",
        "prefix_hits": "Triton does not show it",
        "prefix_hit_rate": "Triton does not show it",
        "preemptions": "Triton does not show it",
        "prompt_tokens": "Triton does not show it",
        "generation_tokens": "Triton does not show it",
        "running_loras": "Triton does not show the adapters of a batch",
        "waiting_loras": "Triton does not show the adapters that are waited for",
        "max_loras": "Triton does not show it",
        "is_asleep": "Triton does not show it",
    },
)
