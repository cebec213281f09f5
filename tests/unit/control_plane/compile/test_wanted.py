"""What an operator is told that an Envoy lacks: what the policy wants, and nothing else."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.wanted import is_wanted, lacking
from control_plane.policy import load as load_policy
from control_plane.policy.faults import Fault, FaultAbort
from control_plane.policy.feedback import Feedback
from control_plane.policy.load_balancing import ConsistentHash, LoadBalancer, Maglev
from control_plane.policy.matching import RuleMatch
from control_plane.policy.model import Model, Policy, RouteTarget, Rule
from control_plane.policy.rate_limits import RateLimit
from control_plane.policy.traffic import TrafficPolicy
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, compiled, policy, pool

ROOT = Path(__file__).parents[4]
POLICIES = (*sorted((ROOT / "examples").glob("*.yaml")), *sorted((ROOT / "tests/data/compile").glob("*.yaml")))

IN_ANOTHER_PLACE = {Feature.RETRIES_PER_POOL, Feature.HASH_PER_POOL}
"""Without a split of traffic these change where a setting stands, and not what it does."""


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_what_is_not_told_makes_no_difference(path: Path) -> None:
    """An Envoy without a feature that the policy has no use for gets exactly what one with it gets."""
    document = load_policy(path.read_text(), path.name).document
    assert document is not None
    everything = compiled(document.policy)
    for feature in Feature:
        if not is_wanted(feature, document.policy) and feature not in IN_ANOTHER_PLACE:
            found = compiled(document.policy, Capabilities(EVERYTHING.features - {feature}))
            assert found == everything, feature


def balanced(**settings: Any) -> Policy:
    """A policy whose pool has this load balancer."""
    balancer = LoadBalancer(**settings)
    return policy(pools=(pool(traffic_policy=TrafficPolicy(load_balancer=balancer)),))


def model(**fields: Any) -> Policy:
    """A policy whose model has this."""
    return policy(Model(name="llama", **{"route": (RouteTarget(pool="a"),), **fields}))


SPLIT = (RouteTarget(pool="a", weight=1), RouteTarget(pool="b", weight=1))


@pytest.mark.parametrize(
    ("feature", "wants"),
    [
        (Feature.TOOLS, replace(policy(), rules=(Rule(name="r", match=(RuleMatch(tools=False),), route=SPLIT[:1]),))),
        (Feature.RATE_LIMITS, policy(rate_limit=(RateLimit(requests=1),))),
        (Feature.RATE_LIMITS, model(rate_limit=(RateLimit(requests=1),))),
        (Feature.FAULTS, policy(fault=Fault(abort=FaultAbort(http_status=500)))),
        (Feature.FAULTS, model(fault=Fault(abort=FaultAbort(http_status=500)))),
        (Feature.STICKY_CANARY, replace(model(route=SPLIT), pools=(pool("a"), pool("b")))),
        (Feature.RANDOM, balanced(simple="RANDOM")),
        (Feature.RING_HASH, balanced(consistent_hash=ConsistentHash(use_source_ip=True))),
        (Feature.MAGLEV, balanced(consistent_hash=ConsistentHash(use_source_ip=True, maglev=Maglev()))),
    ],
    ids=lambda value: value.name if isinstance(value, Feature) else "",
)
def test_what_is_wanted_is_told(feature: Feature, wants: Policy) -> None:
    """Told for a policy that uses it, and not for one that does not."""
    assert feature.value in lacking(NOTHING, wants)
    assert feature.value not in lacking(NOTHING, model())


def test_what_every_policy_wants() -> None:
    """Picks and routing are told whatever the policy says; token counts until they are switched off."""
    assert {Feature.PICKER.value, Feature.MODEL_ROUTING.value, Feature.NAMED_HOSTS.value} < set(
        lacking(NOTHING, policy())
    )
    assert is_wanted(Feature.STREAM_USAGE, policy())
    assert not is_wanted(Feature.STREAM_USAGE, replace(policy(), feedback=Feedback(usage=False)))
