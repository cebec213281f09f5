"""A model's fallbacks in the words of the picker."""

from collections.abc import Iterable

from control_plane.compile.names import cluster_name, rule_route_name
from control_plane.policy.degradation import SATURATED, UNAVAILABLE, Degradation
from control_plane.policy.model import Model, Policy
from control_plane.policy.ways import Way, ways_of, ways_of_rule
from ext_proc.core.settings import CannedSettings, DegradationSettings, WaySettings

_DEFAULTS = Degradation()


def degradation_of(model: Model, policy: Policy) -> DegradationSettings:
    """What becomes of the requests of a model that degrades."""
    said = model.degradation or _DEFAULTS
    by_rule = ((rule.name, ways_of_rule(rule, model, policy)) for rule in policy.rules)
    return DegradationSettings(
        ways=_ways(ways_of(model, policy), model),
        route_ways={rule_route_name(name): _ways(ways, model) for name, ways in by_rule if ways is not None},
        on_unavailable=UNAVAILABLE in said.when,
        on_saturation=SATURATED in said.when,
        slo_ms=None if said.slo is None else 1e3 * said.slo.first_token_s,
        recover_after_s=said.recover_after_s,
        answer=None if said.answer is None else CannedSettings(text=said.answer.text, status=int(said.answer.status)),
    )


def _ways(ways: Iterable[Way], model: Model) -> tuple[WaySettings, ...]:
    return tuple(
        WaySettings(
            cluster=cluster_name(way.pool),
            pool=way.pool,
            model=way.model,
            is_same=way.model == model.name,
            tools=way.features.tools,
            max_tokens=way.features.max_tokens,
        )
        for way in ways
    )
