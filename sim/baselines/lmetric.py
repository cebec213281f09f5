"""LMETRIC: multiplication instead of weights.

Source: Zhang et al., "Simple is Better: Multiplication May Be All You Need for LLM Request Scheduling" (2026, arXiv
2603.15202). Score = P-token × BS: the tokens to prefill at an instance if the request goes there, times the requests
running and waiting there; the least, no parameter. The paper's router is told its instances' state; here it is the
router's own account, and an index as large as the engine's memory. Where products are equal (several idle instances)
the fewer tokens decide, which is kinder than the first in the list.
"""

import random
from collections.abc import Sequence

from sim.baselines.rule import Key, Option, Rule, engine_index
from sim.virtual.router import Context, RoutedRequest


def lmetric(option: Option) -> Key:
    """(score, tokens to prefill)."""
    tokens = option.load.queued_tokens + option.uncached
    return (tokens * option.load.requests, tokens)


class Lmetric(Rule):
    """Least product of tokens to prefill and requests."""

    name = "lmetric"

    def __init__(self, context: Context) -> None:
        """Start cold."""
        super().__init__(context, engine_index(context))

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """The score."""
        return [lmetric(option) for option in options]
