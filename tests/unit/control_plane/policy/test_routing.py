"""Routes of models and rules: how they are written, and what they say."""

from decimal import Decimal

import pytest

from control_plane.policy.model import Policy
from control_plane.policy.routing import BlueGreen, Mirror, RouteTarget
from tests.unit.control_plane.policy.samples import document, places, with_models, with_rule


def loaded(text: str) -> Policy:
    """The policy of a good file."""
    return document(text).policy


def test_the_active_colour_serves() -> None:
    """Blue and green are one target, chosen by one word."""
    for active, pool in (("blue", "p"), ("green", "q")):
        (model,) = loaded(with_models(f"{{name: m, blueGreen: {{blue: p, green: q, active: {active}}}}}")).models
        assert model.targets == (RouteTarget(pool=pool),)
        assert model.blue_green == BlueGreen(blue="p", green="q", active=active)


def test_both_ways_to_write_mirrors() -> None:
    """Istio's pair of keys, and its list; a share that is not given is everything."""
    for text, mirrors in (
        ("mirror: {pool: q}", ((100, "q"),)),
        ("mirror: {pool: q}, mirrorPercentage: {value: 0.5}", ((Decimal("0.5"), "q"),)),
        ("mirrors: [{pool: q, percentage: {value: 10}}]", ((10, "q"),)),
    ):
        (model,) = loaded(with_models(f"{{name: m, pool: p, {text}}}, {{name: k, pool: q}}")).models[:1]
        assert [(mirror.percentage.value, mirror.pool) for mirror in model.all_mirrors] == list(mirrors)
        assert all(isinstance(mirror, Mirror) for mirror in model.all_mirrors)


def test_a_rule() -> None:
    """What is not said about a rule is left to its pools; without conditions it takes every request."""
    (rule,) = loaded(with_rule("name: r, pool: q")).rules
    assert (rule.targets, rule.match, rule.all_mirrors) == ((RouteTarget(pool="q"),), (), ())
    assert (rule.timeout_s, rule.retries, rule.rewrite, rule.direct_response) == (None, None, None, None)


def test_a_match_is_one_or_a_list() -> None:
    """A mapping is the short form of a list with one item; names of headers lose their case."""
    (one,) = loaded(with_rule("name: r, pool: q, match: {headers: {X-A: {exact: b}}}")).rules
    (many,) = loaded(with_rule("name: r, pool: q, match: [{headers: {x-a: {exact: b}}}]")).rules
    assert one.match == many.match
    assert list(one.match[0].headers) == ["x-a"]


def test_names_of_models() -> None:
    """A model's name stands for its aliases, too; an alias for itself alone."""
    policy = loaded(with_rule("name: r, pool: q"))
    assert policy.names_of(("m",)) == ("m", "n")
    assert policy.names_of(("n",)) == ("n",)
    assert policy.names_of(()) == ()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("name: r", ["5:9 KP203"]),
        ("name: r, pool: q, directResponse: {status: 403}", ["5:28 KP214"]),
        ("name: r, pool: q, route: [{pool: p}]", ["5:28 KP214"]),
        ("name: r, pool: x", ["5:25 KP301"]),
        ("name: a b, pool: q", ["5:16 KP209"]),
        ("name: r, pool: q, match: []", ["5:35 KP213"]),
        ("name: r, pool: q, match: x", ["5:35 KP204"]),
        ("name: r, pool: q, match: {header: {}}", ["5:36 KP201"]),
        ("name: r, pool: q, match: {ignoreUriCase: true}", ["5:36 KP215"]),
        ("name: r, pool: q, match: {headers: {x-a: b}}", ["5:51 KP204"]),
        ("name: r, pool: q, match: {headers: {x-a: {}}}", ["5:51 KP203"]),
        ("name: r, pool: q, match: {headers: {x-a: {exact: b, prefix: b}}}", ["5:62 KP214"]),
        ("name: r, pool: q, match: {headers: {x-a: {exact: b}, X-A: {exact: c}}}", ["5:63 KP202"]),
        ("name: r, pool: q, match: {headers: {x-kvpilot-a: {exact: b}}}", ["5:46 KP209"]),
        ("name: r, pool: q, match: {headers: {x-a: {regex: '(?=a)'}}}", ["5:59 KP206"]),
        ("name: r, pool: q, match: {models: []}", ["5:44 KP213"]),
        ("name: r, directResponse: {status: 200}", ["5:44 KP207"]),
        ("name: r, directResponse: {message: x}", ["5:35 KP203"]),
        ("name: r, pool: q, redirect: {uri: /}", ["5:28 KP215"]),
        ("name: r, pool: q, rewrite: {uri: /}", ["5:37 KP203", "5:38 KP215"]),
        ("name: r, pool: q, mirrors: [{pool: p, percentage: {value: 101}}]", ["5:68 KP207"]),
        ("name: r, pool: q, timeout: 5", ["5:37 KP206"]),
        ("name: r, blueGreen: {blue: p, green: q, active: red}", ["5:58 KP208"]),
        ("name: r, blueGreen: {blue: p, green: q}", ["5:30 KP203"]),
    ],
)
def test_bad_rules(rule: str, expected: list[str]) -> None:
    """Each mistake at its place."""
    assert places(with_rule(rule)) == expected


def test_two_rules_of_one_name() -> None:
    """The name of a rule is the name of its routes."""
    text = with_rule("name: r, pool: q, match: {uri: {exact: /a}}}, {name: r, pool: q")
    assert places(text) == ["5:63 KP302"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("name: h, domains: []", ["2:80 KP213"]),
        ("name: h", ["2:61 KP203"]),
        ("name: h, domains: ['a*b']", ["2:81 KP209"]),
        ("name: h, domains: ['a:80']", ["2:81 KP209"]),
        ("name: h, domains: ['*'], models: [n]", ["2:96 KP301"]),
        ("name: h, domains: ['*'], rules: [x]", ["2:95 KP301"]),
        ("name: h, domains: ['*'], defaultPool: x", ["2:100 KP301"]),
        ("name: h, domains: [A.b, a.B]", ["2:86 KP312"]),
        ("name: h, domains: [a]}, {name: h, domains: [b]", ["2:93 KP302"]),
        ("name: h, domains: [a]}, {name: i, domains: [b, a]", ["2:109 KP312"]),
        ("name: h, domains: [a.b, '*.b', '*-x.b', 'a.*', '*', '[::1]']", []),
    ],
)
def test_virtual_hosts(host: str, expected: list[str]) -> None:
    """What Envoy would refuse, or never match, has its place in the file."""
    text = with_models("{name: m, aliases: [n], route: [{pool: p}, {pool: q}]}").replace(
        "127.0.0.1:80}", f"127.0.0.1:80, virtualHosts: [{{{host}}}]}}"
    )
    assert places(text) == expected
