"""The evaluator of routes, beside what the table in tests/conformance/test_evaluate_on_envoy.py holds against Envoy."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.compile.conditions import mismatch
from control_plane.compile.evaluate import (
    Evaluation,
    Request,
    UnknownMatcherError,
    body_metadata,
    evaluate,
    normalized,
    virtual_host,
)
from control_plane.policy import load
from control_plane.policy.model import Model, RouteTarget
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, OLDEST, compiled, policy, pool

ROOT = Path(__file__).parents[4]
POLICIES = [*sorted((ROOT / "examples").glob("*.yaml")), *sorted((ROOT / "tests/data/compile").glob("*.yaml"))]


def asked(body: bytes = b"", wanted: Any = None, **fields: Any) -> Evaluation:
    """What becomes of a request under a canary."""
    split = Model(name="llama", route=(RouteTarget(pool="a", weight=9), RouteTarget(pool="b", weight=1)))
    value = policy(split, pools=(pool("a"), pool("b")))
    found = compiled(value) if wanted is None else compiled(value, wanted)
    return evaluate(found.listeners["openai"], found.routes["openai"], Request(body=body, **fields))


def test_a_model_is_split() -> None:
    """The route, its pools with their weights, and the filters of a call."""
    found = asked(b'{"model": "llama"}')
    assert (found.route_name, found.clusters, found.status) == ("model/llama", (("pool/a", 9), ("pool/b", 1)), None)
    assert "envoy.filters.http.ext_proc" in found.filters
    assert found.metadata == {"kvpilot": {"model": "llama"}}


def test_what_is_not_a_call_is_not_picked() -> None:
    """The filters that the route switches off are not among the request's."""
    found = asked(method="GET", path="/v1/models")
    assert (found.route_name, found.clusters) == ("default", (("pool/a", 1),))
    assert "envoy.filters.http.ext_proc" not in found.filters
    assert "envoy.filters.http.json_to_metadata" not in found.filters


def test_a_body_elsewhere_is_not_read() -> None:
    """The filters are those that the headers alone select: a model in a body to another path is not looked for."""
    assert asked(b'{"model": "llama"}', path="/v1/other").metadata == {}


def test_an_answer_of_envoys_own() -> None:
    """A refusal has a status and no cluster, and says why the models were passed by."""
    found = asked(b'{"model": "gpt"}')
    assert (found.route_name, found.clusters, found.status) == ("unknown-model", (), 404)
    assert {(one.name, one.why) for one in found.passed if one.name == "model/llama"} == {
        ("model/llama", "the body's model is 'gpt', wanted: llama")
    }


def test_an_envoy_that_cannot_read_bodies() -> None:
    """What was compiled for it is judged, not what the newest one would do."""
    assert asked(b'{"model": "gpt"}', NOTHING).route_name == "default"


def test_no_virtual_host() -> None:
    """A host name that nobody has is answered 404 by Envoy."""
    found = compiled()
    table: Any = found.routes["openai"]
    table["virtualHosts"][0]["domains"] = ["api.example.com"]
    result = evaluate(found.listeners["openai"], table, Request(authority="other"))
    assert (result.route, result.route_name, result.status, result.clusters) == (None, "", 404, ())


def test_an_unknown_action() -> None:
    """An action that leads neither to clusters nor to an answer is an error: nothing is guessed."""
    found = compiled()
    table: Any = found.routes["openai"]
    for route in table["virtualHosts"][0]["routes"]:
        route["route"] = {"clusterHeader": "x"}
    result = evaluate(found.listeners["openai"], table, Request(body=b'{"model": "llama"}'))
    with pytest.raises(UnknownMatcherError):
        _ = result.clusters


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/../b", "/b"),
        ("/a/./b/", "/a/b/"),
        ("//a///b", "/a/b"),
        ("/a%2Fb%5c..?x=%2F", "/a/?x=%2F"),
        ("/a\\b", "/a/b"),
        ("/..", "/"),
    ],
)
def test_paths_have_one_spelling(path: str, expected: str) -> None:
    """Dots, slashes and escaped slashes, but not the query string."""
    manager = {"normalizePath": True, "mergeSlashes": True, "pathWithEscapedSlashesAction": "UNESCAPE_AND_FORWARD"}
    assert normalized(path, manager) == expected
    assert normalized(path, {}) == path


