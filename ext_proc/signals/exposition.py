"""An engine's metrics page, read for the handful of numbers that a pick needs. Pure.

    >>> parse_metrics(b'vllm:num_requests_running{engine="0"} 3.0\\nvllm:num_requests_waiting{engine="0"} 1.0\\n')
    Scrape(running=3, waiting=1, kv_usage=None, block_size=None, kv_tokens=None)

A busy engine's page has 50 KB and 450 samples, so only lines of the families below are looked at: one pass of a
compiled expression, about a hundredth of a full parser's time. Rows of data-parallel ranks are summed, their KV usage
averaged. Numbers that are absent or no numbers are None.

Format: Prometheus text exposition 0.0.4, with OpenMetrics' exemplars and quoted names tolerated. Names: vLLM 0.6 to
0.32, SGLang 0.4 to 0.5, llama.cpp.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

# More requests, tokens or anything than an engine has; it also turns away infinity.
_LARGEST_NUMBER: Final = 1e15
# Up to here a usage is a ratio with a rounding error; above, somebody wrote per cent.
_LARGEST_RATIO: Final = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """Requests running and waiting, KV usage 0..1, tokens per KV block, KV capacity in tokens; None is not told."""

    running: int | None = None
    waiting: int | None = None
    kv_usage: float | None = None
    block_size: int | None = None
    kv_tokens: int | None = None


_RUNNING: Final = ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
_WAITING: Final = ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
# vLLM before 0.8: taken out of the batch for lack of memory, so they wait like the others.
_SWAPPED: Final = "vllm:num_requests_swapped"
# The new name of vLLM first: some versions show both.
_KV_USAGE: Final = (
    "vllm:kv_cache_usage_perc",
    "vllm:gpu_cache_usage_perc",
    "sglang:token_usage",
    "llamacpp:kv_cache_usage_ratio",
)
# Gauges of value 1 that tell by labels.
_VLLM_CACHE: Final = "vllm:cache_config_info"
_SGLANG_CACHE: Final = "sglang:cache_config_info"
_SGLANG_PAGE_SIZE: Final = "sglang:page_size"
_SGLANG_KV_TOKENS: Final = "sglang:max_total_num_tokens"

_FAMILIES: Final = (
    *_RUNNING,
    *_WAITING,
    _SWAPPED,
    *_KV_USAGE,
    _VLLM_CACHE,
    _SGLANG_CACHE,
    _SGLANG_PAGE_SIZE,
    _SGLANG_KV_TOKENS,
)

# A line of one of the families. Possessive repeats keep hostile lines linear, and no label crosses the end of a line: a
# broken line spoils itself only.
_NAMES: Final = b"|".join(re.escape(name.encode()) for name in _FAMILIES)
_INSIDE_BRACES: Final = rb'(?:[^"}\n]|"(?:[^"\\\n]|\\.)*+")*+'
# No float is longer than 32 characters; the limit keeps a hostile one from costing time.
_VALUE: Final = rb"([^ \t\r\n{]{1,32}+)(?=[ \t\r\n]|\Z)"
_SAMPLE: Final = re.compile(
    rb"\n(" + _NAMES + rb")(?:[ \t]*+\{(" + _INSIDE_BRACES + rb")\}[ \t]*+|[ \t]++)" + _VALUE,
)
# Prometheus 3 may put the name inside the braces.
_QUOTED_NAME: Final = b'\n{"'
_QUOTED_SAMPLE: Final = re.compile(rb'\n\{"(' + _NAMES + rb')"(' + _INSIDE_BRACES + rb")\}[ \t]*+" + _VALUE)

_LABEL: Final = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*+)"?[ \t]*+=[ \t]*+"((?:[^"\\\n]|\\.)*+)"')

# Labels as bytes → value. A repeated series counts once, as its last line says.
_Rows = dict[bytes, float]


def parse_metrics(page: bytes) -> Scrape:
    """The numbers on a metrics page; never raises, whatever `page` holds."""
    families = _families(b"\n" + page)
    running = _sum(_values(families, *_RUNNING))
    waiting = _sum(_values(families, *_WAITING))
    swapped = _sum(_values(families, _SWAPPED))
    return Scrape(
        running=_whole(running),
        waiting=_whole(None if waiting is None else waiting + (swapped or 0)),
        kv_usage=_usage(families),
        block_size=_block_size(families),
        kv_tokens=_kv_tokens(families),
    )


def _families(page: bytes) -> Mapping[str, _Rows]:
    found: dict[str, _Rows] = {}
    samples = _SAMPLE.findall(page)
    if _QUOTED_NAME in page:
        samples += _QUOTED_SAMPLE.findall(page)
    for name, labels, text in samples:
        try:
            value = float(text)
        except ValueError:
            continue
        # Engines say -1 and NaN for "no data"; neither passes.
        if 0 <= value < _LARGEST_NUMBER:
            found.setdefault(name.decode(), {})[labels] = value
    return found


def _values(families: Mapping[str, _Rows], *names: str) -> list[float]:
    """The values of the first of the families that is there, one per rank."""
    for name in names:
        if rows := families.get(name):
            return list(rows.values()) if not name.startswith("sglang:") else _per_rank(rows)
    return []


def _per_rank(rows: _Rows) -> list[float]:
    """SGLang repeats a data-parallel rank's numbers for each of its tensor-parallel ranks and each priority."""
    ranks: dict[bytes, float] = {}
    for text, value in rows.items():
        labels = _labels(text)
        if labels.get(b"priority"):  # the row with an empty one counts all
            continue
        rank = labels.get(b"dp_rank", b"")
        ranks[rank] = max(value, ranks.get(rank, 0))
    return list(ranks.values())


