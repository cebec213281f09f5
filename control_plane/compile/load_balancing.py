"""Load balancing of a pool: named hosts first, and the policy's own choice for requests without a pick.

`override_host` wraps the fallback, and the weights of places (`distribute`) stand inside it: in
`localityWeightedLbConfig` of the plain policies, in `wrr_locality` around client-side weights, the only policy that it
takes (Envoy, "Locality weighted load balancing").
"""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.names import DESTINATION_KEY, LB_NAMESPACE, SERVED_KEY
from control_plane.compile.typed import Json, duration, extension
from control_plane.policy.load_balancing import ClientSideWeighted, ConsistentHash, LoadBalancer, Maglev, Warmup
from control_plane.policy.model import Pool

_POLICIES = "envoy.extensions.load_balancing_policies"

AGGRESSION_KEY = "kvpilot.slow_start.aggression"
"""Envoy wants a runtime key beside the number; nobody sets it, so the number is what counts."""


def load_balancing(pool: Pool, capabilities: Capabilities) -> Json:
    """The `LoadBalancingPolicy` of the pool's cluster."""
    fallback = _fallback(pool.traffic_policy.load_balancer, capabilities)
    if not capabilities.has(Feature.NAMED_HOSTS):
        return {"policies": [fallback]}
    override: Json = {
        # Metadata only: a header source would let clients choose the host.
        "overrideHostSources": [{"metadata": _metadata_key(DESTINATION_KEY)}],
        "fallbackPolicy": {"policies": [fallback]},
    }
    if capabilities.has(Feature.SELECTED_HOST):
        override["selectedHostKey"] = _metadata_key(SERVED_KEY)
    return {"policies": [_policy("override_host", "OverrideHost", override)]}


def hash_policies(pool: Pool, capabilities: Capabilities) -> list[Json]:
    """What a route to the pool hashes (`RouteAction.hash_policy`), where the pool's cluster cannot say it itself."""
    hashed = pool.traffic_policy.load_balancer.consistent_hash
    if hashed is None or capabilities.has(Feature.HASH_PER_POOL):
        return []
    return [_hash_policy(hashed)]


def _fallback(settings: LoadBalancer, capabilities: Capabilities) -> Json:
    by_place = settings.locality_lb_setting.has_shares
    if settings.consistent_hash is not None:
        hashed = _hashed(settings.consistent_hash, by_place, capabilities)
        if hashed is not None:
            return hashed
    if settings.client_side_weighted is not None:
        weighted = _weighted(settings.client_side_weighted, settings.warmup, by_place, capabilities)
        if weighted is not None:
            return weighted
    return _simple(settings, by_place, capabilities)


def _simple(settings: LoadBalancer, by_place: bool, capabilities: Capabilities) -> Json:
    fields: Json = {"localityLbConfig": {"localityWeightedLbConfig": {}}} if by_place else {}
    if settings.simple == "RANDOM" and capabilities.has(Feature.RANDOM):
        return _policy("random", "Random", fields)
    if settings.warmup is not None:
        fields |= {"slowStartConfig": _slow_start(settings.warmup)}
    if settings.simple == "ROUND_ROBIN" and capabilities.has(Feature.ROUND_ROBIN):
        return _policy("round_robin", "RoundRobin", fields)
    return _policy("least_request", "LeastRequest", fields)


def _hashed(settings: ConsistentHash, by_place: bool, capabilities: Capabilities) -> Json | None:
    """None where this Envoy has no such policy."""
    common: Json = {}
    if capabilities.has(Feature.HASH_PER_POOL):
        common["hashPolicy"] = [_hash_policy(settings)]
    if settings.hash_balance_factor is not None:
        common["hashBalanceFactor"] = settings.hash_balance_factor
    fields: Json = {"localityWeightedLbConfig": {}} if by_place else {}
    if common:
        fields["consistentHashingLbConfig"] = common
    maglev = settings.maglev
    if maglev is None and not capabilities.has(Feature.RING_HASH):
        maglev = Maglev()
    if maglev is not None and capabilities.has(Feature.MAGLEV):
        return _policy("maglev", "Maglev", fields | {"tableSize": str(maglev.table_size)})
    if not capabilities.has(Feature.RING_HASH):
        return None
    if settings.ring_hash is not None:
        fields["minimumRingSize"] = str(settings.ring_hash.minimum_ring_size)
    return _policy("ring_hash", "RingHash", fields)


def _hash_policy(settings: ConsistentHash) -> Json:
    if settings.http_header_name:
        return {"header": {"headerName": settings.http_header_name}}
    if settings.http_cookie is not None:
        cookie = settings.http_cookie
        return {"cookie": {"name": cookie.name, "path": cookie.path, "ttl": duration(cookie.ttl_s)}}
    if settings.http_query_parameter_name:
        return {"queryParameter": {"name": settings.http_query_parameter_name}}
    return {"connectionProperties": {"sourceIp": True}}


def _weighted(
    settings: ClientSideWeighted, warmup: Warmup | None, by_place: bool, capabilities: Capabilities
) -> Json | None:
    """None where this Envoy has no such policy, or has none that keeps the shares of places."""
    if not capabilities.has(Feature.REPORTED_LOAD):
        return None
    if by_place and not capabilities.has(Feature.REPORTED_LOAD_BY_PLACE):
        return None
    fields: Json = {
        "blackoutPeriod": duration(settings.blackout_period_s),
        "weightExpirationPeriod": duration(settings.weight_expiration_period_s),
        "weightUpdatePeriod": duration(settings.weight_update_period_s),
        "errorUtilizationPenalty": settings.error_utilization_penalty,
    }
    if settings.metric_names:
        fields["metricNamesForComputingUtilization"] = list(settings.metric_names)
    if warmup is not None:
        fields["slowStartConfig"] = _slow_start(warmup)
    if settings.out_of_band is not None and capabilities.has(Feature.REPORTS_OUT_OF_BAND):
        fields["enableOobLoadReport"] = True
        fields["oobReportingPeriod"] = duration(settings.out_of_band.period_s)
        if settings.out_of_band.port is not None:
            fields["oobReportingConfig"] = {"portValue": settings.out_of_band.port}
    weighted = _policy("client_side_weighted_round_robin", "ClientSideWeightedRoundRobin", fields)
    if not by_place:
        return weighted
    return _policy("wrr_locality", "WrrLocality", {"endpointPickingPolicy": {"policies": [weighted]}})


def _slow_start(warmup: Warmup) -> Json:
    return {
        "slowStartWindow": duration(warmup.duration_s),
        "aggression": {"defaultValue": warmup.aggression, "runtimeKey": AGGRESSION_KEY},
        "minWeightPercent": {"value": warmup.minimum_percent},
    }


def _policy(name: str, message: str, fields: Json) -> Json:
    full_name = f"{_POLICIES}.{name}.v3.{message}"
    return {"typedExtensionConfig": extension(f"envoy.load_balancing_policies.{name}", full_name, fields)}


def _metadata_key(key: str) -> Json:
    return {"key": LB_NAMESPACE, "path": [{"key": key}]}
