"""Scenarios put to compiled routes and the real picker."""

import random
from typing import Any

import pytest

from control_plane.compile.complexity import has_tools
from control_plane.compile.evaluate import Request
from control_plane.fleet.model import Health, static_fleet
from control_plane.policy import Document, load
from control_plane.scenarios.check import failures
from control_plane.scenarios.decide import Decided, decide, declared_path, listener_of
from control_plane.scenarios.model import AskedRequest
from control_plane.scenarios.put import Outcome, ScenarioError, fleet_with, outcome, request_of
from control_plane.scenarios.reading import read_scenarios
from control_plane.sidecar.picker_settings import picker_settings
from ext_proc.core.decision import Named, Rejected
from ext_proc.core.request import ParsedRequest, RequestFacts, parse_request
from tests.unit.control_plane.compile.samples import compiled

A, B, C = (f"10.0.0.{number}:8000" for number in (1, 2, 3))
POLICY = f"""\
kvpilot: v1
listeners: [{{name: openai, address: 127.0.0.1:8080}}]
models:
  - {{name: llama, aliases: [gpt-4], pool: a}}
  - {{name: split, route: [{{pool: a, weight: 3}}, {{pool: c, weight: 1}}]}}
  - {{name: falling, pool: c, fallback: [llama], degradation: {{answer: {{text: Later., status: 429}}}}}}
pools:
  a: {{endpoints: [{{address: "{A}"}}, {{address: "{B}"}}]}}
  c: {{endpoints: [{{address: "{C}"}}]}}
"""


def document() -> Document:
    """The policy."""
    found = load(POLICY, "p.yaml").document
    assert found is not None
    return found


def put(scenario: str) -> tuple[Outcome, list[str]]:
    """What becomes of a scenario, and what of it does not hold, as `path: message`."""
    file, diagnostics = read_scenarios(f"policy: p\nscenarios:\n  - {{name: x, {scenario}}}\n", "s.yaml")
    assert file is not None, diagnostics
    (one,) = file.scenarios.scenarios
    read = document()
    fleet = fleet_with(static_fleet(read.policy), one)
    settings = picker_settings(read.policy, fleet, read.version)
    found = outcome(one, read, compiled(read.policy, fleet=fleet), settings, random.Random(0))
    return found, [f"{failure.path}: {failure.message}" for failure in failures(one, found)]


def names(scenario: str) -> tuple[str, ...]:
    """The endpoints that the picker names."""
    found, _ = put(f"{scenario}, expect: {{}}")
    assert isinstance(found.answer, Named)
    return found.answer.endpoints


@pytest.mark.parametrize(
    ("fleet", "first"),
    [
        (f'"{A}": {{inFlight: 5}}', B),
        (f'"{B}": {{inFlight: 5}}', A),
        (f'"{A}": {{running: 8, waiting: 4}}', B),
        (f'"{B}": {{queuedTokens: 9000}}', A),
        (f'"{A}": {{cachedTokens: 1000}}', A),
        (f'"{B}": {{cachedTokens: 1000}}', B),
        (f'"{A}": {{cachedTokens: 1000, queuedTokens: 50000}}', B),
        (f'"{A}": {{health: ejected, cachedTokens: 1000}}', B),
        (f'"{A}": {{health: unhealthy, cachedTokens: 1000}}', B),
        (f'"{A}": {{health: draining}}', B),
        (f'"{A}": {{health: degraded, cachedTokens: 1000}}', A),
    ],
)
def test_the_state_of_the_fleet_counts(fleet: str, first: str) -> None:
    """Each kind of state moves the pick as it does in life."""
    assert names(f"request: {{model: llama, promptTokens: 1000}}, fleet: {{{fleet}}}")[0] == first


def test_nobody_is_left() -> None:
    """A pool of which nobody may be named is answered 503 by the picker."""
    gone = f'fleet: {{"{C}": {{health: unhealthy}}}}'
    found, wrong = put(f"request: {{model: split, toPool: c}}, {gone}, expect: {{status: 503, picked: false}}")
    assert isinstance(found.answer, Rejected)
    assert wrong == []


def test_the_side_of_a_canary() -> None:
    """Which side the draw falls on is said by the request; else it is the first."""
    assert names("request: {model: split, toPool: c}") == (C,)
    assert set(names("request: {model: split}")) == {A, B}
    with pytest.raises(ScenarioError, match="does not lead to b, but to a, c"):
        put("request: {model: split, toPool: b}, expect: {}")


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages"]
)
def test_bodies_are_made_up_in_the_shape_of_their_path(path: str) -> None:
    """The picker reads each of them, about as long as asked for."""
    file, _ = read_scenarios(
        "policy: p\nscenarios:\n"
        f"  - {{name: x, request: {{model: m, path: {path}, promptTokens: 500, maxTokens: 7, stream: true}}, "
        "expect: {}}\n",
        "s",
    )
    assert file is not None
    request = request_of(file.scenarios.scenarios[0].request)
    parsed = parse_request(RequestFacts(body=request.body, path=path, method="POST"))
    assert isinstance(parsed, ParsedRequest)
    assert (parsed.model, parsed.stream, parsed.max_tokens) == ("m", True, 7)
    assert not has_tools(request.body)
    assert 480 <= sum(map(len, parsed.prompt_parts)) // 4 <= 520


