"""What a route does with a request: to which pools, for how long, how often, with which copies."""

from dataclasses import dataclass

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.load_balancing import hash_policies
from control_plane.compile.mirrors import mirror_policies
from control_plane.compile.names import cluster_name
from control_plane.compile.retries import retry_policy
from control_plane.compile.typed import Json, duration
from control_plane.policy.model import Forwarding, Listener, Policy, Pool, Retries, RouteTarget

NO_IDLE_TIMEOUT_S = 0.0
"""Envoy's way to say: none."""


def routed_retries(policy: Policy) -> frozenset[str]:
    """Pools whose retry settings stand in their routes, on every Envoy.

    That is where a model or a rule with `retries` of its own leads to: what a cluster says about retries wins over what
    the route says (seen on Envoy 1.40), so such a pool's cluster must not say anything.
    """
    return frozenset(target.pool for owner in policy.owners if owner.retries is not None for target in owner.targets)


def cluster_capabilities(pool: Pool, routed: frozenset[str], capabilities: Capabilities) -> Capabilities:
    """What the cluster of `pool` may use: retry settings only where no route has its own."""
    if pool.name not in routed:
        return capabilities
    return Capabilities(capabilities.features - {Feature.RETRIES_PER_POOL})


@dataclass(frozen=True, slots=True)
class Actions:
    """Makes the actions of one listener's routes. `routed` is `routed_retries` of the policy."""

    listener: Listener
    policy: Policy
    capabilities: Capabilities
    routed: frozenset[str]

    def forward(self, owner: Forwarding) -> Json:
        """To the pools of a model or a rule, with its own timeout, second tries and mirrors."""
        action = self.to(owner.targets)
        if owner.timeout_s is not None:
            action["timeout"] = duration(owner.timeout_s)
        if owner.retries is not None:
            action.pop("retryPolicy", None)
            action |= _retries(owner.retries, self.capabilities)
        copies = mirror_policies(owner.all_mirrors)
        if copies:
            action["requestMirrorPolicies"] = copies
        return action

    def to(self, route: tuple[RouteTarget, ...]) -> Json:
        """To one pool, or split over several by weight, a session always to the same one.

        A route has one timeout: the longest of its pools'. It has one retry policy, too: that of the first pool whose
        cluster does not say it.
        """
        pools = [self.policy.pool(target.pool) for target in route]
        action: Json = {"timeout": duration(max(pool.timeouts.request_s for pool in self.served(route)))}
        has_own = self.capabilities.has(Feature.RETRIES_PER_POOL)
        silent = [pool for pool in pools if not has_own or pool.name in self.routed]
        if silent:
            action |= _retries(silent[0].retries, self.capabilities)
        hashed = hash_policies(pools[0], self.capabilities)
        if hashed:
            action["hashPolicy"] = hashed
        if len(route) == 1:
            return action | {"cluster": cluster_name(pools[0].name)}
        split: Json = {
            "clusters": [{"name": cluster_name(target.pool), "weight": target.weight} for target in route],
        }
        if self.capabilities.has(Feature.STICKY_CANARY):
            split["useHashPolicy"] = True
            action["hashPolicy"] = [{"header": {"headerName": self.listener.session_header}}]
        return action | {"weightedClusters": split}

    def idle_s(self, route: tuple[RouteTarget, ...]) -> float:
        """How long a stream may be silent.

        Envoy's idle timer also runs before an answer's first byte, so it is never shorter than the first byte's own
        limit; and while a request waits for a place, so that time comes on top.
        """
        return max(_idle_s(pool) for pool in self.served(route))

    def first_byte_s(self, route: tuple[RouteTarget, ...]) -> float | None:
        """How long a try of a streamed answer may take to begin, whatever its prompt; None where its pools do not say.

        For requests without a pick: with one the picker says it, by the prompt. The longest, as with all timeouts.
        """
        limits = [pool.timeouts.first_byte_s for pool in self.served(route)]
        known = [limit for limit in limits if limit is not None]
        return max(known) if known and len(known) == len(limits) else None

    def served(self, route: tuple[RouteTarget, ...]) -> list[Pool]:
        """The pools of a route that get requests."""
        return [self.policy.pool(target.pool) for target in route if target.weight]


def _idle_s(pool: Pool) -> float:
    wait_s = 0.0 if pool.picker.admission is None else pool.picker.admission.longest_wait_s
    return max(pool.timeouts.idle_s, pool.timeouts.first_byte_s or 0.0) + wait_s


def _retries(retries: Retries, capabilities: Capabilities) -> Json:
    policy = retry_policy(retries, capabilities)
    return {} if policy is None else {"retryPolicy": policy}
