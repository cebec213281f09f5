"""Rules about adaptive weights: whether anybody looks at weights at all."""

from control_plane.policy.codes import Code
from control_plane.policy.load_balancing import LoadBalancer
from control_plane.policy.model import Pool
from control_plane.policy.reader import BlockRule, Reader

WEIGHTLESS = ("kv-aware", "round-robin", "queue-depth", "gpu-memory", "primary-standby")
"""Strategies that do not look at weights; one of the user's own may."""


def _weights_of_nobody(pool: Pool, path: str, reader: Reader) -> None:
    balancer = pool.traffic_policy.load_balancer
    if balancer.adaptive_weights is None:
        return
    written = f"{path}.trafficPolicy.loadBalancer.adaptiveWeights"
    if pool.picker.strategy in WEIGHTLESS and not _weighs(balancer):
        message = (
            f"`adaptiveWeights` does nothing: neither `{pool.picker.strategy}` nor the load balancer looks at weights"
        )
        reader.report_at(written, Code.NO_EFFECT, message, "use the strategy `weighted`, or remove it")
    elif len(pool.endpoints) == 1 and not pool.discovered:
        message = "`adaptiveWeights` does nothing with a single endpoint"
        reader.report_at(written, Code.NO_EFFECT, message, "remove it")


def _weighs(balancer: LoadBalancer) -> bool:
    """Whether requests without a pick go by the endpoints' weights (`control_plane.compile.load_balancing`)."""
    if balancer.client_side_weighted is not None:
        return False  # by what endpoints report
    return balancer.consistent_hash is not None or balancer.simple != "RANDOM"


WEIGHT_RULES: dict[type, tuple[BlockRule, ...]] = {Pool: (_weights_of_nobody,)}
"""Kind of block → rules about one such block."""
