"""Rules between the values of routes."""

import pytest

from control_plane.policy import load
from tests.unit.control_plane.policy.samples import FILE, places, with_models, with_rule


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("uri: {exact: v1}", ["5:36 KP311"]),
        ("uri: {prefix: '/v1?x='}", ["5:36 KP311"]),
        ("uri: {exact: /v1/models}, models: [m]", ["5:62 KP311"]),
        ("uri: {prefix: /v1/chat}, models: [m]", []),
        ("uri: {regex: '/v[12]/.*'}, models: [m]", []),
        ("uri: {prefix: /v1/chat}, taskType: [embedding]", ["5:61 KP311"]),
        ("uri: {prefix: /v1/chat}, taskType: [embedding, chat]", []),
        ("uri: {prefix: /v1/chat}, taskType: [embedding, other]", []),
        ("method: {exact: get}", ["5:36 KP311"]),
        ("method: {exact: GET}, models: [m]", ["5:58 KP311"]),
        ("method: {exact: GET}, taskType: [chat]", ["5:58 KP311"]),
        ("method: {regex: 'GET|POST'}, taskType: [chat]", []),
        ("models: [m, x]", ["5:48 KP301"]),
        ("models: [n]", []),
        ("headers: {x-a: {exact: b}}, withoutHeaders: {x-a: {exact: b}}", ["5:86 KP311"]),
        ("headers: {x-a: {exact: b}}, withoutHeaders: {x-a: {present: true}}", ["5:86 KP311"]),
        ("headers: {x-a: {prefix: b}}, withoutHeaders: {x-a: {exact: bc}}", []),
        ("withoutHeaders: {x-a: {regex: '.*'}}", ["5:58 KP215"]),
        ("withoutHeaders: {x-a: {exact: ''}}", ["5:58 KP215"]),
        ("withoutHeaders: {x-a: {regex: '.+'}}", []),
        ("queryParams: {x: {present: false}}", ["5:63 KP215"]),
        ("queryParams: {'a=b': {present: true}}", ["5:50 KP209"]),
    ],
)
def test_conditions_that_nobody_meets(match: str, expected: list[str]) -> None:
    """Contradictions that are certain are errors, at the key that contradicts."""
    assert places(with_rule(f"name: r, pool: q, match: {{{match}}}")) == expected


def test_words_that_are_too_many_routes() -> None:
    """Each list for itself is fine, but every group of one would have to stand beside every group of the other."""
    long = [f"{index:080}" for index in range(17)]
    words = ", ".join(long[:16])
    assert places(with_rule(f"name: r, pool: q, match: {{userTier: [{words}], region: [{words}]}}")) == []
    words = ", ".join(long)
    assert places(with_rule(f"name: r, pool: q, match: {{region: [{words}], userTier: [{words}]}}"))[0].endswith(
        "KP207"
    )


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("{name: m, blueGreen: {blue: p, green: p, active: blue}}, {name: k, pool: q}", ["3:48 KP307"]),
        ("{name: m, pool: p, mirror: {pool: q}, mirrors: [{pool: q}]}", ["3:48 KP214"]),
        ("{name: m, pool: p, mirrorPercentage: {value: 5}}, {name: k, pool: q}", ["3:29 KP902"]),
        ("{name: m, pool: p, mirrors: [{pool: q}, {pool: q}]}", ["3:57 KP307"]),
        ("{name: m, pool: p, mirrors: [{pool: p}]}, {name: k, pool: q}", ["3:46 KP905"]),
        ("{name: m, route: [{pool: p}, {pool: q, weight: 0}], mirror: {pool: q}}", []),
    ],
)
def test_mirrors_and_colours(model: str, expected: list[str]) -> None:
    """A mirror is another pool, said once; two colours are two pools."""
    assert places(with_models(model)) == expected


def test_answers_have_no_pools() -> None:
    """What is about pools does nothing beside an answer of Envoy's own, and is told."""
    text = with_rule(
        "name: r, match: {uri: {exact: /x}}, directResponse: {status: 429}, timeout: 5s, rewrite: {model: m}"
    )
    assert [found.message for found in load(text, FILE).diagnostics] == [
        "`timeout` does nothing beside `directResponse`",
        "`rewrite` does nothing beside `directResponse`",
    ]


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ("{promptTokens: {lessThan: 500}, maxTokens: {atLeast: 1, lessThan: 300}, tools: false}", []),
        ("{promptTokens: {atLeast: 500, lessThan: 500}}", ["no number is at least 500 and less than 500"]),
        ("{maxTokens: {atLeast: 9, lessThan: 8}}", ["no number is at least 9 and less than 8"]),
        ("{maxTokens: {lessThan: 1}}", ["no request has less than one token"]),
        ("{promptTokens: {}}", ["any number of tokens is in this range"]),
        ("{promptTokens: {lessThan: 0}}", ["`0` is not in 1..100000000"]),
        ("{maxTokens: 5}", ["expected a mapping, found the text `5`"]),
        ("{tools: maybe}", ["`maybe` is neither `true` nor `false`"]),
        ("{uri: {exact: /v1/models}, tools: true}", ["no request to this path has tools"]),
        (
            "{method: {exact: GET}, promptTokens: {lessThan: 5}, maxTokens: {lessThan: 5}}",
            ["no request with this method has a prompt", "no request with this method has a bound on its answer"],
        ),
    ],
)
def test_complexity(match: str, expected: list[str]) -> None:
    """A range has something in it, and only calls have prompts, bounds and tools."""
    text = with_rule(f"name: r, pool: q, match: {match}")
    assert [found.message for found in load(text, FILE).diagnostics] == expected
