"""`feedback`: what Envoy reads from answers for kvpilot."""

from control_plane.policy.declare import Block, block, setting
from control_plane.policy.scalars import Boolean


@block()
class Feedback(Block):
    """What Envoy reads from answers for kvpilot."""

    usage: bool = setting(
        Boolean(),
        default=True,
        doc="Whether token counts are read from answers (of streams, too, from Envoy 1.38 on), for metrics and logs. "
        "For it Envoy holds plain answers until they are complete, up to 64 MiB.",
    )
