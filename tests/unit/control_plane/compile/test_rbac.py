"""Authorization filters; their shape is in the golden `security`, their behaviour in the conformance tests."""

from typing import Any

import pytest

from control_plane.compile.rbac import ALLOW_FILTER, DENY_FILTER, rbac_filters
from control_plane.policy.identity import (
    AuthorizationPolicy,
    AuthorizationRule,
    Condition,
    From,
    Operation,
    Source,
    To,
)
from tests.unit.control_plane.compile.samples import listener, manager, policy


def filters(*policies: AuthorizationPolicy) -> list[Any]:
    """The filters of a listener with these policies."""
    return list(rbac_filters(listener(authorization=policies)))


def only_rule(rule: AuthorizationRule) -> Any:
    """What one rule becomes."""
    [found] = filters(AuthorizationPolicy(name="p", rules=(rule,)))
    return found["typedConfig"]["rules"]["policies"]["p[0]"]


def principal(**fields: Any) -> Any:
    """The principal for one source."""
    [found] = only_rule(AuthorizationRule(from_=(From(source=Source(**fields)),)))["principals"]
    return found


def permission(**fields: Any) -> Any:
    """The permission for one operation."""
    [found] = only_rule(AuthorizationRule(to=(To(operation=Operation(**fields)),)))["permissions"]
    return found


def condition(key: str, *values: str) -> Any:
    """What one condition becomes."""
    return only_rule(AuthorizationRule(when=(Condition(key=key, values=values),)))


def test_no_policies_no_filters() -> None:
    """A listener without policies has none."""
    assert filters() == []


def test_deny_stands_before_allow() -> None:
    """Whatever their order in the file."""
    found = filters(AuthorizationPolicy(name="a"), AuthorizationPolicy(name="d", action="DENY"))
    assert [(item["name"], item["typedConfig"]["rules"]["action"]) for item in found] == [
        (DENY_FILTER, "DENY"),
        (ALLOW_FILTER, "ALLOW"),
    ]


def test_no_rule_and_an_empty_rule() -> None:
    """No rule matches nothing, an empty one everything (Istio's `{}` and `rules: [{}]`)."""
    [found] = filters(AuthorizationPolicy(name="p"))
    assert found["typedConfig"]["rules"]["policies"] == {}
    assert only_rule(AuthorizationRule()) == {"permissions": [{"any": True}], "principals": [{"any": True}]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spiffe://a/b", {"exact": "spiffe://a/b"}),
        ("a/b", {"exact": "spiffe://a/b"}),
        ("a/*", {"prefix": "spiffe://a/"}),
        ("*/b", {"suffix": "/b"}),
        ("*", {"safeRegex": {"regex": ".+"}}),
    ],
)
def test_certificate_names(text: str, expected: Any) -> None:
    """SPIFFE ids with or without their scheme; `*` is anybody with a certificate."""
    assert principal(principals=(text,)) == {"authenticated": {"principalName": expected}}


def test_not_one_of_several() -> None:
    """What must not be is the negation of an "or"."""
    found = principal(not_ip_blocks=("10.0.0.0/8", "fd00::/8"))
    ranges = [{"addressPrefix": "10.0.0.0", "prefixLen": 8}, {"addressPrefix": "fd00::", "prefixLen": 8}]
    assert found == {"notId": {"orIds": {"ids": [{"directRemoteIp": one} for one in ranges]}}}


def test_all_that_is_given_must_hold() -> None:
    """Fields of one operation are joined by "and", values of one field by "or"."""
    found = permission(methods=("GET", "POST"), paths=("/a",))
    names = [list(part) for part in found["andRules"]["rules"]]
    assert names == [["orRules"], ["urlPath"]]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("a", ["stringMatch"]), ("true", ["stringMatch", "boolMatch"]), ("7", ["stringMatch", "doubleMatch"])],
)
def test_claims_are_compared_by_their_type(text: str, kinds: list[str]) -> None:
    """As a text, as what the text may stand for, and as an item of a list of these."""
    [found] = condition("request.auth.claims[a][b]", text)["principals"]
    matcher = found["sourcedMetadata"]["metadataMatcher"]
    assert [step["key"] for step in matcher["path"]] == ["payload", "a", "b"]
    values = matcher["value"]["orMatch"]["valueMatchers"]
    assert [next(iter(value)) for value in values] == kinds + ["listMatch"] * len(kinds)


@pytest.mark.parametrize(
    ("key", "value", "part", "field"),
    [
        ("source.ip", "10.0.0.1", "principals", "directRemoteIp"),
        ("remote.ip", "10.0.0.1", "principals", "remoteIp"),
        ("source.principal", "*", "principals", "authenticated"),
        ("request.headers[x-a]", "*", "principals", "header"),
        ("request.model", "m", "principals", "sourcedMetadata"),
        ("request.auth.audiences", "m", "principals", "sourcedMetadata"),
        ("request.auth.presenter", "m", "principals", "sourcedMetadata"),
        ("request.auth.principal", "i/s", "principals", "andIds"),
        ("destination.ip", "10.0.0.1", "permissions", "destinationIp"),
        ("destination.port", "80", "permissions", "destinationPort"),
        ("connection.sni", "a", "permissions", "requestedServerName"),
    ],
)
def test_conditions(key: str, value: str, part: str, field: str) -> None:
    """Each key looks at its own thing, and leaves the other half of the rule open."""
    found = condition(key, value)
    other = "permissions" if part == "principals" else "principals"
    assert list(found[part][0]) == [field]
    assert found[other] == [{"any": True}]


def test_the_filters_stand_behind_the_model() -> None:
    """A rule may look at the body's model; and the picker is not asked for what is refused."""
    names = [item["name"] for item in manager(policy(authorization=(AuthorizationPolicy(name="p"),)))["httpFilters"]]
    order = [names.index(name) for name in ("envoy.filters.http.json_to_metadata", ALLOW_FILTER)]
    assert order == sorted(order)
    assert names.index(ALLOW_FILTER) < names.index("envoy.filters.http.ext_proc")


def test_long_hosts() -> None:
    """Envoy takes no longer expressions, so these are compared as texts."""
    name = f"{'a' * 60}.{'b' * 60}.corp"
    [exact, with_port] = permission(hosts=(name,))["orRules"]["rules"]
    assert exact["header"]["stringMatch"] == {"exact": name, "ignoreCase": True}
    assert with_port["header"]["stringMatch"] == {"prefix": f"{name}:", "ignoreCase": True}
    assert permission(hosts=(f"*.{name}",))["header"]["stringMatch"] == {"suffix": f".{name}", "ignoreCase": True}
    assert "safeRegex" in permission(hosts=(name[:80],))["header"]["stringMatch"]
