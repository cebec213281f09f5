"""What the filter chain of a listener has to do beside routing and picking."""

from dataclasses import replace

from control_plane.compile.controls import NO_CONTROLS, controls_of
from control_plane.policy.faults import Fault, FaultAbort
from control_plane.policy.feedback import Feedback, Orca
from control_plane.policy.model import Model, RouteTarget
from control_plane.policy.rate_limits import RateLimit
from control_plane.policy.routing import Rule, VirtualHost
from tests.unit.control_plane.compile.samples import listener, policy

LIMITS = (RateLimit(requests=1),)
FAULT = Fault(abort=FaultAbort(http_status=500))
TO_A = (RouteTarget(pool="a"),)


def test_an_ordinary_policy_needs_nothing_more() -> None:
    """Only token counts."""
    value = policy()
    assert controls_of(value.listeners[0], value) == NO_CONTROLS
    off = replace(value, feedback=Feedback(usage=False))
    assert not controls_of(off.listeners[0], off).usage
    loads = replace(value, feedback=Feedback(orca=Orca()))
    assert controls_of(loads.listeners[0], loads).orca == Orca()


def test_limits_and_faults_by_route() -> None:
    """Models and rules under the names of their routes."""
    value = replace(
        policy(Model(name="m", route=TO_A, rate_limit=LIMITS), Model(name="n", route=TO_A)),
        rules=(Rule(name="r", match=(), route=TO_A, rate_limit=LIMITS, fault=FAULT),),
    )
    found = controls_of(value.listeners[0], value)
    assert found.limits == {"rule/r": LIMITS, "model/m": LIMITS}
    assert found.faults


def test_only_what_the_listener_serves_counts() -> None:
    """A model that no virtual host of the listener has asks nothing of it."""
    value = policy(Model(name="m", route=TO_A, rate_limit=LIMITS, fault=FAULT), Model(name="n", route=TO_A))
    host = VirtualHost(name="public", domains=("*",), models=("n",))
    found = controls_of(listener(virtual_hosts=(host,)), value)
    assert (found.limits, found.faults) == ({}, False)
