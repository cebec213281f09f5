"""vLLM 0.6 to 0.33. Pure.

Names as in vLLM's `vllm/engine/metrics.py` (V0, up to 0.8) and `vllm/v1/metrics/loggers.py` (V1). V1 labels rows with
`engine`, the data-parallel rank: requests and counters are summed over them, shares averaged.
"""

from collections.abc import Iterable
from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.exposition import Samples, Scanner, label_number
from ext_proc.signals.numbers import Numbers, Scrape

_RUNNING: Final = "vllm:num_requests_running"
_WAITING: Final = "vllm:num_requests_waiting"
# Before 0.8: taken out of the batch for lack of memory, so they wait like the others.
_SWAPPED: Final = "vllm:num_requests_swapped"
# The new name first: 0.9.2 to 0.10.2 show both.
_KV_USAGE: Final = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
_CACHE: Final = "vllm:cache_config_info"
_QUERIES: Final = ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total")
_HITS: Final = ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total")
_HIT_RATE: Final = "vllm:gpu_prefix_cache_hit_rate"
_PREEMPTIONS: Final = "vllm:num_preemptions_total"
_PROMPT: Final = "vllm:prompt_tokens_total"
_GENERATED: Final = "vllm:generation_tokens_total"
_LORA: Final = "vllm:lora_requests_info"
_SLEEP: Final = "vllm:engine_sleep_state"

_SCAN: Final = Scanner(
    (
        *(_RUNNING, _WAITING, _SWAPPED, *_KV_USAGE, _CACHE, *_QUERIES, *_HITS, _HIT_RATE, _PREEMPTIONS),
        *(_PROMPT, _GENERATED, _LORA, _SLEEP),
    )
)

MAX_LORAS: Final = 1_024
"""Names of adapters that are read: far more than fit into any batch."""


def read_vllm(page: bytes) -> Scrape:
    """The numbers of vLLM's page."""
    samples, numbers = _SCAN(page), Numbers()
    numbers.take("running", samples.total(_RUNNING))
    if (waiting := samples.total(_WAITING)) is not None:
        swapped = samples.total(_SWAPPED)
        numbers.take("waiting", waiting if swapped is None else (waiting[0] + swapped[0], f"{_WAITING} + {_SWAPPED}"))
    numbers.take("kv_usage", samples.average(*_KV_USAGE))
    numbers.take("block_size", samples.label(_CACHE, "block_size"))
    _take_capacity(samples, numbers)
    numbers.take("prefix_queries", samples.total(*_QUERIES))
    numbers.take("prefix_hits", samples.total(*_HITS))
    numbers.take("prefix_hit_rate", samples.average(_HIT_RATE))
    numbers.take("preemptions", samples.total(_PREEMPTIONS))
    numbers.take("prompt_tokens", samples.total(_PROMPT))
    numbers.take("generation_tokens", samples.total(_GENERATED))
    _take_loras(samples, numbers)
    if (awake := samples.largest(_SLEEP, where={"sleep_state": "awake"})) is not None:
        numbers.tell("is_asleep", awake[0] == 0, awake[1])
    return numbers.scrape()


def _take_capacity(samples: Samples, numbers: Numbers) -> None:
    tokens, source = 0, ""
    for told, size, blocks in samples.label_numbers(_CACHE, "kv_cache_size_tokens", "block_size", "num_gpu_blocks"):
        # Newer versions tell the tokens themselves, because block sizes may differ between layers.
        if told:
            tokens, source = tokens + told, f"{_CACHE}{{kv_cache_size_tokens}}"
        elif size and blocks:
            tokens, source = tokens + size * blocks, f"{_CACHE}{{block_size × num_gpu_blocks}}"
    if tokens:
        numbers.take("kv_tokens", (tokens, source))


def _take_loras(samples: Samples, numbers: Numbers) -> None:
    """The value of a row is the time when it was true, and old rows stay for ever: the newest of each rank counts."""
    newest: dict[str, tuple[str, str]] = {}
    most = 0
    for labels, _ in samples.newest(_LORA):
        most = max(most, label_number(labels, "max_lora") or 0)
        told = labels.get("running_lora_adapters", ""), labels.get("waiting_lora_adapters", "")
        newest.setdefault(labels.get("engine", ""), told)
    if not newest:
        return
    if most:
        numbers.take("max_loras", (most, f"{_LORA}{{max_lora}}"))
    running, waiting = zip(*(newest[rank] for rank in sorted(newest)), strict=True)
    numbers.tell("running_loras", _names(running), f"{_LORA}{{running_lora_adapters}}")
    numbers.tell("waiting_loras", _names(waiting), f"{_LORA}{{waiting_lora_adapters}}")


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    names = (name.strip() for text in texts for name in text.split(",")[:MAX_LORAS])
    return tuple(dict.fromkeys(name for name in names if name))


VLLM: Final = Adapter(
    engine="vllm",
    title="vLLM",
    pages=(Page(path="/metrics", read=read_vllm, needs="nothing: it is there unless --disable-log-stats was given"),),
    prefixes=("vllm:",),
    owner="vllm",
    missing={
        "max_running": "vLLM does not show --max-num-seqs",
        "waiting_tokens": "vLLM counts requests, not their tokens",
        "prefix_queries": "shown since 0.8 (V1); before, only a rate",
        "prefix_hits": "shown since 0.8 (V1); before, only a rate",
        "prefix_hit_rate": "a gauge of versions before 0.8; later ones count hits",
        "kv_tokens": "blocks are counted once the engine has set its cache up",
        "running_loras": "shown with --enable-lora, from the first request on",
        "waiting_loras": "shown with --enable-lora, from the first request on",
        "max_loras": "shown with --enable-lora, from the first request on",
        "is_asleep": "shown by newer versions",
    },
)
