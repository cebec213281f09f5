"""`pools.NAME.drain`: how long endpoints that are drained may finish what they serve."""

from control_plane.policy.declare import Block, block, setting
from control_plane.policy.units import Duration


@block()
class Draining(Block):
    """How the endpoints of the pool are drained (`kvpilot drain`)."""

    timeout_s: float | None = setting(
        Duration("1s", "24h"),
        default=None,
        absent=(None, "`timeouts.request`"),
        doc="How long requests that run there are waited for; then the endpoint is taken out, and what still runs goes "
        "on unwatched.",
    )
