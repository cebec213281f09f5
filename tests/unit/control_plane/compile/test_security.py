"""Who is served at all."""

from typing import Any

import pytest

from control_plane.compile.capability import Capabilities, Feature
from control_plane.policy.identity import AuthorizationPolicy, AuthorizationRule, Condition, JwtRule
from control_plane.policy.model import Policy, TrafficPolicy
from control_plane.policy.routing import VirtualHost
from control_plane.policy.security import ListenerTls, PoolTls
from tests.unit.control_plane.compile.samples import EVERYTHING, compiled, manager, policy, pool

ABOUT_MODELS = AuthorizationPolicy(
    name="a", rules=(AuthorizationRule(when=(Condition(key="request.model", values=("m",)),)),)
)


def without(feature: Feature) -> Capabilities:
    """An Envoy that lacks one thing."""
    return Capabilities(EVERYTHING.features - {feature})


@pytest.mark.parametrize(
    ("fields", "feature"),
    [
        ({"tls": ListenerTls(mode="SIMPLE", server_certificate="s", private_key="k")}, Feature.TLS),
        ({"jwt": (JwtRule(name="a", issuer="a", jwks_file="f"),)}, Feature.TOKENS),
        ({"authorization": (AuthorizationPolicy(name="a"),)}, Feature.AUTHORIZATION),
        ({"authorization": (ABOUT_MODELS,)}, Feature.MODEL_ROUTING),
    ],
)
def test_no_protection_no_listener(fields: dict[str, Any], feature: Feature) -> None:
    """An Envoy that cannot protect a listener does not get it, rather than get it open; others are not touched."""
    assert list(compiled(policy(**fields)).listeners) == ["openai"]
    lacking = compiled(policy(**fields), without(feature))
    assert (lacking.listeners, lacking.routes) == ({}, {})
    assert feature.value in lacking.left_out
    assert list(compiled(policy(), without(feature)).listeners) == ["openai"]


def test_no_tls_no_pool() -> None:
    """A pool that wants TLS is not spoken to in plain text."""
    value = policy(pools=(pool(traffic_policy=TrafficPolicy(tls=PoolTls(mode="SIMPLE", sni="a"))),))
    assert "pool/a" in compiled(value).clusters
    lacking = compiled(value, without(Feature.TLS))
    assert "pool/a" not in lacking.clusters
    assert lacking.endpoints == {}


def test_rules_about_models_have_the_model_read() -> None:
    """Although no route of the listener needs it: a DENY rule that never sees a model would deny nothing."""
    host = VirtualHost(name="h", domains=("*",), models=())
    value = policy(virtual_hosts=(host,))
    assert "envoy.filters.http.json_to_metadata" not in names_of(value)
    assert "envoy.filters.http.json_to_metadata" in names_of(
        policy(virtual_hosts=(host,), authorization=(ABOUT_MODELS,))
    )


def names_of(value: Policy) -> list[str]:
    """The filters of the only listener."""
    return [item["name"] for item in manager(value)["httpFilters"]]
