"""Envoy's runtime values as the one resource of RTDS.

Envoy merges the layer over its static ones and applies it without a restart (its page "Runtime configuration",
"Runtime Discovery Service"). It asks only if its bootstrap has an `rtds_layer`, and then waits for the answer before it
asks for anything else, so the resource is always there, if need be with nothing in it.
"""

from control_plane.compile.names import RUNTIME_RESOURCE
from control_plane.compile.typed import Json
from control_plane.policy.model import Policy


def runtime_layer(policy: Policy) -> Json:
    """The `Runtime` resource; whole numbers are written as such."""
    return {"name": RUNTIME_RESOURCE, "layer": {key: _value(policy.runtime[key]) for key in sorted(policy.runtime)}}


def _value(value: bool | float | str) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value
