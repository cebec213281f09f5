"""llm-d endpoint picker (EPP), the weighted sum of its default scorers with `max-score-picker`.

Source: llm-d-router and Gateway API inference extension, `queue-scorer` (weight 2), `kv-cache-utilization-scorer` (2),
`prefix-cache-scorer` (3), `no-hit-lru-scorer` (2). Queue and KV usage are scraped. The index is that of
`approx-prefix-cache-producer`, an LRU of what was sent, and here exactly as large as the engine's memory: `autoTune`
takes the engine's number of blocks for that of its own, larger ones, which costs this rule little and `epp_sticky`
more than a tenth of its times; we give both the benefit of a doubt about our reading. With KV-cache events it is that
of `precise-prefix-cache-producer` with `speculativeIndexing`, which is off by default and on in llm-d's guides.
"""

import random
from collections import OrderedDict
from collections.abc import Sequence

from sim.baselines.rule import Key, Option, Rule, engine_index
from sim.baselines.state import Index
from sim.virtual.router import Context, RoutedRequest

QUEUE_WEIGHT = 2.0
KV_WEIGHT = 2.0
PREFIX_WEIGHT = 3.0
NO_HIT_LRU_WEIGHT = 2.0

LRU_SIZE = 1_024
"""`lruSize` of `no-hit-lru-scorer`: endpoints remembered."""


SPECULATIVE_TTL_S = 2.0
"""`speculativeTTL` of `precise-prefix-cache-producer`: how long it counts a pick as cached."""


def epp_index(context: Context) -> Index:
    """What `approx-prefix-cache-producer` believes the endpoints to hold, or its precise sibling knows."""
    return engine_index(context, SPECULATIVE_TTL_S)


class EppWeighted(Rule):
    """Greatest weighted sum of scores in 0..1."""

    name = "epp-weighted"

    def __init__(self, context: Context) -> None:
        """Start cold. What changes beside the base: which endpoints got a cold prompt, longest ago first."""
        super().__init__(context, epp_index(context))
        self._cold: OrderedDict[str, None] = OrderedDict()
        self._is_cold = False

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """Minus the score; numbers never scraped count as 0."""
        queues = [option.scrape.waiting if option.scrape else 0 for option in options]
        low, high = min(queues), max(queues)
        cold = self._cold_scores(options)
        return [
            (
                -QUEUE_WEIGHT * ((high - queue) / (high - low) if high > low else 1.0)
                - KV_WEIGHT * (1.0 - ((option.scrape.kv_usage if option.scrape else 0.0) or 0.0))
                - PREFIX_WEIGHT * option.cached
                - NO_HIT_LRU_WEIGHT * cold[option.address],
            )
            for option, queue in zip(options, queues, strict=True)
        ]

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """A cold prompt makes its endpoint the latest of the LRU."""
        if self._is_cold:
            self._cold[option.address] = None
            self._cold.move_to_end(option.address)
            if len(self._cold) > LRU_SIZE:
                self._cold.popitem(last=False)

    def _cold_scores(self, options: Sequence[Option]) -> dict[str, float]:
        """`no-hit-lru-scorer`: 1 for the endpoint that got a cold prompt longest ago (never: first), down to 0."""
        self._is_cold = not any(option.cached for option in options)
        if not self._is_cold or len(options) == 1:
            return {option.address: 0.5 for option in options}
        addresses = {option.address: None for option in options}
        never = [address for address in addresses if address not in self._cold]
        known = [address for address in self._cold if address in addresses]
        last = len(options) - 1
        return dict.fromkeys(never, 1.0) | {a: 1.0 - n / last for n, a in enumerate(known, start=len(never))}