def test_virtual_hosts_are_ranked() -> None:
    """Exact, then the longest suffix, then the longest prefix, then all."""
    hosts = [{"domains": [domain]} for domain in ("*", "a.*", "a.b.*", "*.c", "*.b.c", "a.b.c")]
    for authority, domain in (("a.b.c", "a.b.c"), ("x.b.c", "*.b.c"), ("x.c", "*.c"), ("a.b.d", "a.b.*"), ("q", "*")):
        found: Any = virtual_host({"virtualHosts": hosts}, authority)
        assert found["domains"] == [domain]


def test_ports_of_hosts() -> None:
    """The port counts unless the table says that it does not."""
    table: Any = {"virtualHosts": [{"domains": ["a.b"]}, {"domains": ["[::1]"]}]}
    assert virtual_host(table, "a.b:80") is None
    for authority in ("a.b:80", "a.b", "[::1]:80", "[::1]"):
        assert virtual_host({**table, "ignorePortInHostMatching": True}, authority) is not None


@pytest.mark.parametrize("name", ["matcher", "requireTls"])
def test_virtual_hosts_of_another_kind(name: str) -> None:
    """A virtual host that decides in another way is not judged."""
    found = compiled()
    table: Any = found.routes["openai"]
    table["virtualHosts"][0][name] = {}
    with pytest.raises(UnknownMatcherError):
        evaluate(found.listeners["openai"], table, Request())


def test_notes_about_a_body() -> None:
    """A rule's own value wins over what was found, and an existing one over both where the rule says so."""
    note = {"metadataNamespace": "n", "key": "k"}
    keep = {**note, "value": "later", "preserveExistingMetadataValue": True}
    rules: Any = {"rules": [
        {"selectors": [{"key": "a"}, {"key": "b"}], "onPresent": note},
        {"selectors": [{"key": "c"}], "onMissing": keep},
    ]}  # fmt: skip
    assert body_metadata(rules, b'{"a": {"b": 1}}') == {"n": {"k": 1}}
    assert body_metadata(rules, b'{"a": 1}') == {"n": {"k": "later"}}
    assert body_metadata(rules, b"{") == {}


def conditions(match: Any) -> Iterator[tuple[Any, Request]]:
    """Each condition of a match by itself, with a request that has what it asks about."""
    for key, value in match.items():
        if key in ("headers", "queryParameters"):
            for matcher in value:
                name = matcher["name"].lower()
                yield {key: [matcher]}, Request(path=f"/?{name}=x", headers={name: "x"})
        elif key == "dynamicMetadata":
            yield from (({key: [matcher]}, Request()) for matcher in value)
        else:
            yield {key: value}, Request()


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.name)
@pytest.mark.parametrize("wanted", [EVERYTHING, OLDEST, NOTHING], ids=["everything", "oldest", "nothing"])
def test_whatever_is_compiled_is_known(path: Path, wanted: Any) -> None:
    """No example and no golden has a condition that the evaluator does not know, nor an action."""
    document = load(path.read_text(), path.name).document
    assert document is not None
    found = compiled(document.policy, wanted)
    table: Any
    for table in found.routes.values():
        for host in table["virtualHosts"]:
            for route in host["routes"]:
                for condition, request in conditions(route["match"]):
                    mismatch(condition, request, {})
                if "directResponse" not in route:
                    assert evaluate_action(route)


def evaluate_action(route: Any) -> tuple[tuple[str, int], ...]:
    """The clusters of a route."""
    return Evaluation(virtual_host="", route=route, passed=(), filters=(), metadata={}, path="").clusters
