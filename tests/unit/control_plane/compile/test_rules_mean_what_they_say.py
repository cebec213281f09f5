"""Any rules, any request: the compiled routes decide as the policy's words say, judged by two readers of their own."""

import json
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.compile.evaluate import Request, evaluate
from control_plane.compile.names import PICKED_PATHS
from control_plane.compile.snapshot import rendered
from control_plane.policy.matching import TASK_PATHS, RuleMatch, TokenRange, ValueMatch
from control_plane.policy.model import Model, Policy, RouteTarget, Rule
from control_plane.policy.routing import DirectResponse, Rewrite
from control_plane.policy.string_match import StringMatch, holds
from protos.messages import load
from tests.unit.control_plane.compile.samples import compiled, policy, pool

POOLS = (pool("a"), pool("b"))
MODELS = (
    Model(name="m", aliases=("m2",), route=(RouteTarget(pool="a"),)),
    Model(name="k", route=(RouteTarget(pool="b"),)),
)
VALUES = ("a", "ab", "a.b", "b")
HEADERS = ("x-h", "x-user-tier", "x-region", "x-task-type")
PATHS = (*PICKED_PATHS, "/v1/models", "/v1/chat", "/v2/a")


def strings(*values: str) -> st.SearchStrategy[StringMatch]:
    """Conditions that meet some of the values."""
    value = st.sampled_from(values)
    nothing = {"exact": None, "prefix": None, "regex": None}
    return st.one_of(
        value.map(lambda text: StringMatch(**nothing | {"exact": text})),
        value.map(lambda text: StringMatch(**nothing | {"prefix": text[:-1] or text})),
        value.map(lambda text: StringMatch(**nothing | {"regex": text[:2] + ".*"})),
    )


conditions = st.one_of(
    strings(*VALUES).map(lambda match: ValueMatch(exact=match.exact, prefix=match.prefix, regex=match.regex)),
    st.just(ValueMatch(present=True)),
)


def words(*values: str) -> st.SearchStrategy[tuple[str, ...]]:
    """Some of the values, or none: no condition."""
    return st.one_of(st.just(()), st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple))


def ranges(*bounds: int) -> st.SearchStrategy[TokenRange | None]:
    """A range between the bounds, one that is open at an end, or none."""
    some = st.sampled_from([TokenRange(at_least=bounds[0], less_than=bounds[1])])
    ends = st.sampled_from(bounds)
    low, high = ends.map(lambda end: TokenRange(at_least=end)), ends.map(lambda end: TokenRange(less_than=end))
    return st.one_of(st.none(), st.none(), some, low, high)


