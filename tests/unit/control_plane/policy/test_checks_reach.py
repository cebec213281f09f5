"""Rules that no request reaches."""

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, TWO_POOLS, places, with_rule

MODELS = "models: [{name: m, aliases: [n], pool: p}, {name: k, pool: q}]\n"


def found(first: str, second: str, listener: str = "") -> list[str]:
    """The findings of two rules `one` and `two` with these matches, each in a line of its own from 6 on."""
    return places(
        f"kvpilot: v1\nlisteners: [{{name: a, address: 127.0.0.1:80{listener}}}]\n{MODELS}{TWO_POOLS}rules:\n"
        f"  - {{name: one, match: {first}, pool: p}}\n  - {{name: two, match: {second}, pool: q}}\n"
    )


@pytest.mark.parametrize(
    ("first", "second", "is_shadowed"),
    [
        ("{}", "{uri: {exact: /a}}", True),
        ("{uri: {prefix: /a}}", "{uri: {exact: /ab}}", True),
        ("{uri: {prefix: /a}}", "{uri: {prefix: /ab}, method: {exact: GET}}", True),
        ("{uri: {exact: /ab}}", "{uri: {prefix: /a}}", False),
        ("{uri: {regex: /a.*}}", "{uri: {regex: /a.*}}", True),
        ("{uri: {prefix: /a}}", "{uri: {regex: /ab}}", False),
        ("{headers: {x-a: {exact: b}}}", "{headers: {x-a: {exact: b}, x-b: {present: true}}}", True),
        ("{headers: {x-a: {exact: b}, x-b: {present: true}}}", "{headers: {x-a: {exact: b}}}", False),
        ("{headers: {x-a: {exact: b}}}", "{headers: {x-a: {exact: c}}}", False),
        ("{models: [m]}", "{models: [n]}", True),
        ("{models: [n]}", "{models: [m]}", False),
        ("{userTier: [a, b]}", "{userTier: [b], region: [eu]}", True),
        ("{userTier: [a]}", "{userTier: [a, b]}", False),
        ("[{userTier: [a]}, {userTier: [b]}]", "[{userTier: [b]}, {userTier: [a]}]", True),
        ("[{userTier: [a]}, {userTier: [b]}]", "{userTier: [a, b]}", False),
        ("{method: {exact: GET}}", "{}", False),
        ("{promptTokens: {lessThan: 500}}", "{promptTokens: {atLeast: 100, lessThan: 500}}", True),
        ("{promptTokens: {lessThan: 500}}", "{promptTokens: {lessThan: 501}}", False),
        ("{promptTokens: {lessThan: 500}}", "{promptTokens: {atLeast: 100}}", False),
        ("{promptTokens: {lessThan: 500}}", "{models: [m]}", False),
        ("{maxTokens: {atLeast: 10}}", "{maxTokens: {atLeast: 11}, tools: true}", True),
        ("{maxTokens: {atLeast: 10}}", "{maxTokens: {atLeast: 9}}", False),
        ("{maxTokens: {atLeast: 10}}", "{promptTokens: {atLeast: 10}}", False),
        ("{tools: true}", "{tools: true, models: [m]}", True),
        ("{tools: true}", "{tools: false}", False),
        ("{tools: false}", "{}", False),
    ],
)
def test_shadows(first: str, second: str, is_shadowed: bool) -> None:
    """A later rule whose every request an earlier one takes is told, where the conditions can be compared."""
    assert found(first, second) == (["7:5 KP904"] if is_shadowed else [])


def test_rules_of_different_hosts() -> None:
    """A rule is only in the shadow of one that all of its virtual hosts have, too."""
    apart = ", virtualHosts: [{name: h, domains: [a], rules: [one]}, {name: i, domains: [b], rules: [two]}]"
    assert found("{}", "{}", apart) == []
    together = ", virtualHosts: [{name: h, domains: [a], rules: [one]}, {name: i, domains: [b]}]"
    assert found("{}", "{}", together) == ["7:5 KP904"]


def test_a_rule_that_no_host_has() -> None:
    """It does nothing, and is told."""
    assert found("{}", "{}", ", virtualHosts: [{name: h, domains: ['*'], rules: [one]}]") == ["7:5 KP902"]


def test_the_rule_in_front_is_named() -> None:
    """The finding says which rule takes the requests."""
    text = with_rule("name: wide, pool: q}, {name: narrow, pool: q, match: {userTier: [a]}")
    (one,) = load(text, FILE).diagnostics
    assert one.message == "no request reaches the rule `narrow`: `wide` takes them all"
