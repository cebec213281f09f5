"""AIBrix gateway, routing algorithm `prefix-cache`.

Source: AIBrix gateway plugins. When the running requests (counted by the gateway) of two pods differ by more than
`AIBRIX_PREFIX_CACHE_POD_RUNNING_REQUEST_IMBALANCE_ABS_COUNT`, least requests. Else, by falling match and then by
running requests, the first pod with at most mean + `AIBRIX_PREFIX_CACHE_STANDARD_DEVIATION_FACTOR` × σ; if none, least
requests. The table keeps `AIBRIX_PREFIX_CACHE_BLOCK_NUMBER` blocks of 128 characters per pod for 20 minutes. With
KV-cache events (`AIBRIX_KV_EVENT_SYNC_ENABLED`) the table is that of the engines; own picks are written into it as
well, and stay until the engine says that they are gone.
"""

import random
from collections.abc import Sequence
from math import inf
from statistics import fmean, pstdev

from sim.baselines.precise import ToldPrefixes
from sim.baselines.rule import Key, Option, Rule
from sim.baselines.state import Prefixes
from sim.virtual.router import Context, RoutedRequest

IMBALANCE_ABS_COUNT = 8
STANDARD_DEVIATION_FACTOR = 1.0
BLOCK_NUMBER = 200_000
BLOCK_CHARS = 128
CHARS_PER_TOKEN = 4
EVICTION_DURATION_S = 20 * 60.0


class AibrixPrefixCache(Rule):
    """The best match that is not above the usual load."""

    name = "aibrix-prefix-cache"

    def __init__(self, context: Context) -> None:
        """Start cold."""
        capacity = BLOCK_NUMBER * BLOCK_CHARS // CHARS_PER_TOKEN // context.block_tokens
        if context.kv_events:
            super().__init__(context, ToldPrefixes(context.addresses, predicted_s=inf))
        else:
            super().__init__(context, Prefixes(context.addresses, capacity, ttl_s=EVICTION_DURATION_S))

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(not a match within bounds?, minus the match, running)."""
        running = [option.load.requests for option in options]
        if max(running) - min(running) > IMBALANCE_ABS_COUNT:
            return [(float(count),) for count in running]
        bound = fmean(running) + STANDARD_DEVIATION_FACTOR * pstdev(running)
        return [
            (0.0, -option.cached, count) if option.cached and count <= bound else (1.0, 0.0, count)
            for option, count in zip(options, running, strict=True)
        ]
