"""The production picker as a router of a replay: the same classes that answer Envoy, with virtual time.

What is left out is what a trace does not have: bodies, so that requests enter after their reading (`Picker.place`), as
block ids; and Envoy's limits on a first byte, which `Setup.first_byte_s` stands for.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from ext_proc.core.blocks import BLOCK_TOKENS, MAX_BLOCKS
from ext_proc.core.events import (
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    Event,
    Picked,
    RequestEnded,
    Scraped,
    ScrapeFailed,
)
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.table import strategy
from sim.virtual.ids import picker_blocks
from sim.virtual.router import Context, Kind, RoutedRequest

BARE: Final = PoolSettings(name="replay", cluster="replay")
"""A pool about which nothing is said."""

# As the sidecar: reservations past their age are given up about once a second.
EXPIRE_S = 1.0


class Production:
    """One picker. Mutable: the picker, the ids of open requests on both sides, and when it was last cleaned."""

    def __init__(self, name: str, picker: Picker, pool: PoolSettings, block_tokens: int) -> None:
        """Wraps a picker that has this pool."""
        self.name = name
        self.kind: Kind = "product"
        self.picker = picker
        self._pool = pool
        self._block_tokens = block_tokens
        self._needs_prompt = strategy(pool.strategy).needs_prompt
        self._ids: dict[str, str] = {}
        self._asked = 0
        self._expired_at = 0.0

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        """Asks the picker; a refusal names nobody."""
        if now - self._expired_at >= EXPIRE_S:
            self.picker.expire(now)
            self._expired_at = now
        self._asked += 1
        blocks: tuple[int, ...] = ()
        if self._needs_prompt:
            tokens = min(request.prompt_tokens, MAX_BLOCKS * BLOCK_TOKENS)
            blocks = picker_blocks(self._asked, request.blocks, self._block_tokens, tokens, BLOCK_TOKENS)
        wanted = Wanted(
            model=request.model,
            tokens=request.prompt_tokens,
            blocks=blocks,
            timeout_s=self._pool.request_timeout_s,
        )
        answer = self.picker.place(self._pool.cluster, wanted, now, rng)
        if not isinstance(answer, Named):
            return ()
        self._ids[request.id] = answer.decision_id
        return answer.endpoints

    def observe(self, event: Event) -> None:
        """Tells the picker, which knows its requests by its own ids."""
        match event:
            case Scraped() | ScrapeFailed() | Picked() | BlocksStored() | BlocksRemoved() | CacheCleared():
                self.picker.apply(event)
            case _:
                ended = isinstance(event, RequestEnded)
                decision_id = self._ids.pop(event.decision_id, None) if ended else self._ids.get(event.decision_id)
                if decision_id is not None:
                    self.picker.apply(replace(event, decision_id=decision_id))


@dataclass(frozen=True, slots=True)
class ProductionFactory:
    """Builds pickers that use `strategy` over the replay's fleet. Raises ValueError for an unknown strategy.

    `pool` has the pool's other settings. Where it has as many endpoints as the fleet has engines, each engine stands
    for one of them, with its zone, priority and weight.
    """

    strategy: str
    pool: PoolSettings = BARE

    def __post_init__(self) -> None:
        """Refuse what no picker could obey."""
        strategy(self.strategy)

    def __call__(self, context: Context) -> Production:
        """A new picker."""
        pool = self.pool
        endpoints = tuple(EndpointSettings(address=a, zone=context.zones.get(a, "")) for a in context.addresses)
        if len(pool.endpoints) == len(endpoints):
            endpoints = tuple(replace(e, address=a) for e, a in zip(pool.endpoints, context.addresses, strict=True))
        settings = replace(pool, strategy=self.strategy, endpoints=endpoints)
        picker = Picker(PickerSettings(version=pool.name, pools=(settings,)))
        return Production(self.strategy, picker, settings, context.block_tokens)
