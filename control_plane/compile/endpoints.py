"""Endpoint assignments: a pool's pods by locality, with weight, health and priority for one Envoy's place."""

from collections.abc import Iterable, Mapping, Sequence

from control_plane.compile.addresses import pod_address
from control_plane.compile.health_checks import endpoint_check
from control_plane.compile.localities import Locality, Placement, placements
from control_plane.compile.names import cluster_name
from control_plane.compile.typed import Json
from control_plane.fleet.model import Endpoint, Health
from control_plane.policy.model import Pool

_USABLE = (Health.HEALTHY, Health.DEGRADED)

MAX_WEIGHT_SUM = 2**32 - 1
"""Envoy keeps sums of weights in 32 bits and refuses more (`LocalityLbEndpoints`, `LbEndpoint`)."""


def load_assignment(pool: Pool, endpoints: Sequence[Endpoint], node: Locality) -> Json:
    """The `ClusterLoadAssignment` of `pool`.

    A pool without endpoints gets an empty assignment: taking the resource away would change nothing in Envoy. An
    address that is listed twice counts once, first come. Localities that get no share are not in it, nor is who was
    drained: its idle connections and health checks end, it is no lost capacity, and what runs there goes on. While
    requests move between places those that have a share are one priority, and their endpoints weigh accordingly.
    """
    by_address: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        if endpoint.health not in (Health.REMOVED, Health.DRAINED):
            by_address.setdefault(endpoint.address, endpoint)
    unique = tuple(by_address.values())
    weights = scaled([endpoint.weight for endpoint in unique])
    by_place: dict[tuple[str, str], list[tuple[Endpoint, int]]] = {}
    for endpoint, weight in zip(unique, weights, strict=True):
        by_place.setdefault((endpoint.region, endpoint.zone), []).append((endpoint, weight))
    groups = {Locality(region, zone): members for (region, zone), members in by_place.items()}
    setting = pool.traffic_policy.load_balancer.locality_lb_setting
    shares = _shares(groups, node) if setting.shifts is not None else {}
    together = {locality: _weight(members, shares) for locality, members in groups.items()}
    placed = placements(together, node, setting, shares)
    if shares:
        groups = _weighing(groups, placed, together)
    ordered = sorted(placed, key=lambda locality: (placed[locality].priority, locality))
    check = endpoint_check(pool)
    result: Json = {
        "clusterName": cluster_name(pool.name),
        "endpoints": [_locality(locality, groups[locality], placed[locality], check) for locality in ordered],
    }
    if setting.enabled and setting.overprovisioning_factor is not None:
        result["policy"] = {"overprovisioningFactor": setting.overprovisioning_factor}
    return result


def scaled(weights: Sequence[int]) -> list[int]:
    """`weights` so that their sum fits in 32 bits, each at least 1, in the same proportions up to rounding."""
    total = sum(weights)
    if total <= MAX_WEIGHT_SUM:
        return list(weights)
    count = len(weights)
    return [1 + (weight - 1) * (MAX_WEIGHT_SUM - count) // (total - count) for weight in weights]


def _shares(groups: Mapping[Locality, Sequence[tuple[Endpoint, int]]], node: Locality) -> dict[Locality, int]:
    """Percent of the requests for each locality's place; nothing while all go to the nearest one."""
    first = {locality: members[0][0].share_at(node.region, node.zone) for locality, members in groups.items()}
    return {locality: share.percent for locality, share in first.items() if share is not None}


def _weight(members: Iterable[tuple[Endpoint, int]], shares: Mapping[Locality, int]) -> int:
    """What a locality weighs: while places have shares, by those of its endpoints that can be used, if any.

    Places of one priority lose what their unhealthy endpoints weigh; a share must not.
    """
    members = list(members)
    usable = [weight for endpoint, weight in members if _status(endpoint) in _USABLE] if shares else []
    return sum(usable or (weight for _, weight in members))


def _weighing(
    groups: Mapping[Locality, Sequence[tuple[Endpoint, int]]],
    placed: Mapping[Locality, Placement],
    together: Mapping[Locality, int],
) -> dict[Locality, list[tuple[Endpoint, int]]]:
    """The endpoints, with weights that add up to those of their localities.

    Envoy looks at the weights of localities only where shares are fixed (`distribute`), at those of endpoints always.
    """
    made = [
        (
            locality,
            endpoint,
            min(placed[locality].weight, max(1, placed[locality].weight * weight // together[locality])),
        )
        for locality, members in groups.items()
        for endpoint, weight in members
    ]
    weighing: dict[Locality, list[tuple[Endpoint, int]]] = {}
    for (locality, endpoint, _), weight in zip(made, scaled([weight for *_, weight in made]), strict=True):
        weighing.setdefault(locality, []).append((endpoint, weight))
    return weighing


def _locality(locality: Locality, members: Iterable[tuple[Endpoint, int]], placement: Placement, check: Json) -> Json:
    result: Json = {
        "lbEndpoints": [_endpoint(endpoint, weight, check) for endpoint, weight in members],
        "loadBalancingWeight": placement.weight,
    }
    fields = {name: value for name, value in (("region", locality.region), ("zone", locality.zone)) if value}
    if fields:
        result["locality"] = fields
    if placement.priority:
        result["priority"] = placement.priority
    return result


def _endpoint(endpoint: Endpoint, weight: int, check: Json) -> Json:
    return {
        "endpoint": {"address": pod_address(endpoint.address), **check},
        "healthStatus": _status(endpoint).name,
        "loadBalancingWeight": weight,
    }


def _status(endpoint: Endpoint) -> Health:
    """What is known counts before what is inferred, unless that is worse."""
    if endpoint.health in (Health.HEALTHY, Health.DEGRADED) and endpoint.inferred is not Health.HEALTHY:
        return Health.UNHEALTHY if endpoint.inferred is Health.UNHEALTHY else Health.DEGRADED
    return endpoint.health
