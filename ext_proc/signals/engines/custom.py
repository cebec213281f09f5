"""An engine whose metrics the policy names. Pure.

adapter = custom_adapter({"running": "app_active", "waiting": 'app_requests{state="queued"}'}, "/stats")
"""

import re
from collections.abc import Mapping
from typing import Final

from ext_proc.signals.engines.adapter import Adapter, Page, Read
from ext_proc.signals.exposition import Samples, Scanner, labels_of
from ext_proc.signals.numbers import FIELDS, Number, Numbers, Scrape

CUSTOM: Final = "custom"
"""The engine's name in the policy."""

NAMEABLE: Final = tuple(name for name in FIELDS if name not in ("running_loras", "waiting_loras", "is_asleep"))
"""What a metric can be named for: whatever is a number."""

_PAIR: Final = r'[A-Za-z_][A-Za-z0-9_]*="[^"\\]*"'
METRIC: Final = rf"[A-Za-z_:][A-Za-z0-9_:]*(?:\{{{_PAIR}(?:,{_PAIR})*\}})?"
"""A sample's name, with labels that its rows must have."""

MAX_METRIC: Final = 512
"""Characters of a name with its labels."""

_METRIC: Final = re.compile(METRIC)
_SHARES: Final = ("kv_usage", "prefix_hit_rate")


def custom_reader(metrics: Mapping[str, str]) -> Read:
    """How a page is read on which number → metric; raises ValueError for a number or a metric that is none.

    Rows are summed, shares averaged, and of block sizes the largest counts.
    """
    for name, metric in metrics.items():
        if name not in NAMEABLE:
            raise ValueError(f"{name!r} is not one of {', '.join(NAMEABLE)}")
        if len(metric) > MAX_METRIC or _METRIC.fullmatch(metric) is None:
            raise ValueError(f"{metric!r} is not the name of a metric, with or without labels")
    wanted = {name: _split(metric) for name, metric in metrics.items()}
    scan = Scanner(family for family, _ in wanted.values())

    def read(page: bytes) -> Scrape:
        samples, numbers = scan(page), Numbers()
        for name, (family, where) in wanted.items():
            numbers.take(name, _number(samples, name, family, where))
        return numbers.scrape()

    return read


def custom_adapter(metrics: Mapping[str, str], path: str = "/metrics") -> Adapter:
    """The adapter for it; raises ValueError as `custom_reader` does."""
    return Adapter(
        engine=CUSTOM,
        title="custom",
        pages=(Page(path=path, read=custom_reader(metrics)),),
        missing={name: "no metric is named for it" for name in FIELDS if name not in metrics},
    )


def _split(metric: str) -> tuple[str, dict[str, str]]:
    family, _, labels = metric.partition("{")
    return family, dict(labels_of(labels.encode()))


def _number(samples: Samples, name: str, family: str, where: dict[str, str]) -> Number | None:
    if name in _SHARES:
        return samples.average(family, where=where)
    if name == "block_size":
        return samples.largest(family, where=where)
    return samples.total(family, where=where)
