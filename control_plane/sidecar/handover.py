"""When the picker may name an endpoint: after Envoy has it. When it stops: before Envoy loses it.

    handover = Handover(settings)
    pick_under(handover.want(newer, now))                 # what it may name at once: removals are gone, additions wait
    pick_under(handover.advance(has_all, now))            # asked again and again, until nothing waits

Additions wait together, as one generation, until every connected Envoy has accepted an assignment that was served
since the first of them came, or for `SYNC_TIMEOUT_S` after that. What comes meanwhile is the next generation, so that
additions are not starved by endpoints that come and go all the time. Pure.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from control_plane.sidecar.picker_settings import is_out_of_envoy, without_additions
from ext_proc.core.settings import PickerSettings, PoolSettings

SYNC_TIMEOUT_S = 5.0
"""How long additions wait for Envoy's ACK before the picker may name them anyway: an Envoy that is gone or refuses must
not hold back the picks for another one, and naming an endpoint that Envoy does not know costs nothing but that pick
(Envoy takes the next one)."""

IsTaken = Callable[[str, int], bool]
"""Whether every connected Envoy has answered for a pool's assignment that was published as this number or later."""


class Handover:
    """Mutable: the settings in force, the wanted ones, and the generation that waits; by its methods only."""

    def __init__(self, settings: PickerSettings) -> None:
        self._current = settings
        self._wanted = settings
        self._waiting: frozenset[tuple[str, str]] = frozenset()
        self._since = 0.0
        self._from = 0
        self.number = 0
        """Of what was wanted last: it grows by one with each `want`."""

    @property
    def current(self) -> PickerSettings:
        """What the picker is to be under now."""
        return self._current

    @property
    def wanted(self) -> PickerSettings:
        """What it is to be under in the end."""
        return self._wanted

    @property
    def waiting_pools(self) -> frozenset[str]:
        """Pools with endpoints that may not be named yet."""
        return frozenset(pool for pool, _ in _endpoints(self._wanted) - _endpoints(self._current))

    @property
    def is_waiting(self) -> bool:
        """Whether additions wait for an Envoy."""
        return bool(self._waiting)

    def at_once(self, settings: PickerSettings) -> PickerSettings:
        """Takes `settings` as they are: nobody is waited for."""
        self._current = self._wanted = settings
        self._waiting = frozenset()
        return settings

    def want(self, settings: PickerSettings, now: float) -> PickerSettings:
        """Other settings are to be; gives what of them holds at once. To be called before they are published."""
        self.number += 1
        self._wanted = settings
        self._current = without_additions(self._current, settings)
        self._waiting &= _endpoints(settings)
        if not self._waiting:
            self._begin(now, self.number)
        return self._current

    def withhold(self, pool: str, addresses: Collection[str]) -> PickerSettings:
        """Lets go of these at once, before anything else is made of it; gives the settings in force."""
        self._wanted = _without(self._wanted, pool, addresses)
        self._current = _without(self._current, pool, addresses)
        return self._current

    def advance(self, is_taken: IsTaken, now: float) -> PickerSettings:
        """Admits what Envoys have by now; gives the settings in force."""
        while self._waiting:
            pools = {pool for pool, _ in self._waiting}
            is_late = now - self._since >= SYNC_TIMEOUT_S
            if not is_late and not all(is_taken(pool, self._from) for pool in pools):
                break
            self._current = _with(self._current, self._wanted, self._waiting)
            self._begin(now, self.number)
        return self._current

    def _begin(self, now: float, number: int) -> None:
        """The next generation: all that is wanted and may not be named yet."""
        self._waiting = _endpoints(self._wanted) - _endpoints(self._current)
        self._since, self._from = now, number
        if not self._waiting:
            self._current = self._wanted


def _endpoints(settings: PickerSettings) -> frozenset[tuple[str, str]]:
    return frozenset(
        (pool.name, endpoint.address)
        for pool in settings.pools
        for endpoint in pool.endpoints
        if not is_out_of_envoy(endpoint)
    )


def _with(current: PickerSettings, wanted: PickerSettings, admitted: Collection[tuple[str, str]]) -> PickerSettings:
    """`wanted`, of its endpoints those that are in `current` or were admitted."""
    known = _endpoints(current) | frozenset(admitted)
    pools = (_restricted(pool, known) for pool in wanted.pools)
    return replace(wanted, pools=tuple(pool for pool in pools if pool.endpoints))


def _without(settings: PickerSettings, pool: str, addresses: Collection[str]) -> PickerSettings:
    """`settings` with these endpoints of the pool not available."""
    pools = (_withheld(each, addresses) if each.name == pool else each for each in settings.pools)
    return replace(settings, pools=tuple(pools))


def _withheld(pool: PoolSettings, addresses: Collection[str]) -> PoolSettings:
    endpoints = (
        replace(endpoint, available=False) if endpoint.address in addresses else endpoint for endpoint in pool.endpoints
    )
    return replace(pool, endpoints=tuple(endpoints))


def _restricted(pool: PoolSettings, known: frozenset[tuple[str, str]]) -> PoolSettings:
    kept = tuple(each for each in pool.endpoints if (pool.name, each.address) in known or is_out_of_envoy(each))
    return replace(pool, endpoints=kept)


def combined(stable: PickerSettings, candidate: PickerSettings) -> PickerSettings:
    """While a new policy is with some Envoys only, the picker serves both: what both have is as the rest has it."""
    names = {pool.name for pool in stable.pools}
    return replace(
        stable,
        pools=(*stable.pools, *(pool for pool in candidate.pools if pool.name not in names)),
        models={**candidate.models, **stable.models},
        engine_models={**candidate.engine_models, **stable.engine_models},
        rewrites={**candidate.rewrites, **stable.rewrites},
        open_routes=stable.open_routes | candidate.open_routes,
        timeouts_s={**candidate.timeouts_s, **stable.timeouts_s},
    )
