"""Fallbacks that lead nowhere, or back."""

import pytest

from control_plane.policy import load

POOLS = """
pools:
  a: {endpoints: [{address: "127.0.0.1:8001"}], picker: {strategy: random}}
  b: {endpoints: [{address: "127.0.0.1:8002"}]}
  c: {endpoints: [{address: "127.0.0.1:8003"}], picker: {admission: {maxInFlight: 4}}}
"""


def findings(models: str, rest: str = "") -> list[str]:
    """Column, code and message of each finding; models are on one line."""
    text = f'kvpilot: v1\nlisteners: [{{name: l, address: "127.0.0.1:1"}}]\nmodels: [{models}]\n{rest}{POOLS}'
    found = load(text, "policy.yaml").diagnostics
    return [f"{each.column} {each.code} {each.message}" for each in found if each.code != "KP901"]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("{name: m, pool: a, fallback: [m]}", ["40 KP319 `m` is its own fallback"]),
        (
            "{name: m, pool: a, fallback: [{pool: b}, n]}, {name: n, pool: b, fallback: [{model: m}]}",
            [
                "51 KP319 `m` is its own fallback, by way of `n`",
                "86 KP319 `n` is its own fallback, by way of `m`",
            ],
        ),
        ("{name: m, pool: a, fallback: [n]}, {name: n, pool: b, fallback: [o]}, {name: o, pool: c}", []),
        ("{name: m, pool: a, fallback: [n, o]}, {name: n, pool: b, fallback: [o]}, {name: o, pool: c}", []),
        (
            "{name: m, pool: a, fallback: [n]}, {name: n, pool: b, fallback: [o]}, {name: o, pool: c, fallback: [n]}",
            ["75 KP319 `n` is its own fallback, by way of `o`", "110 KP319 `o` is its own fallback, by way of `n`"],
        ),
    ],
)
def test_cycles(models: str, expected: list[str]) -> None:
    """Every model that comes back to itself, however far round; one that only leads into a circle is not in it."""
    assert findings(models) == expected


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("{name: m, pool: a, fallback: [{pool: b}], degradation: {recoverAfter: 1s}}", []),
        ("{name: m, pool: a, degradation: {answer: {text: Later}}}", []),
        ("{name: m, route: [{pool: a}, {pool: b}], degradation: {recoverAfter: 1s}}", []),
        (
            "{name: m, pool: a, degradation: {recoverAfter: 1s}}",
            ["29 KP902 there is nowhere to go, and no answer: nothing is ever degraded"],
        ),
        ("{name: m, pool: a, fallback: [{pool: a}, {pool: b}]}", ["40 KP902 the pool `a` comes before this already"]),
        (
            "{name: m, pool: a, fallback: [n]}, {name: n, pool: a}",
            ["40 KP902 each pool of `n` comes before this already"],
        ),
        (
            "{name: m, pool: a, fallback: [{pool: b}], degradation: {slo: {firstToken: 1s}}}",
            ["66 KP902 `kv-aware` alone predicts first tokens, and no pool of the model uses it"],
        ),
        ("{name: m, pool: b, fallback: [{pool: c}], degradation: {slo: {firstToken: 1s}}}", []),
        (
            "{name: m, pool: b, fallback: [{pool: c}], degradation: {when: [saturated]}}",
            ["66 KP902 no pool of the model has `admission`: none is ever full"],
        ),
        ("{name: m, pool: c, fallback: [{pool: b}], degradation: {when: [saturated]}}", []),
        ("{name: m, pool: a, fallback: [{pool: b}], degradation: {answer: {text: x, status: 404}}}", None),
        ("{name: m, pool: a, fallback: [{pool: b}], degradation: {answer: {text: ''}}}", None),
        ("{name: m, pool: a, fallback: [{pool: b, features: {maxTokens: 0}}]}", None),
        ("{name: m, pool: a, fallback: [{pool: b, feature: {}}]}", None),
        ("{name: m, pool: a, fallback: [{}]}", None),
        ("{name: m, pool: a, fallback: [~]}", None),
    ],
)
def test_models(models: str, expected: list[str] | None) -> None:
    """What does nothing is warned of; what is no value is an error."""
    found = findings(models)
    if expected is None:
        assert any(" KP2" in each for each in found)
    else:
        assert found == expected


def test_rules() -> None:
    """A rule's fallback does something where a model degrades and a pool takes the requests."""
    plain, degrading = "{name: m, pool: a}", "{name: m, pool: a, fallback: [{pool: b}]}"
    rule = "rules: [{name: r, pool: a, fallback: []}]"
    assert findings(plain, rule) == ["28 KP902 no model has `fallback` or `degradation`: nothing is ever degraded"]
    assert findings(degrading, rule) == []
    answer = "rules: [{name: r, match: {uri: {prefix: /x}}, directResponse: {status: 403}, fallback: []}]"
    assert findings(degrading, answer) == ["78 KP902 `fallback` does nothing beside `directResponse`"]
