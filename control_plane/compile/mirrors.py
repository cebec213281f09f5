"""Mirrors: copies of a share of the requests to other pools.

Envoy sends a copy when it forwards the request, with the body as the engine gets it, and throws the answer away. A pick
for the serving pool is part of the copy's metadata, but no host of the mirror pool, so its own load balancing decides.
"""

from decimal import Decimal

from control_plane.compile.names import cluster_name
from control_plane.compile.typed import Json
from control_plane.policy.routing import Mirror

_MILLIONTHS_PER_PERCENT = 10_000


def mirror_policies(mirrors: tuple[Mirror, ...]) -> list[Json]:
    """`RouteAction.request_mirror_policies`; a mirror with 0 % is left out."""
    return [_policy(mirror) for mirror in mirrors if mirror.percentage.value]


def _policy(mirror: Mirror) -> Json:
    return {
        "cluster": cluster_name(mirror.pool),
        "runtimeFraction": {"defaultValue": fraction(mirror.percentage.value)},
        # The pod gets the client's host name as it is; what follows "-shadow" would be no host of anybody's.
        "disableShadowHostSuffixAppend": True,
    }


def fraction(percent: Decimal) -> Json:
    """Envoy's `FractionalPercent`: whole percent as such, anything finer in millionths."""
    if percent == percent.to_integral_value():
        return {"numerator": int(percent), "denominator": "HUNDRED"}
    return {"numerator": int(percent * _MILLIONTHS_PER_PERCENT), "denominator": "MILLION"}
