"""SGLang model gateway, policy `least_load`: the least expected wait.

Source: SMG, `least_load` by token work: (queued uncached tokens + tokens sent since the last poll) / throughput +
`least-load-kv-pressure-weight` × k/(1 − k), k = KV usage. Tokens sent are whole prompts and start from 0 at each poll.
Engines that do not tell their queued tokens or throughput (vLLM) count with the defaults: here a waiting request counts
as `least-load-mean-prefill-tokens`, and throughput is `least-load-default-throughput`. Before the first poll of anybody
it is least requests.
"""

import random
from collections.abc import Sequence

from ext_proc.core.events import Event, Scraped
from sim.baselines.rule import Key, Option, Rule
from sim.virtual.router import Context, RoutedRequest

KV_PRESSURE_WEIGHT_S = 0.15
MEAN_PREFILL_TOKENS = 1_024
DEFAULT_THROUGHPUT = 2_000.0
MAX_USAGE = 0.999
"""Where the barrier ends."""


class SglangLeastLoad(Rule):
    """Least token work, seen by polls and corrected by what was sent since."""

    name = "sglang-least-load"

    def __init__(self, context: Context) -> None:
        """Start with nothing sent. What changes beside the base: the tokens sent to each endpoint since its poll."""
        super().__init__(context)
        self._sent = dict.fromkeys(context.addresses, 0)

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """The expected wait in seconds."""
        if all(option.scrape is None for option in options):
            return [(option.load.requests,) for option in options]
        return [(self._wait_s(option),) for option in options]

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """Count the whole prompt."""
        self._sent[option.address] += request.prompt_tokens

    def observe(self, event: Event) -> None:
        """Start from 0 at a poll."""
        super().observe(event)
        if isinstance(event, Scraped):
            self._sent[event.address] = 0

    def _wait_s(self, option: Option) -> float:
        queued = option.scrape.waiting * MEAN_PREFILL_TOKENS if option.scrape else 0
        usage = min(MAX_USAGE, (option.scrape.kv_usage or 0.0) if option.scrape else 0.0)
        work = (queued + self._sent[option.address]) / DEFAULT_THROUGHPUT
        return work + KV_PRESSURE_WEIGHT_S * usage / (1.0 - usage)
