"""How much a request asks for, as conditions; tests/conformance/test_evaluate_on_envoy.py holds them against Envoy."""

import re
from typing import Any

import pytest

from control_plane.compile.capability import Feature
from control_plane.compile.complexity import (
    MAX_SCANNED_BYTES,
    MAX_SCANNED_KEYS,
    TOOLS_FILTER,
    conditions_on_body,
    conditions_on_headers,
    has_tools,
    tools_filter,
)
from control_plane.policy.matching import RuleMatch, TokenRange
from control_plane.policy.model import Policy, RouteTarget, Rule
from tests.unit.control_plane.compile.samples import (
    EVERYTHING,
    NOTHING,
    PLAIN,
    listener,
    manager,
    pool,
    routes,
)
from tests.unit.control_plane.compile.test_filters import without

SIMPLE = RuleMatch(prompt_tokens=TokenRange(at_least=10, less_than=500), max_tokens=TokenRange(less_than=300))
TOOLS = RuleMatch(tools=True)


def with_rule(match: RuleMatch) -> Policy:
    """One model, and one rule before it."""
    rule = Rule(name="r", match=(match,), route=(RouteTarget(pool="a"),))
    return Policy(listeners=(listener(),), models=(PLAIN,), pools=(pool(),), rules=(rule,))


def rule_routes(value: Policy, wanted: Any = EVERYTHING) -> list[Any]:
    """The routes of the rule."""
    return [route for route in routes(value, wanted) if route["name"] == "rule/r"]


def test_lengths_are_in_bytes() -> None:
    """Four a token; a lower bound is the opposite of being below it, which an unknown length is not."""
    below, not_below = conditions_on_headers(SIMPLE)
    assert below == {"name": "content-length", "rangeMatch": {"start": "0", "end": "2000"}}
    assert not_below["rangeMatch"] == {"start": "0", "end": "40"}
    assert (not_below["invertMatch"], not_below["treatMissingHeaderAsEmpty"]) == (True, True)


def test_no_condition() -> None:
    """Nothing is asked of headers and bodies."""
    assert (conditions_on_headers(RuleMatch()), conditions_on_body(RuleMatch())) == ((), ())


def test_a_route_has_all_of_them() -> None:
    """Beside the model, for streams and for others; requests that are no calls have no such route."""
    stream, plain = rule_routes(with_rule(SIMPLE))
    assert [each["path"][0]["key"] for each in plain["match"]["dynamicMetadata"]] == ["model", "max_tokens"]
    assert [each["path"][0]["key"] for each in stream["match"]["dynamicMetadata"]] == ["model", "max_tokens", "stream"]
    assert [each["name"] for each in plain["match"]["headers"]] == [":method", "content-length", "content-length"]


def test_filters_are_there_where_they_are_needed() -> None:
    """The scan for tools and the reading of bounds cost those who ask; other requests are not scanned."""
    names = [each["name"] for each in manager(with_rule(TOOLS))["httpFilters"]]
    assert names[names.index("envoy.filters.http.json_to_metadata") + 1] == TOOLS_FILTER
    last = routes(with_rule(TOOLS))[-1]
    assert last["typedPerFilterConfig"][TOOLS_FILTER]["disabled"]
    assert TOOLS_FILTER not in [each["name"] for each in manager(with_rule(SIMPLE))["httpFilters"]]
    (reader,) = (each for each in manager(with_rule(SIMPLE))["httpFilters"] if "json_to_metadata" in each["name"])
    keys = [rule["selectors"][0]["key"] for rule in reader["typedConfig"]["requestRules"]["rules"]]
    assert keys == ["model", "stream", "max_tokens", "max_output_tokens", "max_completion_tokens"]


def test_what_cannot_be_judged_is_left_out() -> None:
    """An Envoy without Lua, or that reads no bodies, has no such route; a length is a header."""
    assert rule_routes(with_rule(TOOLS), without(Feature.TOOLS)) == []
    assert TOOLS_FILTER not in str(manager(with_rule(TOOLS), without(Feature.TOOLS)))
    assert rule_routes(with_rule(SIMPLE), NOTHING) == []
    assert rule_routes(with_rule(RuleMatch(prompt_tokens=TokenRange(less_than=5))), NOTHING) != []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", False),
        (b'"tools": ["', True),
        (b'"tools":[]', False),
        (b'"tools" ' * MAX_SCANNED_KEYS, True),
        (b'"tools" ' * (MAX_SCANNED_KEYS - 1), False),
        (b" " * (MAX_SCANNED_BYTES + 1), True),
        (b" " * MAX_SCANNED_BYTES, False),
    ],
)
def test_what_counts_as_tools(body: bytes, expected: bool) -> None:
    """A list that has something; what is too much to look at counts as tools."""
    assert has_tools(body) is expected


def test_the_script_has_the_same_bounds() -> None:
    """As the judgement without an Envoy."""
    config: Any = tools_filter()["typedConfig"]
    source = config["defaultSourceCode"]["inlineString"]
    assert {int(number) for number in re.findall("[0-9]{3,}", source)} == {MAX_SCANNED_BYTES, MAX_SCANNED_KEYS}
