"""What the replay asks and tells a router: one interface for the production picker and for every other rule.

A router sees what a real one sees. It is asked with `pick`, and it reserves what it named before it returns; later it
is told, with `observe`, what its own requests came to and what the engines' metrics said. Events come when a real
router would get them (a scrape after its delay, first tokens and ends with the next flush of the access log), so
`event.at` says when something happened and the order of calls says when it became known. It is never told its own
`Picked`. `decision_id` of an event is the `RoutedRequest.id` that it was asked with. Where engines tell of their
prefix caches (`Context.kv_events`), blocks in these events are those of `RoutedRequest`.

    class RoundRobin:
        name, kind = "round-robin", "published"
        def __init__(self, context: Context) -> None: ...
        def pick(self, request, now, rng): return self._addresses[self._turn()]
        def observe(self, event): pass
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ext_proc.core.events import Event, Picked
from sim.engine import Engine
from sim.profile import Profile
from sim.slots import SlotEngine

Kind = Literal["product", "published", "reference"]
"""`product`: our production picker; `published`: a rule of another system, re-implemented; `reference`: cannot be built
for real, because it sees what no router can."""


@dataclass(frozen=True, slots=True)
class RoutedRequest:
    """One request as routers see it; how long its answer will be is not among it.

    `blocks` are ids of the prompt's whole blocks of `block_tokens` tokens: an equal id has equal content and equal
    predecessors. `prompt_tokens` is what a router believes the length to be.
    """

    id: str
    blocks: tuple[int, ...]
    block_tokens: int
    prompt_tokens: int
    session: str = ""
    tenant: str = ""
    model: str = ""

    def uncached(self, matched_blocks: int) -> int:
        """Tokens still to be computed where the first `matched_blocks` are cached; the last one always is."""
        return max(1, self.prompt_tokens - matched_blocks * self.block_tokens)


@dataclass(frozen=True, slots=True)
class Context:
    """What a router is built from: the fleet that it routes to, and the zone that it stands in ("": unknown).

    `engines` are the true engines by address, for routers of kind `reference` only. A restarted endpoint has a new
    engine under the same address, so they are looked up anew each time; an engine is advanced up to the moment of
    `pick` before it is asked. `block_tokens` is the size of the trace's blocks, which need not be the engines' own.
    With `kv_events` the engines tell every router what they cache; with `exchanges` routers that are `Exchanging` tell
    each other what they see.
    """

    addresses: tuple[str, ...]
    profile: Profile
    block_tokens: int
    zones: Mapping[str, str] = field(default_factory=dict)
    zone: str = ""
    engines: Mapping[str, Engine | SlotEngine] = field(default_factory=dict)
    kv_events: bool = False
    exchanges: bool = False


class Router(Protocol):
    """One router. Mutable inside; the replay that built it is the only caller."""

    @property
    def name(self) -> str:
        """The strategy's name in reports."""
        ...

    @property
    def kind(self) -> Kind:
        """What sort of rule it is."""
        ...

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        """Names endpoints in order of preference, the first one reserved; none means that the request is shed."""
        ...

    def observe(self, event: Event) -> None:
        """Learns from one event; those about requests it does not know change nothing."""
        ...


@runtime_checkable
class Exchanging(Protocol):
    """What a router has besides that can tell others of its requests, and learns from theirs by `observe`."""

    def last_picked(self) -> Picked | None:
        """What the `pick` just before came to, under the request's own id; None when it named nobody."""
        ...


Factory = Callable[[Context], Router]
"""Builds one router; it is called once for each router of a run. `sim.baselines.registry` holds these by name."""
