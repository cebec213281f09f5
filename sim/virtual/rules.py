"""All that can be compared in a replay, by name: the production picker's strategies, and everybody else's rules."""

from collections.abc import Sequence

from ext_proc.core.settings import PoolSettings
from ext_proc.core.strategies.table import STRATEGIES
from sim.baselines import registry
from sim.virtual.production import BARE, ProductionFactory
from sim.virtual.router import Factory


def names() -> tuple[str, ...]:
    """Every name, ours first."""
    return (*STRATEGIES, *(name for name in registry if name not in STRATEGIES))


def factory(name: str, pool: PoolSettings = BARE) -> Factory:
    """What builds the rule; ours obeys the settings of `pool`. Raises ValueError, naming those that exist."""
    if name in STRATEGIES:
        return ProductionFactory(name, pool)
    if name not in registry:
        raise ValueError(f"no strategy {name!r}; there are {', '.join(names())}")
    found: Factory = registry[name]
    return found


def checked(wanted: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in order. Raises ValueError for one that does not exist."""
    for name in wanted:
        factory(name)
    return tuple(dict.fromkeys(wanted))
