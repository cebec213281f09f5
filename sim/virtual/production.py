"""The production picker as a router of a replay: the same classes that answer Envoy, with virtual time.

What is left out is what a trace does not have: bodies, so that requests enter after their reading (`Picker.place`), as
block ids; and Envoy's limits on a first byte, which `Setup.first_byte_s` stands for. Where routers exchange what they
see, each picker applies the others' events, those of their picks included, as one that a peer tells them would.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import xxhash

from ext_proc.core.blocks import BLOCK_TOKENS, MAX_BLOCKS
from ext_proc.core.decision import Answer
from ext_proc.core.events import (
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    Event,
    LoadReported,
    ModelsListed,
    Picked,
    Probed,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    Tried,
)
from ext_proc.core.gpus import GpusTold, GpusUntold
from ext_proc.core.picker import Named, Picker, Wanted
from ext_proc.core.settings import EndpointSettings, PickerSettings, PoolSettings
from ext_proc.core.strategies.session import Parameters
from ext_proc.core.strategies.table import strategy
from ext_proc.core.strategies.view import Request, Strategy
from sim.virtual.ids import Chains, picker_blocks
from sim.virtual.router import Context, Kind, RoutedRequest

BARE: Final = PoolSettings(name="replay", cluster="replay")
"""A pool about which nothing is said."""

# As the sidecar: reservations past their age are given up about once a second.
EXPIRE_S = 1.0


class PeerPicker(Picker):
    """A picker that remembers its last pick, for its peers. Mutable beside the base: that pick."""

    last_picked: Picked | None = None
    """The last pick since the last question: its own, right after it was asked."""

    def place(self, cluster: str, wanted: Wanted, now: float, rng: random.Random) -> Answer:
        """As `Picker.place`."""
        self.last_picked = None
        return super().place(cluster, wanted, now, rng)

    def apply(self, event: Event) -> None:
        """As `Picker.apply`, which a picker's own picks go through as well."""
        if isinstance(event, Picked):
            self.last_picked = event
        super().apply(event)


class Production:
    """One picker.

    Mutable: the picker, the ids of open requests on both sides, the blocks of engines, and when it was last cleaned.
    """

    def __init__(self, name: str, picker: Picker, pool: PoolSettings, block_tokens: int) -> None:
        """Wraps a picker that has this pool."""
        self.name = name
        self.kind: Kind = "product"
        self.picker = picker
        self._pool = pool
        self._block_tokens = block_tokens
        self._needs_prompt = _made(pool).needs_prompt
        self._ids: dict[str, str] = {}
        self._chains = Chains(block_tokens, BLOCK_TOKENS)
        self._expired_at = 0.0
        self._asked = ""  # the last request that was given a place

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        """Asks the picker; a refusal names nobody."""
        if now - self._expired_at >= EXPIRE_S:
            self.picker.expire(now)
            self._expired_at = now
        blocks: tuple[int, ...] = ()
        if self._needs_prompt:
            tokens = min(request.prompt_tokens, MAX_BLOCKS * BLOCK_TOKENS)
            number = xxhash.xxh3_64_intdigest(request.id.encode())  # the same for all pickers that hear of the request
            blocks = picker_blocks(number, request.blocks, self._block_tokens, tokens, BLOCK_TOKENS)
        wanted = Wanted(
            model=request.model,
            tokens=request.prompt_tokens,
            blocks=blocks,
            timeout_s=self._pool.request_timeout_s,
            request=self._about(request),
        )
        answer = self.picker.place(self._pool.cluster, wanted, now, rng)
        if not isinstance(answer, Named):
            return ()
        self._ids[request.id] = answer.decision_id
        self._asked = request.id
        return answer.endpoints

    def _about(self, request: RoutedRequest) -> Request:
        """A trace has no headers: its sessions stand for whatever the pool's strategy knows sessions by."""
        key = self._pool.parameters.get("session", Parameters())
        named = {key.header: request.session} if key.header else {"cookie": f"{key.cookie}={request.session}"}
        return Request(
            model=request.model,
            tokens=request.prompt_tokens,
            session=request.session,
            user=request.session,
            headers=named if request.session else {},
        )

    def last_picked(self) -> Picked | None:
        """What the last `pick` came to, under the request's id; None for a refusal, or where nothing is exchanged."""
        picker = self.picker
        if not isinstance(picker, PeerPicker) or picker.last_picked is None:
            return None
        return replace(picker.last_picked, decision_id=self._asked)

    def observe(self, event: Event) -> None:
        """Tells the picker, which knows its requests by its own ids, and those of its peers by theirs."""
        match event:
            case Scraped() | ScrapeFailed() | LoadReported() | ModelsListed() | Probed() | CacheCleared():
                self.picker.apply(event)
            case GpusTold() | GpusUntold() | Tried():
                self.picker.apply(event)
            case BlocksStored() | BlocksRemoved() if not self._needs_prompt:
                pass  # nobody would look them up
            case BlocksStored():
                self._apply(self._chains.stored(event))
            case BlocksRemoved():
                self._apply(self._chains.removed(event))
            case Picked():
                self._ids[event.decision_id] = event.decision_id
                self.picker.apply(event)
            case _:
                ended = isinstance(event, RequestEnded)
                decision_id = self._ids.pop(event.decision_id, None) if ended else self._ids.get(event.decision_id)
                if decision_id is not None:
                    self.picker.apply(replace(event, decision_id=decision_id))

    def _apply(self, event: Event | None) -> None:
        if event is not None:
            self.picker.apply(event)


def _made(pool: PoolSettings) -> Strategy:
    return strategy(pool.strategy, pool.parameters.get(pool.strategy), pool.own)


@dataclass(frozen=True, slots=True)
class ProductionFactory:
    """Builds pickers that use `strategy` over the replay's fleet. Raises ValueError for an unknown strategy.

    `pool` has the pool's other settings. Where it has as many endpoints as the fleet has engines, each engine stands
    for one of them, with its zone, priority and weight; else those of other zones than the router's are further away.
    """

    strategy: str
    pool: PoolSettings = BARE

    def __post_init__(self) -> None:
        """Refuse what no picker could obey."""
        _made(replace(self.pool, strategy=self.strategy))

    def __call__(self, context: Context) -> Production:
        """A new picker."""
        pool = self.pool
        zones = ((address, context.zones.get(address, "")) for address in context.addresses)
        endpoints = tuple(
            EndpointSettings(address=address, zone=zone, priority=int(bool(context.zone) and zone != context.zone))
            for address, zone in zones
        )
        if len(pool.endpoints) == len(endpoints):
            endpoints = tuple(replace(e, address=a) for e, a in zip(pool.endpoints, context.addresses, strict=True))
        settings = replace(pool, strategy=self.strategy, endpoints=endpoints)
        make = PeerPicker if context.exchanges else Picker
        picker = make(PickerSettings(version=pool.name, pools=(settings,)))
        return Production(self.strategy, picker, settings, context.block_tokens)
