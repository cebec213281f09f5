"""What stands between a listener's clients and its pools: limits, faults, and what is read from answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.compile.names import model_route_name, rule_route_name
from control_plane.compile.needs import hosts_of, models_of, rules_of
from control_plane.policy.feedback import Orca
from control_plane.policy.model import Listener, Model, Policy
from control_plane.policy.rate_limits import RateLimit
from control_plane.policy.routing import Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """What the filter chain of one listener has to do beside routing and picking."""

    limits: Mapping[str, tuple[RateLimit, ...]] = field(default_factory=dict)
    """Route name → the limits of its requests; without the listener's own."""
    faults: bool = False
    """Whether one of the listener's routes has a fault of its own."""
    usage: bool = True
    """Whether token counts are read from answers."""
    orca: Orca | None = None
    """How load headers are read from answers, if they are."""


NO_CONTROLS = Controls()
"""The default: nothing but token counts."""


def controls_of(listener: Listener, policy: Policy) -> Controls:
    """What the models and rules of `listener` ask for."""
    owners: dict[str, Model | Rule] = {}
    for host in hosts_of(listener):
        owners |= {rule_route_name(rule.name): rule for rule in rules_of(host, policy)}
        owners |= {model_route_name(model.name): model for model in models_of(host, policy)}
    return Controls(
        limits={name: owner.rate_limit for name, owner in owners.items() if owner.rate_limit},
        faults=any(owner.fault is not None for owner in owners.values()),
        usage=policy.feedback.usage,
        orca=policy.feedback.orca,
    )
