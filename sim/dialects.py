"""The pages of a simulated pod in the dialects of other engines than vLLM: the same numbers under their names.

    dialect = DIALECTS["sglang"]
    dialect.pages["/v1/loads"](State(...))

Pure. Only the pages about load differ; requests and their answers are vLLM's, whatever the dialect. Names, labels and
the form of numbers are those of the engines (docs/engines.md).
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sim import metrics
from sim.engine import Gauges, Profile

JSON = "application/json"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a pod knows of itself when a page is asked for. `last_read` is what it knew when the same page was asked for
    before, None at first; `created` the Unix time of its start."""

    model: str
    profile: Profile
    gauges: Gauges
    seen: metrics.Observations
    created: float
    last_read: Gauges | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One page."""

    body: str
    content_type: str


Render = Callable[[State], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """An engine's pages by their path, and whom it calls the owner of its models."""

    owner: str
    pages: Mapping[str, Render]


def _vllm(state: State) -> Answer:
    body = metrics.render(state.model, state.profile, state.gauges, state.seen, state.created)
    return Answer(body, metrics.CONTENT_TYPE)


def _sglang(state: State) -> Answer:
    gauges, profile = state.gauges, state.profile
    scheduler = {
        "engine_type": "unified", "model_name": state.model, "moe_ep_rank": "0", "pp_rank": "0", "tp_rank": "0",
    }  # fmt: skip
    tokenizer = {"engine_type": "unified", "model_name": state.model}
    used = round(gauges.kv_usage * profile.kv_tokens)
    rows: list[_Row] = [
        ("sglang:num_running_reqs", "gauge", scheduler, float(gauges.running)),
        ("sglang:num_queue_reqs", "gauge", scheduler, float(gauges.waiting)),
        ("sglang:token_usage", "gauge", scheduler, gauges.kv_usage),
        ("sglang:num_used_tokens", "gauge", scheduler, float(used)),
        ("sglang:cache_hit_rate", "gauge", scheduler, _hit_rate(gauges)),
        ("sglang:max_total_num_tokens", "gauge", scheduler, float(profile.kv_tokens)),
        ("sglang:page_size", "gauge", scheduler, float(profile.block_size)),
        ("sglang:num_pages", "gauge", scheduler, float(profile.kv_blocks)),
        ("sglang:num_retracted_requests_total", "counter", scheduler, float(gauges.preemptions)),
        ("sglang:prompt_tokens_total", "counter", tokenizer, float(gauges.prompt_tokens)),
        ("sglang:generation_tokens_total", "counter", tokenizer, float(gauges.generation_tokens)),
        ("sglang:cached_tokens_total", "counter", {**tokenizer, "cache_source": "device"}, float(gauges.cached_tokens)),
    ]
    return Answer(_text(rows), TEXT)


def _sglang_loads(state: State) -> Answer:
    gauges, profile = state.gauges, state.profile
    load = {
        "dp_rank": 0,
        "num_running_reqs": gauges.running,
        "num_waiting_reqs": gauges.waiting,
        "num_used_tokens": round(gauges.kv_usage * profile.kv_tokens),
        "max_total_num_tokens": profile.kv_tokens,
        "max_running_requests": profile.max_batch,
        "token_usage": round(gauges.kv_usage, 4),
        "cache_hit_rate": round(_hit_rate(gauges), 4),
    }
    return _json({"version": "0.5.23", "loads": [load]})


def _trtllm(state: State) -> Answer:
    gauges, profile = state.gauges, state.profile
    labels = {"engine_type": "trtllm", "model_name": state.model}
    hits, queries = gauges.prefix_hits // profile.block_size, gauges.prefix_queries // profile.block_size
    rows: list[_Row] = [
        ("trtllm_num_requests_running", "gauge", labels, float(gauges.running)),
        ("trtllm_num_requests_waiting", "gauge", labels, float(gauges.waiting)),
        ("trtllm_kv_cache_utilization", "gauge", labels, gauges.kv_usage),
        ("trtllm_kv_cache_hit_rate", "gauge", labels, _hit_rate(gauges)),
        ("trtllm_kv_cache_max_blocks", "gauge", labels, float(profile.kv_blocks)),
        ("trtllm_kv_cache_tokens_per_block", "gauge", labels, float(profile.block_size)),
        ("trtllm_kv_cache_reused_blocks_total", "counter", labels, float(hits)),
        ("trtllm_kv_cache_missed_blocks_total", "counter", labels, float(queries - hits)),
    ]
    return Answer(_text(rows), TEXT)


def _trtllm_iterations(state: State) -> Answer:
    """The last iteration, unless there was none since the page was read before: reading takes records away."""
    gauges, profile = state.gauges, state.profile
    if state.last_read is not None and state.last_read.steps == gauges.steps:
        return _json([])
    used = round(gauges.kv_usage * profile.kv_blocks)
    hits = gauges.prefix_hits // profile.block_size
    iteration = {
        "iter": gauges.steps,
        "maxNumActiveRequests": profile.max_batch,
        "numActiveRequests": gauges.running,
        "numQueuedRequests": gauges.waiting,
        "kvCacheStats": {
            "maxNumBlocks": profile.kv_blocks,
            "freeNumBlocks": profile.kv_blocks - used,
            "usedNumBlocks": used,
            "tokensPerBlock": profile.block_size,
            "reusedBlocks": hits,
            "missedBlocks": gauges.prefix_queries // profile.block_size - hits,
            "cacheHitRate": _hit_rate(gauges),
        },
    }
    return _json([iteration])


