"""llama.cpp's server: `/metrics` for the load, `/slots` for the memory. Pure.

Its metrics have no labels. Prompt tokens are counted without those from the cache, which have a counter of their own.
"""

from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page
from ext_proc.signals.engines.json_pages import json_of, number_in
from ext_proc.signals.exposition import Scanner
from ext_proc.signals.numbers import Numbers, Scrape

_RUNNING: Final = "llamacpp:requests_processing"
_WAITING: Final = "llamacpp:requests_deferred"
# Of builds before 2025; later ones show the memory only slot by slot.
_KV_USAGE: Final = "llamacpp:kv_cache_usage_ratio"
_COMPUTED: Final = "llamacpp:prompt_tokens_total"
_CACHED: Final = "llamacpp:prompt_tokens_cached_total"
_GENERATED: Final = "llamacpp:tokens_predicted_total"

_SCAN: Final = Scanner((_RUNNING, _WAITING, _KV_USAGE, _COMPUTED, _CACHED, _GENERATED))


def read_llamacpp(page: bytes) -> Scrape:
    """The numbers of `/metrics`."""
    samples, numbers = _SCAN(page), Numbers()
    numbers.take("running", samples.total(_RUNNING))
    numbers.take("waiting", samples.total(_WAITING))
    numbers.take("kv_usage", samples.average(_KV_USAGE))
    computed, cached = samples.total(_COMPUTED), samples.total(_CACHED)
    if computed is not None and cached is not None:
        looked_up = (computed[0] + cached[0], f"{_COMPUTED} + {_CACHED}")
        numbers.take("prompt_tokens", looked_up)
        numbers.take("prefix_queries", looked_up)
        numbers.take("prefix_hits", cached)
    numbers.take("generation_tokens", samples.total(_GENERATED))
    return numbers.scrape()


def read_slots(body: bytes) -> Scrape:
    """The numbers of `/slots`: a list with an object for each slot.

    Requests wait only while no slot is free; how many do, this page does not tell.
    """
    slots = json_of(body)
    if not isinstance(slots, list) or not slots:
        return Scrape()
    sizes = [size[0] for slot in slots if (size := number_in(slot, "n_ctx")) is not None]
    if len(sizes) != len(slots):
        return Scrape()
    busy = [slot for slot in slots if slot.get("is_processing") is True]
    used = [held[0] for slot in busy if (held := number_in(slot, "n_prompt_tokens")) is not None]
    numbers = Numbers()
    numbers.take("running", (len(busy), "slots[].is_processing"))
    numbers.take("max_running", (len(slots), "slots"))
    if len(busy) < len(slots):
        numbers.take("waiting", (0, "slots[].is_processing: one is free"))
    if capacity := sum(sizes):
        numbers.take("kv_tokens", (capacity, "slots[].n_ctx"))
        if len(used) == len(busy):
            numbers.take("kv_usage", (min(1.0, sum(used) / capacity), "slots[].n_prompt_tokens / n_ctx"))
    return numbers.scrape()


LLAMACPP: Final = Adapter(
    engine="llamacpp",
    title="llama.cpp",
    pages=(
        Page(path="/metrics", read=read_llamacpp, needs="--metrics"),
        Page(path="/slots", read=read_slots, needs="--slots (on by default)", is_detail=True),
    ),
    prefixes=("llamacpp:",),
    owner="llamacpp",
    missing={
        "waiting": "shown in /metrics (--metrics); /slots tells it only while a slot is free",
        "waiting_tokens": "llama.cpp counts requests, not their tokens",
        "max_running": "told by /slots",
        "kv_usage": "told by /slots",
        "kv_tokens": "told by /slots",
        "block_size": "llama.cpp has no blocks: it finds a prefix to the token, within one slot",
        "prefix_queries": "counted by newer builds, in /metrics (--metrics)",
        "prefix_hits": "counted by newer builds, in /metrics (--metrics)",
        "prefix_hit_rate": "llama.cpp counts hits instead",
        "preemptions": "llama.cpp does not take memory away from a request",
        "running_loras": "llama.cpp does not show the adapters in use",
        "waiting_loras": "llama.cpp does not show the adapters in use",
        "max_loras": "llama.cpp does not show it",
        "is_asleep": "llama.cpp does not show it",
    },
)
