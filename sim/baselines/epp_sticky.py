"""llm-d endpoint picker (EPP), "sticky until saturated": the optimized baseline of its guides.

Source: llm-d-router, `prefix-cache-affinity-filter` (`affinityThreshold`, `maxTTFTPenaltyMs`, `peakPrefillThroughput`)
and `token-load-scorer` (`queueThresholdTokens`) on `inflight-load-producer`, which books the uncached tokens of a pick
and releases them at its first token; the index is that of `epp_weighted`.
"""

import random
from collections.abc import Sequence

from sim.baselines.epp_weighted import epp_index
from sim.baselines.rule import Key, Option, Rule
from sim.virtual.router import Context, RoutedRequest

AFFINITY_THRESHOLD = 0.80
MAX_TTFT_PENALTY_S = 18.0
PEAK_PREFILL_THROUGHPUT = 15_928.0
"""Tokens per second: the default, which its authors measured with a model of 32 B on two H100."""

QUEUE_THRESHOLD_TOKENS = 4_194_304


class EppSticky(Rule):
    """Least token load among those that hold the prompt, unless they would answer much later than the rest."""

    name = "epp-sticky"

    def __init__(self, context: Context) -> None:
        """Start cold."""
        super().__init__(context, epp_index(context))

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """(filtered out?, token load 0..1)."""
        sticky = [option for option in options if option.cached >= AFFINITY_THRESHOLD]
        rest = [option for option in options if option.cached < AFFINITY_THRESHOLD]
        if sticky and rest and _best_ttft_s(sticky) - _best_ttft_s(rest) > MAX_TTFT_PENALTY_S:
            sticky = []
        kept = {option.address for option in sticky or options}
        return [
            (
                float(option.address not in kept),
                min(1.0, (option.load.queued_tokens + option.uncached) / QUEUE_THRESHOLD_TOKENS),
            )
            for option in options
        ]


def _best_ttft_s(options: Sequence[Option]) -> float:
    return min(option.load.queued_tokens for option in options) / PEAK_PREFILL_THROUGHPUT
