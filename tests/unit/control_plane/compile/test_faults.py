"""Faults on purpose."""

from decimal import Decimal
from typing import Any

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.faults import FAULT_FILTER, fault_filter, fault_per_route, fractional_percent
from control_plane.policy.faults import Fault, FaultAbort, FaultDelay
from control_plane.policy.matching import ValueMatch
from control_plane.policy.model import Model, RouteTarget
from control_plane.policy.percentages import Percentage
from tests.unit.control_plane.compile.samples import EVERYTHING, listener, manager, policy, routes

ABORT = Fault(abort=FaultAbort(http_status=503))
WITHOUT = Capabilities(EVERYTHING.features - {Feature.FAULTS})


def chain(**fields: Any) -> dict[str, Any]:
    """Filters by name, in order."""
    model = Model(name="llama", route=(RouteTarget(pool="a"),), fault=fields.pop("model_fault", None))
    return {found["name"]: found["typedConfig"] for found in manager(policy(model, **fields))["httpFilters"]}


def test_no_fault_no_filter() -> None:
    """Nothing is in the chain for nothing."""
    assert FAULT_FILTER not in chain()
    assert fault_filter(listener(fault=ABORT), WITHOUT, needed=True) == []
    assert fault_per_route(ABORT, WITHOUT) == {}
    assert fault_per_route(None, EVERYTHING) == {}


def test_the_filter_of_a_listener() -> None:
    """Delay and abort with their shares, for requests with all of the headers."""
    fault = Fault(
        delay=FaultDelay(fixed_delay_s=0.25, percentage=Percentage(value=Decimal("0.5"))),
        abort=FaultAbort(http_status=418),
        headers={"x-b": ValueMatch(prefix="b"), "x-a": ValueMatch(regex="a+"), "x-c": ValueMatch(present=True)},
    )
    assert chain(fault=fault)[FAULT_FILTER] == {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        "disableDownstreamClusterStats": True,
        "delay": {"fixedDelay": "0.25s", "percentage": {"numerator": 5000, "denominator": "MILLION"}},
        "abort": {"httpStatus": 418, "percentage": {"numerator": 1_000_000, "denominator": "MILLION"}},
        "headers": [
            {"name": "x-a", "stringMatch": {"safeRegex": {"regex": "a+"}}},
            {"name": "x-b", "stringMatch": {"prefix": "b"}},
            {"name": "x-c", "presentMatch": True},
        ],
    }


def test_the_fault_of_a_model() -> None:
    """Its routes have it, and the listener's filter is there without one of its own, before the picker."""
    found = chain(model_fault=ABORT)
    assert list(found[FAULT_FILTER]) == ["@type"]
    assert list(found).index(FAULT_FILTER) < list(found).index("envoy.filters.http.ext_proc")
    model = Model(name="llama", route=(RouteTarget(pool="a"),), fault=ABORT)
    having = [route["name"] for route in routes(policy(model)) if FAULT_FILTER in route.get("typedPerFilterConfig", {})]
    assert having == ["model/llama", "model/llama"]


def test_shares_are_exact() -> None:
    """A ten-thousandth of a percent is one in a million."""
    assert fractional_percent(Percentage(value=Decimal("0.0001")))["numerator"] == 1
    assert fractional_percent(Percentage(value=Decimal("33.3333")))["numerator"] == 333_333