def test_tools_are_offered() -> None:
    """Where they are asked for, in a form that engines take."""
    asked = AskedRequest(listener="", model="m", tools=True, body="", to_pool="", max_tokens=None)
    assert has_tools(request_of(asked).body)


def test_a_body_of_ones_own() -> None:
    """A body that is given is what is sent."""
    found, wrong = put(
        "request: {body: {model: gpt-4, messages: []}}, expect: {pool: a, engineModel: llama, route: model/llama}"
    )
    assert wrong == []
    assert found.decided.model == "gpt-4"


@pytest.mark.parametrize(
    ("expect", "words"),
    [
        ("rule: r", "expect.rule: the route model/llama decides, not the rule r"),
        ("route: model/split", "expect.route: the route is model/llama, not model/split"),
        ("pool: c", "expect.pool: it goes to a, not to c"),
        ("pools: {a: 1, c: 1}", "expect.pools: it goes to a"),
        ("status: 404", "expect.status: it is passed on, not 404"),
        ("engineModel: x", "expect.engineModel: the engine is asked for llama, not x"),
        ("picked: false", f"expect.picked: the picker names {A}, {B} (…)"),
        (f'pick: "{B}"', f"expect.pick: the picker names {A}, {B} (…), not {B} first"),
        (f'notPicked: "{B}"', f"expect.notPicked: the picker names {A}, {B} (…)"),
    ],
)
def test_what_does_not_hold(expect: str, words: str) -> None:
    """Each expectation that is not met is told with what happened instead."""
    _, wrong = put(f'request: {{model: llama}}, fleet: {{"{B}": {{inFlight: 9}}}}, expect: {{{expect}}}')
    before, _, after = words.partition("…")
    assert len(wrong) == 1
    assert wrong[0].startswith(before)
    assert wrong[0].endswith(after)


def test_why_another_route_was_passed_by() -> None:
    """A route that was asked before the one that decided says why it did not."""
    _, wrong = put("request: {model: split}, expect: {route: model/llama}")
    reason = "the body's model is 'split', wanted: llama or gpt-4"
    assert wrong == [f"expect.route: the route is model/split, not model/llama: {reason}"]


def test_what_is_not_picked() -> None:
    """A request that nobody picks for meets no expectation of a pick."""
    _, wrong = put(f'request: {{method: GET, path: /v1/models}}, expect: {{pick: "{A}", status: 200, rule: x}}')
    assert wrong == [
        "expect.rule: the route default decides, not the rule x",
        "expect.status: it is passed on, not 200",
        f"expect.pick: the picker is not asked, not {A} first",
    ]
    _, wrong = put("request: {model: none}, expect: {pool: a, status: 400}")
    assert wrong == [
        "expect.pool: it goes to no pool (answer 404), not to a",
        "expect.status: the answer is 404, not 400",
    ]


def test_fallbacks() -> None:
    """Who answers while a model's own pool has nobody is picked elsewhere; with nobody anywhere the text is told."""
    assert names("request: {model: falling}") == (C,)
    gone = f'"{C}": {{health: draining}}'
    assert set(names(f"request: {{model: falling}}, fleet: {{{gone}}}")) == {A, B}
    all_gone = ", ".join([gone, *(f'"{each}": {{health: unhealthy}}' for each in (A, B))])
    _, wrong = put(f"request: {{model: falling}}, fleet: {{{all_gone}}}, expect: {{status: 429, pick: '{A}'}}")
    assert wrong == [f"expect.pick: the picker answers 429, not {A} first"]


def test_health_of_the_fleet() -> None:
    """Health that discovery tells is in the fleet, an ejection is the picker's own."""
    file, _ = read_scenarios(
        "policy: p\nscenarios:\n  - name: x\n    request: {}\n    expect: {}\n"
        f'    fleet: {{"{A}": {{health: draining}}, "{B}": {{health: ejected}}}}\n',
        "s",
    )
    assert file is not None
    found = fleet_with(static_fleet(document().policy), file.scenarios.scenarios[0])
    assert [each.health for each in found.pools["a"]] == [Health.DRAINING, Health.HEALTHY]


def test_decisions_have_the_names_of_the_policy() -> None:
    """Pools and not clusters; the place of the route's declaration."""
    read = document()
    settings = picker_settings(read.policy, static_fleet(read.policy), read.version)
    listener = listener_of(read.policy, "")
    assert listener is not None
    found: Decided = decide(read, compiled(read.policy), settings, Request(body=b'{"model": "split"}'), listener)
    assert (found.pools, found.declared, found.rule) == ((("a", 3), ("c", 1)), "models.split", "")
    assert declared_path("rule/x", "openai") == "rules.x"
    assert declared_path("default", "openai") == "listeners.openai"
    assert listener_of(read.policy, "none") is None


def test_every_key_has_its_place() -> None:
    """Marks lead from a failure to its line."""
    text: Any = "policy: p\nscenarios:\n  - name: a b\n    request: {}\n    expect: {pool: x}\n"
    file, diagnostics = read_scenarios(text, "s.yaml")
    assert diagnostics == ()
    assert file is not None
    assert str(file.mark("scenarios.a b.expect.pool")) == "s.yaml:5:20"
    assert read_scenarios("a: [", "s.yaml")[0] is None
