"""The fleet from the policy and from what its sources found. Pure.

The items of a pool's `endpoints` count in their order: an address that several of them give is that of the first. What
a source does not say of an endpoint (place, weight, labels) its item says.
"""

from collections.abc import Mapping

from control_plane.fleet.model import Endpoint, Health, static_endpoint
from control_plane.fleet.targets import Target
from control_plane.policy.discovery import Discovered, FileEndpoints, StaticEndpoint
from control_plane.policy.model import Policy, Pool

SourceKey = tuple[str, str, str]
"""What makes two items the same source: kind, target and what else changes its answer."""

Found = Mapping[SourceKey, tuple[Target, ...]]
"""What sources found last; one that has found nothing yet is missing."""


def source_key(item: Discovered) -> SourceKey:
    """The source that an item names: items of two pools may share one."""
    more = str(item.allow_empty) if isinstance(item, FileEndpoints) else item.dns_lookup_family
    return item.KIND, item.target, more


def sources_of(policy: Policy) -> dict[SourceKey, Discovered]:
    """All sources of a policy, each with the first item that names it."""
    found: dict[SourceKey, Discovered] = {}
    for pool in policy.pools:
        for item in pool.discovered:
            found.setdefault(source_key(item), item)
    return found


def pool_endpoints(pool: Pool, found: Found) -> tuple[Endpoint, ...]:
    """The endpoints of a pool, each address once."""
    endpoints: dict[str, Endpoint] = {}
    for item in pool.endpoints:
        if isinstance(item, StaticEndpoint):
            endpoints.setdefault(item.address, static_endpoint(pool.name, item))
            continue
        for target in found.get(source_key(item), ()):
            if target.address not in endpoints:
                endpoints[target.address] = _endpoint(pool.name, item, target)
    return tuple(endpoints.values())


def is_waiting(pool: Pool, found: Found) -> bool:
    """Whether a source of the pool has never found anything: an empty pool then means "not known yet"."""
    return any(source_key(item) not in found for item in pool.discovered)


def _endpoint(pool: str, item: Discovered, target: Target) -> Endpoint:
    return Endpoint(
        pool=pool,
        address=target.address,
        region=target.region or item.region,
        zone=target.zone or item.zone,
        weight=target.weight or item.weight,
        labels={**item.labels, **target.labels},
        health=Health.DRAINING if target.draining else Health.HEALTHY,
    )
