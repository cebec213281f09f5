"""`trafficPolicy.loadBalancer.adaptiveWeights`: endpoints weigh what they turn out to serve."""

from control_plane.policy.declare import Block, block, setting
from control_plane.policy.scalars import Integer
from control_plane.policy.units import Duration

LEAST_PERCENT = 5
"""An endpoint that got nothing could not show that it is well again, so weights alone never take all of its share."""

MOST_PERCENT = 10_000
"""A hundredfold: more than any two accelerators that serve one model differ."""

MAX_STEP = 50
"""Percent of a weight at once. With more it is no step but a jump, and the loop is no longer damped."""


@block()
class AdaptiveWeights(Block):
    """Endpoints' weights follow what they turn out to serve, for picks and for Envoy: throughput ÷ requests in flight.

    Configured weights are where they begin, and where they return without traffic. `docs/adaptive_weights.md` says
    more.
    """

    interval_s: float = setting(
        Duration("1s", "10m"), default=5.0, doc="Least time between two changes, each of which Envoys are told."
    )
    max_step: int = setting(
        Integer(1, MAX_STEP, "percent"), default=20, doc="By so much a weight changes at once, at most."
    )
    min_percent: int = setting(
        Integer(LEAST_PERCENT, 100, "percent"), default=10, doc="No weight falls below this part of the configured one."
    )
    max_percent: int = setting(
        Integer(100, MOST_PERCENT, "percent"),
        default=400,
        doc="No weight grows beyond this part of the configured one.",
    )
    half_life_s: float = setting(
        Duration("5s", "1h"),
        default=30.0,
        doc="In so long what was measured loses half of its weight, and an endpoint without traffic comes half of the "
        "way back to its configured weight. A few times as long as requests take.",
    )
