"""NVIDIA Dynamo, the cost of its KV router.

Source: Dynamo's router design and tuning pages. Cost = `prefill-load-scale` (1) × prefill blocks still to do + decode
blocks; prefill blocks are those of the requests without a first token and of this one, less its overlap
(`kv-overlap-score-credit` 1); decode blocks are the distinct blocks in use with this request added. Least cost
(`router-temperature` 0), ties at random. Without KV events (`--no-kv-events`) blocks sent somewhere are believed to be
there for `router-ttl-secs`; with them the index is theirs, and what was just sent counts for
`router-predicted-ttl-secs`, which is off by default.

Routers that exchange do as its replicas do with `--router-replica-sync`: they tell each other of the requests in flight
(begun, first token, ended), so that each knows the load of all. The indices are not exchanged; each router has the
engines' events.
"""

import random
from collections.abc import Sequence
from math import inf

from ext_proc.core.events import Event, Picked
from sim.baselines.precise import ToldPrefixes
from sim.baselines.rule import Key, Option, Rule
from sim.baselines.state import Prefixes
from sim.virtual.router import Context, RoutedRequest

TTL_S = 120.0
MAX_TREE_BLOCKS = 1 << 20
"""`router-max-tree-size`, for all endpoints; here for each, which never matters within the time to live."""


PREDICTED_TTL_S = 5.0
"""For siblings of one prompt that come before the first event; as long as a prefill takes in a busy engine."""


class Dynamo(Rule):
    """Fewest blocks to compute and to hold."""

    name = "dynamo"

    def __init__(self, context: Context) -> None:
        """Start cold. What changes beside the base: the last pick."""
        if context.kv_events:
            super().__init__(context, ToldPrefixes(context.addresses, predicted_s=PREDICTED_TTL_S))
        else:
            super().__init__(context, Prefixes(context.addresses, MAX_TREE_BLOCKS, ttl_s=TTL_S))
        self._picked: Picked | None = None

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        """As `Rule.pick`."""
        self._picked = None
        return super().pick(request, now, rng)

    def took(self, request: RoutedRequest, option: Option, now: float) -> None:
        """Replicas are going to hear of it."""
        self._picked = Picked(
            decision_id=request.id,
            at=now,
            address=option.address,
            uncached_tokens=option.uncached,
            prompt_tokens=request.prompt_tokens,
            max_age_s=inf,
            blocks=request.blocks,
        )

    def last_picked(self) -> Picked | None:
        """What the last `pick` came to."""
        return self._picked

    def observe(self, event: Event) -> None:
        """As `Rule.observe`; a replica's request is in flight like an own one."""
        if isinstance(event, Picked):
            size = self.context.block_tokens
            request = RoutedRequest(event.decision_id, event.blocks, size, event.prompt_tokens)
            self.in_flight.start(request, event.address, event.uncached_tokens, event.at)
        super().observe(event)

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
