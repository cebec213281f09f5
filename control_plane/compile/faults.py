"""Faults on purpose: Envoy's fault filter, for a listener and for single routes.

The filter stands behind the one that reads the model, so it sees the route that the model chose. A route's own settings
take the place of the listener's (`typed_per_filter_config`: the most specific wins).
"""

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.string_matchers import header_condition
from control_plane.compile.typed import Json, any_of, duration, extension
from control_plane.policy.faults import Fault
from control_plane.policy.model import Listener
from control_plane.policy.percentages import Percentage

FAULT_FILTER = "envoy.filters.http.fault"

_FAULT = "envoy.extensions.filters.http.fault.v3.HTTPFault"
_MILLIONTHS_PER_PERCENT = 10_000


def fault_filter(listener: Listener, capabilities: Capabilities, *, needed: bool) -> list[Json]:
    """The filter with the listener's own fault; none where nothing of the listener (`needed`) has one."""
    if not (needed or listener.fault) or not capabilities.has(Feature.FAULTS):
        return []
    return [extension(FAULT_FILTER, _FAULT, _fields(listener.fault) if listener.fault else {})]


def fault_per_route(fault: Fault | None, capabilities: Capabilities) -> Json:
    """A route's part: filter → settings; nothing for a route without a fault."""
    if fault is None or not capabilities.has(Feature.FAULTS):
        return {}
    return {FAULT_FILTER: any_of(_FAULT, _fields(fault))}


def fractional_percent(share: Percentage) -> Json:
    """Envoy's `FractionalPercent`, exact to a ten-thousandth of a percent."""
    return {"numerator": int(share.value * _MILLIONTHS_PER_PERCENT), "denominator": "MILLION"}


def _fields(fault: Fault) -> Json:
    # Statistics per `x-envoy-downstream-service-cluster` would let clients make as many of them as they like.
    fields: Json = {"disableDownstreamClusterStats": True}
    if fault.delay is not None:
        fields["delay"] = {
            "fixedDelay": duration(fault.delay.fixed_delay_s),
            "percentage": fractional_percent(fault.delay.percentage),
        }
    if fault.abort is not None:
        fields["abort"] = {
            "httpStatus": fault.abort.http_status,
            "percentage": fractional_percent(fault.abort.percentage),
        }
    if fault.headers:
        fields["headers"] = [header_condition(name, match) for name, match in sorted(fault.headers.items())]
    return fields
