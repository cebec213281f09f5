"""SGLang 0.4 to 0.5.23: `/metrics`, and `/v1/loads` where it is there (0.5.9 and later). Pure.

Schedulers of all ranks may show their numbers (`--enable-metrics-for-all-schedulers`): those of a data-parallel rank
count once, however many tensor-, pipeline- and expert-parallel ranks repeat them; then data-parallel ranks are summed.
"""

from collections.abc import Iterable
from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.engines.json_pages import json_of, number_in
from ext_proc.signals.exposition import Samples, Scanner, mean_share
from ext_proc.signals.numbers import Number, Numbers, Scrape

_RUNNING: Final = "sglang:num_running_reqs"
_WAITING: Final = "sglang:num_queue_reqs"
_KV_USAGE: Final = "sglang:token_usage"
_CAPACITY: Final = "sglang:max_total_num_tokens"
# Around 0.5.9 a gauge of value 1 tells pages by labels; 0.5.12 and later have two gauges.
_CACHE: Final = "sglang:cache_config_info"
_PAGE_SIZE: Final = "sglang:page_size"
_PAGES: Final = "sglang:num_pages"
_HIT_RATE: Final = "sglang:cache_hit_rate"
# Not `num_retracted_reqs`: that is a gauge of the last report.
_RETRACTED: Final = "sglang:num_retracted_requests_total"
_PROMPT: Final = "sglang:prompt_tokens_total"
_CACHED: Final = "sglang:cached_tokens_total"
# `generation_tokens_total` grows only when a request ends; this one, of newer versions, with every step.
_REALTIME: Final = "sglang:realtime_tokens_total"
_GENERATED: Final = "sglang:generation_tokens_total"

_SCAN: Final = Scanner(
    (
        *(_RUNNING, _WAITING, _KV_USAGE, _CAPACITY, _CACHE, _PAGE_SIZE, _PAGES, _HIT_RATE, _RETRACTED),
        *(_PROMPT, _CACHED, _REALTIME, _GENERATED),
    )
)
_DECODED: Final = {"mode": "decode"}
_LOADS: Final = "/v1/loads?include=core"

MAX_LOADS: Final = 1_024
"""Ranks that are read in `/v1/loads`: far more than run behind one address."""


def read_sglang(page: bytes) -> Scrape:
    """The numbers of `/metrics`."""
    samples, numbers = _SCAN(page), Numbers()
    numbers.take("running", _sum(samples, _RUNNING))
    numbers.take("waiting", _sum(samples, _WAITING))
    numbers.take("kv_usage", _mean(samples, _KV_USAGE))
    numbers.take("block_size", samples.label(_CACHE, "page_size") or samples.largest(_PAGE_SIZE))
    numbers.take("kv_tokens", _sum(samples, _CAPACITY) or _pages(samples))
    numbers.take("prefix_hit_rate", _mean(samples, _HIT_RATE))
    numbers.take("preemptions", _sum(samples, _RETRACTED))
    # Requests and their tokens are counted beside the schedulers, once.
    numbers.take("prompt_tokens", samples.total(_PROMPT))
    if (cached := samples.total(_CACHED)) is not None:
        numbers.take("prefix_queries", samples.total(_PROMPT))
        numbers.take("prefix_hits", cached)
    decoded = samples.total(_REALTIME, where=_DECODED)
    numbers.take("generation_tokens", decoded or samples.total(_GENERATED))
    return numbers.scrape()


def read_loads(body: bytes) -> Scrape:
    """The numbers of `/v1/loads`: one object per data-parallel rank."""
    answer = json_of(body)
    loads = answer.get("loads") if isinstance(answer, dict) else None
    if not isinstance(loads, list):
        return Scrape()
    numbers = Numbers()
    loads = loads[:MAX_LOADS]
    for name, key in (
        ("running", "num_running_reqs"),
        ("waiting", "num_waiting_reqs"),
        ("waiting_tokens", "num_waiting_uncached_tokens"),
        ("max_running", "max_running_requests"),
        ("kv_tokens", "max_total_num_tokens"),
    ):
        if found := _told(loads, key):
            numbers.take(name, (sum(found), f"loads[].{key}"))
    for name, key in (("kv_usage", "token_usage"), ("prefix_hit_rate", "cache_hit_rate")):
        numbers.take(name, mean_share(_told(loads, key), f"loads[].{key}"))
    return numbers.scrape()


def _told(loads: Iterable[object], key: str) -> list[float]:
    return [found[0] for load in loads if (found := number_in(load, key)) is not None]


def _sum(samples: Samples, name: str) -> Number | None:
    values = _per_rank(samples, name)
    return (sum(values), name) if values else None


def _mean(samples: Samples, name: str) -> Number | None:
    return mean_share(_per_rank(samples, name), name)


def _per_rank(samples: Samples, name: str) -> list[float]:
    ranks: dict[tuple[str, ...], float] = {}
    for labels, value in samples.rows(name):
        if labels.get("priority"):  # the row with an empty one counts all
            continue
        rank = tuple(labels.get(label, "") for label in ("model_name", "engine_type", "dp_rank"))
        ranks[rank] = max(value, ranks.get(rank, 0))
    return list(ranks.values())


def _pages(samples: Samples) -> Number | None:
    tokens = 0
    for size, pages in samples.label_numbers(_CACHE, "page_size", "num_pages"):
        tokens += (size or 0) * (pages or 0)
    if tokens:
        return tokens, f"{_CACHE}{{page_size × num_pages}}"
    page, count = samples.largest(_PAGE_SIZE), _sum(samples, _PAGES)
    return (page[0] * count[0], f"{_PAGE_SIZE} × {_PAGES}") if page and count and page[0] * count[0] else None


SGLANG: Final = Adapter(
    engine="sglang",
    title="SGLang",
    pages=(
        Page(path=_LOADS, read=read_loads, needs="SGLang 0.5.9 or later"),
        Page(path="/metrics", read=read_sglang, needs="--enable-metrics", is_detail=True),
    ),
    prefixes=("sglang:",),
    owner="sglang",
    missing={
        "waiting_tokens": "told by /v1/loads, of 0.5.9 and later",
        "max_running": "told by /v1/loads, of 0.5.9 and later",
        "block_size": "shown in /metrics by 0.5.9 and later",
        "kv_tokens": "told by /v1/loads and by /metrics of later versions",
        "prompt_tokens": "shown in /metrics (--enable-metrics)",
        "prefix_queries": "shown in /metrics (--enable-metrics)",
        "prefix_hits": "shown in /metrics (--enable-metrics)",
        "generation_tokens": "shown in /metrics (--enable-metrics)",
        "preemptions": "counted by later versions, in /metrics",
        "running_loras": "SGLang does not show the adapters of a batch",
        "waiting_loras": "SGLang does not show the adapters that are waited for",
        "max_loras": "SGLang does not show --max-loras-per-batch",
        "is_asleep": "SGLang does not show it",
    },
)
