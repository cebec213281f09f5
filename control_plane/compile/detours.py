"""Routes to a pool that the picker names in place of the one that Envoy chose: degradation.

They stand before all others and match on the picker's answer alone, so that no request gets there by itself, and the
picker cannot lead one anywhere else. While the picker is dead nobody takes them. `docs/degradation.md`.
"""

from control_plane.compile.actions import NO_IDLE_TIMEOUT_S, Actions
from control_plane.compile.names import (
    KVPILOT_NAMESPACE,
    LB_NAMESPACE,
    POOL_KEY,
    STREAM_KEY,
    detour_route_name,
)
from control_plane.compile.string_matchers import metadata_matcher
from control_plane.compile.typed import Json, duration
from control_plane.policy.routing import RouteTarget


def detour_routes(pool: str, actions: Actions, *, reads_bodies: bool) -> list[Json]:
    """Two routes with one name: streamed answers have an idle timeout, plain ones are silent until they are done.

    The timeouts, second tries and breakers are those of `pool`. Where bodies are not read nothing is known to be a
    stream.
    """
    targets = (RouteTarget(pool=pool),)
    is_there = metadata_matcher(LB_NAMESPACE, (POOL_KEY,), {"stringMatch": {"exact": pool}})
    is_stream = metadata_matcher(KVPILOT_NAMESPACE, (STREAM_KEY,), {"boolMatch": True})
    found = [([is_there], NO_IDLE_TIMEOUT_S)]
    if reads_bodies:
        found.insert(0, ([is_there, is_stream], actions.idle_s(targets)))
    return [
        {
            "name": detour_route_name(pool),
            "match": {"prefix": "/", "dynamicMetadata": conditions},
            "route": {**actions.to(targets), "idleTimeout": duration(idle_s)},
        }
        for conditions, idle_s in found
    ]
