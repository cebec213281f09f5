"""Which features a policy has a use for: what an Envoy lacks matters to an operator only if the policy wants it.

A feature without an entry is one that every policy has a use for.
"""

from collections.abc import Callable, Iterator, Mapping

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.needs import needs_of
from control_plane.policy.load_balancing import LoadBalancer
from control_plane.policy.model import Policy
from control_plane.policy.traffic import Retries

_Use = Callable[[Policy], bool]


def lacking(capabilities: Capabilities, policy: Policy) -> tuple[str, ...]:
    """What the policy wants and this Envoy does not get, for an operator to read, in a stable order."""
    return tuple(feature.value for feature in Feature if not capabilities.has(feature) and is_wanted(feature, policy))


def is_wanted(feature: Feature, policy: Policy) -> bool:
    """Whether the policy has a use for a feature."""
    use = _USES.get(feature)
    return use is None or use(policy)


def _retries(policy: Policy) -> Iterator[Retries]:
    yield from (pool.retries for pool in policy.pools)
    yield from (owner.retries for owner in policy.owners if owner.retries is not None)


def _any_balancer(holds: Callable[[LoadBalancer], object]) -> _Use:
    return lambda policy: any(holds(pool.traffic_policy.load_balancer) for pool in policy.pools)


def _has_limits(policy: Policy) -> bool:
    limits = (*(each.rate_limit for each in policy.listeners), *(each.rate_limit for each in policy.owners))
    return any(limits)


def _has_faults(policy: Policy) -> bool:
    faults = (*(each.fault for each in policy.listeners), *(each.fault for each in policy.owners))
    return any(fault is not None for fault in faults)


def _has_tls(policy: Policy) -> bool:
    picker = policy.control_plane.ext_proc.tls
    pools = (pool.traffic_policy.tls for pool in policy.pools)
    return (
        any(listener.tls is not None for listener in policy.listeners)
        or any(rule.jwks_uri.startswith("https:") for listener in policy.listeners for rule in listener.jwt)
        or any(tls is not None and tls.is_on for tls in pools)
        or (picker is not None and picker.envoy is not None)
    )


def _has_splits(policy: Policy) -> bool:
    return any(len(owner.targets) > 1 for owner in policy.owners)


def _rewrites(policy: Policy) -> bool:
    return any(needs_of(listener, policy).rewrite for listener in policy.listeners)


def _has_shares(balancer: LoadBalancer) -> bool:
    return balancer.locality_lb_setting.has_shares


def _detects_degraded(policy: Policy) -> bool:
    found = (pool.traffic_policy.outlier_detection for pool in policy.pools)
    return any(each is not None and each.detect_degraded_hosts for each in found)


_hashes = _any_balancer(lambda balancer: balancer.consistent_hash)

_USES: Mapping[Feature, _Use] = {
    Feature.ACCESS_LOG_SINKS: lambda policy: any(listener.access_log for listener in policy.listeners),
    Feature.TOOLS: lambda policy: any(needs_of(listener, policy).tools for listener in policy.listeners),
    Feature.RATE_LIMITS: _has_limits,
    Feature.FAULTS: _has_faults,
    Feature.STREAM_USAGE: lambda policy: policy.feedback.usage,
    Feature.STICKY_CANARY: _has_splits,
    Feature.RETRIES_PER_POOL: _has_splits,
    Feature.HASH_PER_POOL: lambda policy: _has_splits(policy) and _hashes(policy),
    Feature.TLS: _has_tls,
    Feature.TOKENS: lambda policy: any(listener.jwt for listener in policy.listeners),
    Feature.AUTHORIZATION: lambda policy: any(listener.authorization for listener in policy.listeners),
    Feature.FAIL_OPEN_REWRITE: _rewrites,
    Feature.AVOID_PREVIOUS_HOSTS: lambda policy: any(each.retry_ignore_previous_hosts for each in _retries(policy)),
    Feature.AVOID_PREVIOUS_PRIORITIES: lambda policy: any(each.retry_remote_localities for each in _retries(policy)),
    Feature.ROUND_ROBIN: _any_balancer(lambda balancer: balancer.simple == "ROUND_ROBIN"),
    Feature.RANDOM: _any_balancer(lambda balancer: balancer.simple == "RANDOM"),
    Feature.RING_HASH: _any_balancer(lambda each: each.consistent_hash and each.consistent_hash.maglev is None),
    Feature.MAGLEV: _any_balancer(lambda each: each.consistent_hash and each.consistent_hash.maglev is not None),
    Feature.REPORTED_LOAD: _any_balancer(lambda balancer: balancer.client_side_weighted),
    Feature.REPORTED_LOAD_BY_PLACE: _any_balancer(lambda each: each.client_side_weighted and _has_shares(each)),
    Feature.REPORTS_OUT_OF_BAND: _any_balancer(
        lambda each: each.client_side_weighted and each.client_side_weighted.out_of_band
    ),
    Feature.DEGRADED_BY_HEADER: _detects_degraded,
    Feature.HEALTH_CHECKS: lambda policy: any(pool.health_check is not None for pool in policy.pools),
}
"""Feature → whether a policy has a use for it."""
