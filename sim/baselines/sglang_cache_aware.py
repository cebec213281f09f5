"""SGLang model gateway, policy `cache_aware`.

Source: SGLang router and its successor SMG. When the loads (own requests in flight) differ by more than
`balance-abs-threshold` and by more than the factor `balance-rel-threshold`, least load for everybody. Else the worker
with the deepest match in the approximate radix tree if that is more than `cache-threshold` of the prompt, else least
load. The tree of each worker is bounded by `max-tree-size` characters and loses its leaves first.
"""

import random
from collections.abc import Sequence

from sim.baselines.rule import Key, Option, Rule
from sim.baselines.state import Prefixes
from sim.virtual.router import Context, RoutedRequest

CACHE_THRESHOLD = 0.5
BALANCE_ABS_THRESHOLD = 32
BALANCE_REL_THRESHOLD = 1.1
MAX_TREE_SIZE = 1 << 26
CHARS_PER_TOKEN = 4


class SglangCacheAware(Rule):
    """The longest match while the load is even, else the least load."""

    name = "sglang-cache-aware"

    def __init__(self, context: Context) -> None:
        """Start cold."""
        capacity = MAX_TREE_SIZE // CHARS_PER_TOKEN // context.block_tokens
        super().__init__(context, Prefixes(context.addresses, capacity))

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(without the deepest match?, own requests in flight); of several that hold it, any one."""
        loads = [option.load.requests for option in options]
        low, high = min(loads), max(loads)
        is_uneven = high - low > BALANCE_ABS_THRESHOLD and high > BALANCE_REL_THRESHOLD * low
        deepest = max(option.cached for option in options)
        if is_uneven or deepest <= CACHE_THRESHOLD:
            return [(float(load),) for load in loads]
        return [
            (0.0, 0.0) if option.cached == deepest else (1.0, float(load))
            for option, load in zip(options, loads, strict=True)
        ]