matches = st.builds(
    RuleMatch,
    headers=st.dictionaries(st.sampled_from(HEADERS), conditions, max_size=1),
    without_headers=st.dictionaries(st.sampled_from(HEADERS), conditions, max_size=1),
    uri=st.none() | strings(*PATHS),
    query_params=st.dictionaries(st.sampled_from("pq"), conditions, max_size=1),
    method=st.none() | strings("GET", "POST"),
    models=words("m", "m2", "k"),
    task_type=words("chat", "embedding", "a", "b"),
    user_tier=words(*VALUES),
    region=words(*VALUES),
    prompt_tokens=ranges(10, 30),
    max_tokens=ranges(5, 8),
    tools=st.sampled_from([None, None, True, False]),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Up to four rules over two models."""
    rules = []
    for name in draw(st.lists(st.sampled_from("rstu"), max_size=4, unique=True)):
        rule = Rule(name=name, match=tuple(draw(st.lists(matches, max_size=2))), route=(RouteTarget(pool="b"),))
        if draw(st.booleans()):
            rule = replace(rule, route=(), direct_response=DirectResponse(status=403))
        elif draw(st.booleans()):
            rule = replace(rule, rewrite=Rewrite(model="engine"))
        rules.append(rule)
    return replace(policy(*MODELS, pools=POOLS), rules=tuple(rules))


@dataclass(frozen=True, slots=True)
class Asked:
    """A request in the policy's words."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    model: str | None
    bound: int | None
    tools: bool
    size: int | None
    """Bytes of its body; None: it does not say."""

    @property
    def request(self) -> Request:
        """The same in HTTP's."""
        query = "&".join(f"{name}={value}" for name, value in self.query.items())
        fields: dict[str, Any] = {"model": self.model} if self.model else {}
        if self.bound is not None:
            fields["max_tokens"] = self.bound
        if self.tools:
            fields["tools"] = [{}]
        body = json.dumps(fields).encode().ljust(self.size or 0) if self.method == "POST" else b""
        headers = self.headers if self.size else self.headers | {"transfer-encoding": "chunked"}
        return Request(path=f"{self.path}?{query}", method=self.method, headers=headers, body=body)

    @property
    def is_call(self) -> bool:
        """Whether it has a prompt."""
        return self.method == "POST" and self.path in PICKED_PATHS


requests = st.builds(
    Asked,
    method=st.sampled_from(["POST", "POST", "GET"]),
    path=st.sampled_from(PATHS),
    query=st.dictionaries(st.sampled_from("pq"), st.sampled_from(VALUES)),
    headers=st.dictionaries(st.sampled_from(HEADERS), st.sampled_from(VALUES)),
    model=st.sampled_from(["m", "m2", "k", "unknown", None]),
    bound=st.sampled_from([None, 1, 5, 7, 8]),
    tools=st.booleans(),
    size=st.sampled_from([None, 80, 119, 120, 200]),
)


def expected(value: Policy, asked: Asked) -> str:
    """The route's name by the words of the reference page."""
    if asked.is_call and asked.model is None:
        return "no-model"
    for rule in value.rules:
        if not rule.match or any(is_met(match, asked, value) for match in rule.match):
            return f"rule/{rule.name}"
    if not asked.is_call:
        return "default"
    model = value.model(asked.model or "")
    return f"model/{model.name}" if model else "unknown-model"


def is_met(match: RuleMatch, asked: Asked, value: Policy) -> bool:
    """Whether all conditions of one match hold."""
    tasks = {TASK_PATHS[word] for word in match.task_type if word in TASK_PATHS}
    labels = {word for word in match.task_type if word not in TASK_PATHS}
    return (
        all(_has(condition, asked.headers.get(name)) for name, condition in match.headers.items())
        and not any(_has(condition, asked.headers.get(name)) for name, condition in match.without_headers.items())
        and all(_has(condition, asked.query.get(name)) for name, condition in match.query_params.items())
        and (match.uri is None or holds(match.uri, asked.path))
        and (match.method is None or holds(match.method, asked.method))
        and (not match.models or (asked.is_call and asked.model in value.names_of(match.models)))
        and (not match.user_tier or asked.headers.get("x-user-tier") in match.user_tier)
        and (not match.region or asked.headers.get("x-region") in match.region)
        and _in_range(match.prompt_tokens, asked, None if asked.size is None else asked.size // 4)
        and _in_range(match.max_tokens, asked, asked.bound)
        and (match.tools is None or (asked.is_call and asked.tools == match.tools))
        and (
            not match.task_type or (asked.is_call and asked.path in tasks) or asked.headers.get("x-task-type") in labels
        )
    )


def _in_range(tokens: TokenRange | None, asked: Asked, number: int | None) -> bool:
    """What is not said is above all bounds."""
    if tokens is None:
        return True
    said = float("inf") if number is None else number
    return asked.is_call and (tokens.at_least or 0) <= said and (tokens.less_than is None or said < tokens.less_than)


def _has(condition: ValueMatch, value: str | None) -> bool:
    return value is not None and (condition.present is True or holds(condition, value))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies(), st.lists(requests, min_size=4, max_size=8))
def test_rules_mean_what_they_say(value: Policy, asked: list[Asked]) -> None:
    """The first rule whose words hold decides; then the model; then the default pool; bad bodies before all."""
    found = compiled(value)
    for one in asked:
        judged = evaluate(found.listeners["openai"], found.routes["openai"], one.request)
        assert judged.route_name == expected(value, one)
        is_picked = "envoy.filters.http.ext_proc" in judged.filters
        assert is_picked == (one.is_call and judged.status is None)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies())
def test_they_are_messages(value: Policy) -> None:
    """Whatever the conditions, the resources fit Envoy's messages."""
    found: Any = rendered(compiled(value), load())
    assert {resource["name"] for resource in found["routes"]} == {"openai"}
