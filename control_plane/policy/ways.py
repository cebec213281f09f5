"""Where requests may go in place of the pool of their route, in order: what `fallback` comes to. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from control_plane.policy.degradation import Fallback, Features
from control_plane.policy.model import Model, Policy
from control_plane.policy.routing import RouteTarget, Rule

NOTHING_LOST = Features()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One pool, the model that answers there, and what requests lose."""

    pool: str
    model: str
    features: Features = NOTHING_LOST


def ways_of(model: Model, policy: Policy) -> tuple[Way, ...]:
    """Those of a model's requests: the pools of its own route, then its fallbacks; none where it has neither."""
    if not model.degrades:
        return ()
    own = (Way(pool=target.pool, model=model.name) for target in _by_weight(model.targets))
    return _each_pool_once((*own, *_listed(model.fallback, model, policy)))


def ways_of_rule(rule: Rule, model: Model, policy: Policy) -> tuple[Way, ...] | None:
    """Those of a model's requests that a rule takes; None where they are the model's."""
    if rule.fallback is None or not model.degrades:
        return None
    return _each_pool_once(_listed(rule.fallback, model, policy))


def detour_pools(policy: Policy) -> tuple[str, ...]:
    """All pools to which requests may be led away from the route that Envoy chose, in the order of the file."""
    found: set[str] = set()
    for model in policy.models:
        every = [ways_of(model, policy), *(ways_of_rule(rule, model, policy) or () for rule in policy.rules)]
        found |= {way.pool for ways in every for way in ways}
    return tuple(pool.name for pool in policy.pools if pool.name in found)


def _listed(fallbacks: Iterable[Fallback], model: Model, policy: Policy) -> Iterator[Way]:
    for each in fallbacks:
        if each.pool:
            yield Way(pool=each.pool, model=model.name, features=each.features)
            continue
        other = policy.model(each.model)
        for target in _by_weight(() if other is None else other.targets):
            yield Way(pool=target.pool, model=each.model, features=each.features)


def _by_weight(targets: Iterable[RouteTarget]) -> list[RouteTarget]:
    """The largest share first: what takes most of the requests can best take some more."""
    return sorted((target for target in targets if target.weight), key=lambda target: -target.weight)


def _each_pool_once(ways: Iterable[Way]) -> tuple[Way, ...]:
    first: dict[str, Way] = {}
    for way in ways:
        first.setdefault(way.pool, way)
    return tuple(first.values())
