"""Mooncake's conductor: the least estimated time to first token.

Source: Qin et al., "Mooncake: A KVCache-centric Disaggregated Architecture for LLM Serving" (FAST 2025): estimated time
to first token = time of the prefills queued at the instance + prefill time of this request without what is cached there
(+ transfer of a prefix from another instance). The prefill times come from a model measured off line: here those of
the engines' own profile, which is better than any measurement. Engines here send each other no KV, so there is no
transfer, and as no memory is pooled, the index is as large as one engine's.
"""

import random
from collections.abc import Sequence

from sim.baselines.rule import Key, Option, Rule, engine_index
from sim.virtual.router import Context, RoutedRequest


class Mooncake(Rule):
    """Least queue plus prefill."""

    name = "mooncake"

    def __init__(self, context: Context) -> None:
        """Start cold."""
        super().__init__(context, engine_index(context))

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """The estimated seconds to the first token."""
        return [(option.load.queued_s + self.prefill_s(request, option),) for option in options]

    def prefill_s(self, request: RoutedRequest, option: Option) -> float:
        """Of a lone request on an idle engine."""
        return self.context.profile.prefill_s(option.uncached, request.prompt_tokens - option.uncached)