def _llamacpp(state: State) -> Answer:
    """Without labels, and whole numbers without a point."""
    gauges = state.gauges
    rows: list[_Row] = [
        ("llamacpp:prompt_tokens_total", "counter", {}, gauges.prompt_tokens - gauges.cached_tokens),
        ("llamacpp:prompt_tokens_cached_total", "counter", {}, gauges.cached_tokens),
        ("llamacpp:tokens_predicted_total", "counter", {}, gauges.generation_tokens),
        ("llamacpp:n_decode_total", "counter", {}, gauges.steps),
        ("llamacpp:requests_processing", "gauge", {}, gauges.running),
        ("llamacpp:requests_deferred", "gauge", {}, gauges.waiting),
    ]
    return Answer(_text(rows), TEXT)


def _llamacpp_slots(state: State) -> Answer:
    """Each slot has an equal part of the memory; the busy ones are the first."""
    gauges, profile = state.gauges, state.profile
    count = profile.max_batch
    busy = min(gauges.running, count)
    held = round(gauges.kv_usage * profile.kv_tokens)
    slots: list[dict[str, Any]] = []
    for number in range(count):
        slot: dict[str, Any] = {"id": number, "n_ctx": profile.kv_tokens // count, "is_processing": number < busy}
        if number < busy:
            slot["n_prompt_tokens"] = held // busy
        slots.append(slot)
    return _json(slots)


def _tgi(state: State) -> Answer:
    gauges = state.gauges
    rows: list[_Row] = [
        ("tgi_queue_size", "gauge", {}, gauges.waiting),
        ("tgi_batch_current_size", "gauge", {}, gauges.running),
        ("tgi_request_count", "counter", {}, gauges.finished + gauges.aborted),
        ("tgi_request_input_length_sum", "untyped", {}, gauges.prompt_tokens),
        ("tgi_request_generated_tokens_sum", "untyped", {}, gauges.generation_tokens),
    ]
    return Answer(_text(rows), TEXT)


def _lmdeploy(state: State) -> Answer:
    gauges, profile = state.gauges, state.profile
    labels = {"engine": "0", "model_name": state.model}
    config = {"cache_block_seq_len": str(profile.block_size), "max_batch_size": str(profile.max_batch)}
    rows: list[_Row] = [
        ("lmdeploy:num_requests_running", "gauge", labels, float(gauges.running)),
        ("lmdeploy:num_requests_waiting", "gauge", labels, float(gauges.waiting)),
        ("lmdeploy:num_api_requests_waiting", "gauge", labels, 0.0),
        ("lmdeploy:gpu_cache_usage_perc", "gauge", labels, gauges.kv_usage),
        ("lmdeploy:prefix_cache_hit_rate", "gauge", labels, _hit_rate(gauges)),
        ("lmdeploy:prompt_tokens_total", "counter", labels, float(gauges.prompt_tokens)),
        ("lmdeploy:cached_tokens_total", "counter", labels, float(gauges.cached_tokens)),
        ("lmdeploy:generation_tokens_total", "counter", labels, float(gauges.generation_tokens)),
        ("lmdeploy:backend_config_info", "gauge", config, 1.0),
    ]
    return Answer(_text(rows), TEXT)


DIALECTS: Mapping[str, Dialect] = {
    "vllm": Dialect(owner="vllm", pages={"/metrics": _vllm}),
    "sglang": Dialect(owner="sglang", pages={"/metrics": _sglang, "/v1/loads": _sglang_loads}),
    "trtllm": Dialect(owner="tensorrt_llm", pages={"/prometheus/metrics": _trtllm, "/metrics": _trtllm_iterations}),
    "llamacpp": Dialect(owner="llamacpp", pages={"/metrics": _llamacpp, "/slots": _llamacpp_slots}),
    "tgi": Dialect(owner="", pages={"/metrics": _tgi}),
    "lmdeploy": Dialect(owner="lmdeploy", pages={"/metrics": _lmdeploy}),
}
"""By the engine's name in a policy."""


_Row = tuple[str, str, Mapping[str, str], float]
"""Name, type, labels, value."""


def _text(rows: list[_Row]) -> str:
    lines = []
    for name, kind, labels, value in rows:
        lines.append(f"# TYPE {name} {kind}")
        written = ",".join(f'{key}="{metrics.escaped(text)}"' for key, text in labels.items())
        lines.append(f"{name}{{{written}}} {value}" if labels else f"{name} {value}")
    return "\n".join(lines) + "\n"


def _json(value: object) -> Answer:
    return Answer(json.dumps(value), JSON)


def _hit_rate(gauges: Gauges) -> float:
    return gauges.prefix_hits / gauges.prefix_queries if gauges.prefix_queries else 0.0
