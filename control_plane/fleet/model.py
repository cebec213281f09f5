"""The fleet as values: pools, their endpoints, and how each endpoint is.

A policy says what the operator wants; a fleet says what there is at this moment. Discovery and health produce new
fleets, `control_plane.compile` turns policy and fleet into Envoy's resources. Pure: values only.
"""

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from enum import Enum, unique

from control_plane.policy.model import Policy, StaticEndpoint


@unique
class Health(Enum):
    """How an endpoint is, in the words of Envoy's `HealthStatus` (envoy.config.core.v3); the last two are our own."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Used only while there is not enough healthy capacity."""
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    """On its way out: keeps what it serves, gets nothing new."""
    REMOVED = "removed"
    """Out of Envoy, though discovery still lists it; the picker watches what runs there."""
    DRAINED = "drained"
    """Nothing runs there: the picker has forgotten it, too."""


@dataclass(frozen=True, slots=True)
class Share:
    """What part of a pool's requests, in percent, Envoys in `region` and `zone` send to the place of an endpoint.

    `why` says from where, if from another place (`control_plane.fleet.zones`).
    """

    region: str
    zone: str
    percent: int
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One pod of one pool; `address` is `ip:port` or `[v6]:port`, in exactly the text that Envoy prints."""

    pool: str
    address: str
    region: str = ""
    zone: str = ""
    weight: int = 100
    labels: Mapping[str, str] = field(default_factory=dict)
    health: Health = Health.HEALTHY
    inferred: Health = Health.HEALTHY
    """What the picker has found out, for Envoy's own choices alone: HEALTHY, DEGRADED or UNHEALTHY
    (`control_plane.fleet.mirror`). The picker itself goes by `health`, or it could never find out anything else."""
    shares: tuple[Share, ...] = ()
    """For Envoys at other places than those named here, all requests go to the nearest place that can take them."""

    def share_at(self, region: str, zone: str) -> Share | None:
        """Its place's share for an Envoy that stands there, where requests do not simply go to the nearest place."""
        return next((share for share in self.shares if (share.region, share.zone) == (region, zone)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All endpoints by pool name; a pool that is missing here has none at the moment."""

    pools: Mapping[str, tuple[Endpoint, ...]]

    def with_changed(self, pools: Container[str], change: Callable[[Endpoint], Endpoint]) -> "Fleet":
        """The fleet with each endpoint of these pools as `change` makes it; the others' are the same values."""
        return Fleet(
            pools={
                name: tuple(map(change, endpoints)) if name in pools else endpoints
                for name, endpoints in self.pools.items()
            }
        )


def static_fleet(policy: Policy) -> Fleet:
    """The fleet that the policy itself lists, all of it healthy; what only a running kvpilot finds is not in it."""
    return Fleet(
        pools={
            pool.name: tuple(static_endpoint(pool.name, endpoint) for endpoint in pool.static_endpoints)
            for pool in policy.pools
        }
    )


def static_endpoint(pool: str, endpoint: StaticEndpoint) -> Endpoint:
    """One endpoint that the policy names."""
    return Endpoint(
        pool=pool,
        address=endpoint.address,
        region=endpoint.region,
        zone=endpoint.zone,
        weight=endpoint.weight,
        labels=dict(endpoint.labels),
    )
