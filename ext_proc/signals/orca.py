"""ORCA: the load that an engine tells on its answers, in a header or trailer. Pure.

    metrics = orca.metrics_of_text("named_metrics.num_requests_waiting=3, cpu_utilization=0.2")
    orca.numbers_of(metrics, orca.NAMES)  # {"waiting": 3}

The header is `endpoint-load-metrics: TEXT …`, `JSON …` or `BIN …`, as the xDS proposal "Open Request Cost Aggregation"
and Envoy's `source/common/orca/orca_parser.cc` have it; `endpoint-load-metrics-bin` is the last without the word. vLLM
since 0.11 answers so where the request asks by `endpoint-load-metrics-format` (not on streams). `OrcaLoadReport` in
protobuf is read by `ext_proc.wire_orca`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from ext_proc.signals.numbers import FIELDS, Numbers, is_number

HEADER: Final = "endpoint-load-metrics"
BINARY_HEADER: Final = "endpoint-load-metrics-bin"
HEADERS: Final = (HEADER, BINARY_HEADER)
FORMAT_HEADER: Final = "endpoint-load-metrics-format"
"""By which a request asks for it."""

MAX_BYTES: Final = 8_192
"""Of one header: vLLM's have about 100. Envoy takes 60 KiB of all headers together."""

MAX_METRICS: Final = 256
"""Of one report; what is beyond is not read."""

TOLD: Final = ("running", "waiting", "waiting_tokens", "max_running", "kv_usage", "kv_tokens", "block_size")
"""The numbers that may be told so."""

_UTILIZATIONS: Final = ("cpu_utilization", "mem_utilization", "application_utilization", "rps_fractional", "rps", "eps")
MAPS: Final = ("named_metrics", "utilization", "request_cost")
"""The maps of a report; a metric in one of them is `named_metrics.…`."""

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "running": (
        "named_metrics.num_requests_running",
        "named_metrics.num_running_reqs",
        "named_metrics.running_requests",
        "named_metrics.running",
    ),
    "waiting": (
        "named_metrics.num_requests_waiting",
        "named_metrics.num_queue_reqs",
        "named_metrics.waiting_requests",
        "named_metrics.waiting",
    ),
    "kv_usage": (
        "named_metrics.kv_cache_usage_perc",
        "named_metrics.kv_cache_usage",
        "named_metrics.kv_cache_utilization",
        "named_metrics.gpu_cache_usage_perc",
        "named_metrics.token_usage",
        "named_metrics.kv_usage",
        "utilization.kv_cache",
    ),
    "waiting_tokens": ("named_metrics.num_waiting_uncached_tokens", "named_metrics.waiting_tokens"),
    "max_running": ("named_metrics.max_running_requests", "named_metrics.max_running"),
    "kv_tokens": ("named_metrics.max_total_num_tokens", "named_metrics.kv_tokens"),
    "block_size": ("named_metrics.block_size", "named_metrics.page_size"),
}
"""Number → the names that engines have for it, the first one that is there counts: vLLM's ORCA and Prometheus names,
SGLang's, and our own words."""


def names_with(own: Mapping[str, str]) -> Mapping[str, tuple[str, ...]]:
    """`NAMES`, where a name of the user's replaces those of its number."""
    assert set(own) <= set(TOLD) <= set(FIELDS), own
    return {**NAMES, **{number: (name,) for number, name in own.items() if name}}


def numbers_of(metrics: Mapping[str, float], names: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The numbers that a report tells; nonsense is none."""
    numbers = Numbers()
    for number, candidates in names.items():
        for name in candidates:
            if name in metrics:
                numbers.take(number, (metrics[name], name))
    return numbers.scrape().values()


def metrics_of_text(text: str) -> dict[str, float]:
    """Name → value of `name=value` pairs with commas between them; what is no such pair is left out."""
    return _bounded(_pairs(text))


def metrics_of_json(text: str) -> dict[str, float]:
    """Name → value of a report in JSON, with names in either of protobuf's two spellings; raises ValueError."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return _bounded(_flat(value))


def metrics_of_fields(fields: Mapping[str, float], maps: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Name → value of a report in parts."""
    inner = ((f"{name}.{key}", value) for name, entries in maps.items() for key, value in entries.items())
    return _bounded((*fields.items(), *inner))


def _pairs(text: str) -> Iterator[tuple[str, float]]:
    for pair in text.split(",", MAX_METRICS)[:MAX_METRICS]:
        name, _, value = pair.partition("=")
        try:
            yield name.strip(), float(value)
        except ValueError:
            continue


def _flat(value: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for field in _UTILIZATIONS:
        for name in (field, _camel(field)):
            yield field, _numeric(value.get(name))
    for field in MAPS:
        for name in (field, _camel(field)):
            entries = value.get(name)
            if isinstance(entries, dict):
                yield from ((f"{field}.{key}", _numeric(entry)) for key, entry in entries.items())


def _numeric(value: Any) -> Any:
    """Protobuf writes 64-bit numbers, NaN and infinity as texts."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return None


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(each.title() for each in others)


def _bounded(metrics: Iterable[tuple[str, Any]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in metrics:
        if is_number(value) and name not in found:
            if len(found) == MAX_METRICS:
                break
            found[name] = float(value)
    return found
