"""All that can be compared in a replay, by name: the production picker's strategies, and everybody else's rules."""

from collections.abc import Sequence
from typing import Final

from ext_proc.core.settings import PoolSettings
from ext_proc.core.strategies.table import STRATEGIES
from sim.baselines import registry
from sim.virtual.production import BARE, ProductionFactory
from sim.virtual.router import Factory

DUPLICATES: Final = frozenset({"plain-least-request", "plain-random", "plain-round-robin"})
"""Written anew for the sake of comparison with our own; what they show, a strategy of ours shows too."""


UNUSUAL: Final = frozenset({"weighted-round-robin", "primary-standby"})
"""Ours that say nothing about a fleet of equal engines: with equal weights the first is `round-robin`, and the second
sends everything to one engine."""


def names() -> tuple[str, ...]:
    """Every name, ours first."""
    return (*STRATEGIES, *(name for name in registry if name not in STRATEGIES))


def defaults() -> tuple[str, ...]:
    """What is compared when nobody chooses: all but those that show the same twice, or nothing."""
    return tuple(name for name in names() if name not in DUPLICATES | UNUSUAL)


def factory(name: str, pool: PoolSettings = BARE) -> Factory:
    """What builds the rule; ours obeys the settings of `pool`. Raises ValueError, naming those that exist."""
    if name in STRATEGIES or (name == pool.strategy and pool.own is not None):
        return ProductionFactory(name, pool)
    if name not in registry:
        raise ValueError(f"no strategy {name!r}; there are {', '.join(names())}")
    found: Factory = registry[name]
    return found


def checked(wanted: Sequence[str], pool: PoolSettings = BARE) -> tuple[str, ...]:
    """The names, each once, in order; one of the user's own is that of `pool`. Raises ValueError for an unknown one."""
    for name in wanted:
        factory(name, pool)
    return tuple(dict.fromkeys(wanted))