def _labels(text: bytes) -> dict[bytes, bytes]:
    return dict(_LABEL.findall(text))


def _sum(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) if numbers else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _usage(families: Mapping[str, _Rows]) -> float | None:
    ratios = [_ratio(value) for value in _values(families, *_KV_USAGE)]
    known = [ratio for ratio in ratios if ratio is not None]
    return sum(known) / len(known) if known else None


def _ratio(value: float) -> float | None:
    if value <= _LARGEST_RATIO:
        return min(value, 1.0)
    return value / 100 if value <= 100 else None


def _block_size(families: Mapping[str, _Rows]) -> int | None:
    sizes = [_label_number(row, b"block_size") for row in families.get(_VLLM_CACHE, ())]
    sizes += [_label_number(row, b"page_size") for row in families.get(_SGLANG_CACHE, ())]
    sizes += [_whole(value) for value in _values(families, _SGLANG_PAGE_SIZE)]
    return next((size for size in sizes if size), None)


def _kv_tokens(families: Mapping[str, _Rows]) -> int | None:
    capacities = [_vllm_capacity(row) for row in families.get(_VLLM_CACHE, ())]
    capacities += [_product(row, b"page_size", b"num_pages") for row in families.get(_SGLANG_CACHE, ())]
    capacities += [_whole(value) for value in _values(families, _SGLANG_KV_TOKENS)]
    known = [capacity for capacity in capacities if capacity]
    return sum(known) if known else None


def _vllm_capacity(row: bytes) -> int | None:
    # Newer versions tell the tokens themselves, because block sizes may differ between layers.
    told = _label_number(row, b"kv_cache_size_tokens")
    return told or _product(row, b"block_size", b"num_gpu_blocks")


def _product(row: bytes, size: bytes, count: bytes) -> int | None:
    tokens, blocks = _label_number(row, size), _label_number(row, count)
    return tokens * blocks if tokens and blocks else None


def _label_number(row: bytes, name: bytes) -> int | None:
    text = _labels(row).get(name, b"")  # `None` is written where the engine does not know
    return int(text) if text.isdigit() and len(text) <= _MOST_DIGITS else None


# More tokens than any cache has; it keeps a hostile page from making enormous integers.
_MOST_DIGITS: Final = 15
