"""NVIDIA Dynamo, the cost of its KV router without KV events (`--no-kv-events`).

Source: Dynamo's router design and tuning pages. Cost = `prefill-load-scale` (1) × prefill blocks still to do + decode
blocks; prefill blocks are those of the requests without a first token and of this one, less its overlap
(`kv-overlap-score-credit` 1); decode blocks are the distinct blocks in use with this request added. Least cost
(`router-temperature` 0), ties at random. Blocks sent somewhere are believed to be there for `router-ttl-secs`.
"""

import random
from collections.abc import Sequence

from sim.baselines.rule import Key, Option, Rule
from sim.baselines.state import Prefixes
from sim.virtual.router import Context, RoutedRequest

TTL_S = 120.0
MAX_TREE_BLOCKS = 1 << 20
"""`router-max-tree-size`, for all endpoints; here for each, which never matters within the time to live."""


class Dynamo(Rule):
    """Fewest blocks to compute and to hold."""

    name = "dynamo"

    def __init__(self, context: Context) -> None:
        """Start cold."""
        super().__init__(context, Prefixes(context.addresses, MAX_TREE_BLOCKS, ttl_s=TTL_S))

    def keys(self, request: RoutedRequest, options: Sequence[Option], now: float, rng: random.Random) -> Sequence[Key]:
        """Cost in blocks of the trace; partial blocks count by their tokens."""
        size = request.block_tokens
        partial = request.prompt_tokens - len(request.blocks) * size
        return [
            (
                (option.load.queued_tokens + option.uncached) / size
                + len(option.load.blocks)
                + option.load.new_blocks(request.blocks)
                + (option.load.partial_tokens + partial) / size,
            )
            for option in options
        ]
