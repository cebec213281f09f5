"""Pages of engines in `tests/data/metrics`, and Prometheus' own parser as the judge of what they say."""

import math
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

PAGES = Path(__file__).parents[3] / "data" / "metrics"

ALL = sorted(str(path.relative_to(PAGES)) for path in PAGES.rglob("*.prom"))

Series = tuple[str, frozenset[tuple[str, str]]]


def page(name: str) -> bytes:
    """The page of that name."""
    return (PAGES / name).read_bytes()


def oracle(body: bytes) -> dict[Series, float]:
    """Series → value of all usable samples of a page, by `prometheus_client`; a line that it refuses is left out."""
    found: dict[Series, float] = {}
    for text in _parts(body.decode(errors="replace")):
        try:
            families = list(text_string_to_metric_families(text))
        except (ValueError, KeyError, IndexError):
            continue
        for sample in (sample for family in families for sample in family.samples):
            if math.isfinite(sample.value) and 0 <= sample.value < 1e15:
                found[_written(sample.name, text), frozenset(sample.labels.items())] = sample.value
    return found


def total(body: bytes, name: str) -> float | None:
    """The sum of a family's usable samples."""
    values = [value for (family, _), value in oracle(body).items() if family == name]
    return sum(values) if values else None


def _written(name: str, text: str) -> str:
    """The name as the page has it: the parser adds the `_total` that a counter's name should have."""
    return name if name in text else name.removesuffix("_total")


def _parts(text: str) -> Iterator[str]:
    """The page whole if the parser takes it, else its lines: one bad line makes it refuse all of them."""
    try:
        list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError):
        yield from text.split("\n")
    else:
        yield text
