"""A pool's settings, prepared for picking; what its strategies remember lives on while nothing about them changes."""

from collections.abc import Mapping
from dataclasses import dataclass

from ext_proc.core.charges import Charges, charges_of
from ext_proc.core.filters import Filter, filters_of
from ext_proc.core.levels import Levels, levels
from ext_proc.core.settings import EndpointSettings, PoolSettings
from ext_proc.core.shadow import Shadow
from ext_proc.core.slots import Slots
from ext_proc.core.strategies.fenced import Clock, Fenced
from ext_proc.core.strategies.session import Parameters
from ext_proc.core.strategies.table import strategy
from ext_proc.core.strategies.view import Remembering, Strategy

_SESSION = "session"
"""The strategy whose sessions are remembered."""


@dataclass(frozen=True, slots=True)
class Deciders:
    """Who decides in a pool, and who would decide otherwise beside it."""

    strategy: Strategy
    shadow: Shadow | None


@dataclass(frozen=True, slots=True)
class Pool:
    """A prepared pool."""

    settings: PoolSettings
    strategy: Strategy
    remembers: Remembering | None
    """The strategy, if it wants to know what it picked."""
    levels: Levels
    filters: tuple[Filter, ...]
    endpoints: Mapping[str, EndpointSettings]
    shadow: Shadow | None
    unavailable: tuple[tuple[str, str], ...]
    """Addresses that are never named now, with their state in a word."""
    charges: Charges
    session_key: Parameters | None
    """What names the sessions that are remembered; None: none are."""

    @property
    def why_off(self) -> str:
        """Why the user's own strategy is not asked any more; empty where it is, or there is none."""
        return self.strategy.why_off if isinstance(self.strategy, Fenced) else ""

    @property
    def needs_prompt(self) -> bool:
        """Whether anybody looks at prompts."""
        return self.strategy.needs_prompt or (self.shadow is not None and self.shadow.strategy.needs_prompt)


def deciders(settings: PoolSettings, known: Pool | None, *, has_shadows: bool, clock: Clock | None = None) -> Deciders:
    """New ones, or those of `known`, the pool as it was, with all that they remember, where nothing about them changed.

    A shadow starts anew with the strategy that it is compared to. `clock` takes the time of users' own strategies.
    Raises ValueError for an unknown strategy and wrong parameters.
    """
    chosen = (
        known.strategy
        if known is not None and _says_of_strategy(known.settings) == _says_of_strategy(settings)
        else strategy(settings.strategy, settings.parameters.get(settings.strategy), settings.own, clock)
    )
    return Deciders(chosen, _shadow(settings, known, clock) if has_shadows and settings.shadow else None)


def prepared(settings: PoolSettings, who: Deciders, slots: Slots) -> Pool:
    """The pool; its endpoints get slots."""
    return Pool(
        settings=settings,
        strategy=who.strategy,
        remembers=who.strategy if isinstance(who.strategy, Remembering) else None,
        levels=levels(settings.endpoints, slots, settings.shares, is_gradual=settings.is_gradual),
        filters=filters_of(settings, slots),
        endpoints={endpoint.address: endpoint for endpoint in settings.endpoints},
        shadow=who.shadow,
        unavailable=tuple((each.address, each.state) for each in settings.endpoints if not each.available),
        charges=charges_of(settings, slots),
        session_key=settings.parameters.get(_SESSION) or Parameters() if settings.strategy == _SESSION else None,
    )


def _shadow(settings: PoolSettings, known: Pool | None, clock: Clock | None) -> Shadow | None:
    if known is not None and _says_of_shadow(known.settings) == _says_of_shadow(settings):
        return known.shadow
    parameters = settings.parameters.get(settings.shadow)
    made = strategy(settings.shadow, parameters, settings.shadow_own, clock, is_shadow=True)
    return Shadow(settings.shadow, made)


def _says_of_strategy(pool: PoolSettings) -> tuple[object, ...]:
    return pool.strategy, pool.parameters.get(pool.strategy), pool.own


def _says_of_shadow(pool: PoolSettings) -> tuple[object, ...]:
    return *_says_of_strategy(pool), pool.shadow, pool.parameters.get(pool.shadow), pool.shadow_own
