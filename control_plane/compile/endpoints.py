"""Endpoint assignments: a pool's pods by locality, with weight, health and priority for one Envoy's place."""

from collections.abc import Iterable, Sequence

from control_plane.compile.localities import Locality, priorities
from control_plane.compile.names import cluster_name
from control_plane.compile.typed import Json, socket_address
from control_plane.fleet.model import Endpoint
from control_plane.policy.model import Pool
from ext_proc.core.address import parse_address

MAX_WEIGHT_SUM = 2**32 - 1
"""Envoy keeps sums of weights in 32 bits and refuses more (`LocalityLbEndpoints`, `LbEndpoint`)."""


def load_assignment(pool: Pool, endpoints: Sequence[Endpoint], node: Locality) -> Json:
    """The `ClusterLoadAssignment` of `pool`.

    A pool without endpoints gets an empty assignment: taking the resource away would change nothing in Envoy. An
    address that is listed twice counts once, first come. A locality weighs what its endpoints weigh together, so that a
    policy that first draws a locality still gives each endpoint its share.
    """
    by_address: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        by_address.setdefault(endpoint.address, endpoint)
    unique = tuple(by_address.values())
    weights = scaled([endpoint.weight for endpoint in unique])
    groups: dict[Locality, list[tuple[Endpoint, int]]] = {}
    for endpoint, weight in zip(unique, weights, strict=True):
        groups.setdefault(Locality(endpoint.region, endpoint.zone), []).append((endpoint, weight))
    priority = priorities(groups, node, pool.traffic_policy.load_balancer.locality_lb_setting)
    ordered = sorted(groups, key=lambda locality: (priority[locality], locality))
    return {
        "clusterName": cluster_name(pool.name),
        "endpoints": [_locality(locality, groups[locality], priority[locality]) for locality in ordered],
    }


def scaled(weights: Sequence[int]) -> list[int]:
    """`weights` so that their sum fits in 32 bits, each at least 1, in the same proportions up to rounding."""
    total = sum(weights)
    if total <= MAX_WEIGHT_SUM:
        return list(weights)
    count = len(weights)
    return [1 + (weight - 1) * (MAX_WEIGHT_SUM - count) // (total - count) for weight in weights]


def _locality(locality: Locality, members: Iterable[tuple[Endpoint, int]], priority: int) -> Json:
    members = tuple(members)
    result: Json = {
        "lbEndpoints": [_endpoint(endpoint, weight) for endpoint, weight in members],
        "loadBalancingWeight": sum(weight for _, weight in members),
    }
    fields = {name: value for name, value in (("region", locality.region), ("zone", locality.zone)) if value}
    if fields:
        result["locality"] = fields
    if priority:
        result["priority"] = priority
    return result


def _endpoint(endpoint: Endpoint, weight: int) -> Json:
    return {
        "endpoint": {"address": socket_address(parse_address(endpoint.address))},
        "healthStatus": endpoint.health.name,
        "loadBalancingWeight": weight,
    }
