"""What an engine tells about itself, whatever its dialect: one value per look. Pure.

numbers = Numbers()
numbers.take("running", (3, "vllm:num_requests_running"))
numbers.scrape()  # Scrape(running=3, …), with the source of each number
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final

Number = tuple[float, str]
"""A value, and the name under which the engine shows it."""

LARGEST_NUMBER: Final = 1e15
"""More requests, tokens or anything than an engine has; it also turns away infinity."""

# Up to here a usage is a ratio with a rounding error; above, somebody wrote per cent.
_LARGEST_RATIO: Final = 1.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Scrape:
    """One look at an engine, its data-parallel ranks together; None is not told.

    Tokens are tokens, shares 0..1; what counts up does so since the engine started.
    """

    running: int | None = None
    """Requests in the batch."""
    waiting: int | None = None
    """Requests that the engine has taken and not begun."""
    waiting_tokens: int | None = None
    """Prompt tokens of these that are in no cache."""
    max_running: int | None = None
    """Most requests in the batch."""
    kv_usage: float | None = None
    """Share of the KV memory that running requests hold; mean of the ranks."""
    block_size: int | None = None
    """Tokens per KV block."""
    kv_tokens: int | None = None
    """KV memory in tokens."""
    prefix_queries: int | None = None
    """Prompt tokens looked up in the prefix cache; counts up."""
    prefix_hits: int | None = None
    """Of these, found; counts up."""
    prefix_hit_rate: float | None = None
    """The engine's own figure, over a span of its choice."""
    preemptions: int | None = None
    """Requests that lost their memory and began again; counts up."""
    prompt_tokens: int | None = None
    """Prompt tokens of all requests, cached ones included; counts up."""
    generation_tokens: int | None = None
    """Tokens generated; counts up."""
    max_loras: int | None = None
    """LoRA adapters that fit into a batch."""
    running_loras: tuple[str, ...] | None = None
    waiting_loras: tuple[str, ...] | None = None
    is_asleep: bool | None = None
    """Whether the engine has given its memory away and serves nothing."""
    sources: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Field → the name under which the engine shows the number."""

    @property
    def tells_load(self) -> bool:
        """Whether the two numbers are there that a scrape is for."""
        return not self.untold_load

    @property
    def untold_load(self) -> tuple[str, ...]:
        """Which of the two are not."""
        return tuple(name for name in ("running", "waiting") if getattr(self, name) is None)

    def values(self) -> dict[str, Any]:
        """Field → value of all that was told."""
        return {name: value for name in FIELDS if (value := getattr(self, name)) is not None}


FIELDS: Final = tuple(each.name for each in fields(Scrape) if each.name != "sources")
"""The names of the numbers, in the order in which they are shown."""

_SHARES: Final = frozenset({"kv_usage", "prefix_hit_rate"})
_TEXTS: Final = frozenset({"running_loras", "waiting_loras", "is_asleep"})


class Numbers:
    """Collects the numbers of one look. Mutable: what was taken; of each the first counts."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._sources: dict[str, str] = {}

    def take(self, name: str, number: Number | None) -> None:
        """Takes a number, if there is one and nothing was taken for it yet; nonsense is no number."""
        if number is None or name in self._values:
            return
        value, source = number
        if name in _SHARES:
            share = ratio(value)
            if share is not None:
                self._set(name, share, source)
        elif is_number(value):
            self._set(name, int(value), source)

    def tell(self, name: str, value: tuple[str, ...] | bool, source: str) -> None:
        """Takes what is no number: names, or yes and no."""
        assert name in _TEXTS, name
        if name not in self._values:
            self._set(name, value, source)

    def scrape(self) -> Scrape:
        """All that was taken."""
        return Scrape(**self._values, sources=self._sources)

    def _set(self, name: str, value: Any, source: str) -> None:
        self._values[name] = value
        self._sources[name] = source


def merged(first: Scrape, second: Scrape) -> Scrape:
    """What the first tells, and what only the second does."""
    values = {**second.values(), **first.values()}
    return Scrape(**values, sources={**second.sources, **first.sources})


def is_number(value: object) -> bool:
    """Whether it is a number that an engine can mean: engines say -1 and NaN for "no data"."""
    is_counted = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_counted and 0 <= value < LARGEST_NUMBER  # type: ignore[operator]


def ratio(value: float) -> float | None:
    """A share of 0 to 1, of something that may have been written in per cent; None for nonsense."""
    if not is_number(value):
        return None
    if value <= _LARGEST_RATIO:
        return min(float(value), 1.0)
    return value / 100 if value <= 100 else None
