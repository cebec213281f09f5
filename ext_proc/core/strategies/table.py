"""The strategies by the names that a policy uses, and how each is made from its parameters.

Some are modules, which have neither parameters nor a memory. A user's own strategy is made in the same way, from the
mapping that the policy has for it (docs/strategies.md); who loads it hands it in with the pool's settings.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from ext_proc.core.strategies import kv_aware, least_request, primary_standby, random_choice, round_robin
from ext_proc.core.strategies.fenced import Clock, fence, fenced
from ext_proc.core.strategies.gpu_memory import GpuMemory
from ext_proc.core.strategies.queue_depth import QueueDepth
from ext_proc.core.strategies.session import Session
from ext_proc.core.strategies.view import Strategy
from ext_proc.core.strategies.weighted import Weighted
from ext_proc.core.strategies.weighted_round_robin import WeightedRoundRobin

Maker = Callable[[Any], Strategy]
"""Makes a strategy for one pool from its parameters, None for the defaults. Raises ValueError for wrong ones."""


def _as_it_is(chosen: Strategy) -> Maker:
    return lambda parameters: chosen


STRATEGIES: Final[Mapping[str, Maker]] = MappingProxyType(
    {
        "kv-aware": _as_it_is(kv_aware),
        "round-robin": _as_it_is(round_robin),
        "weighted-round-robin": lambda parameters: WeightedRoundRobin(),
        "least-request": _as_it_is(least_request),
        "weighted": Weighted,
        "queue-depth": QueueDepth,
        "gpu-memory": GpuMemory,
        "session": Session,
        "primary-standby": _as_it_is(primary_standby),
        "random": _as_it_is(random_choice),
    }
)


def strategy(
    name: str,
    parameters: Any = None,
    own: Maker | None = None,
    clock: Clock | None = None,
    *,
    is_shadow: bool = False,
) -> Strategy:
    """A new strategy of that name; `own` makes one that is none of ours, whose time is taken by `clock`. Raises
    ValueError for an unknown name."""
    make = STRATEGIES.get(name)
    if make is not None:
        return make(parameters)
    if own is None:
        raise ValueError(f"unknown strategy {name!r}; there are {', '.join(STRATEGIES)}")
    with fence(name):
        return fenced(name, own(parameters), clock, is_shadow=is_shadow)
