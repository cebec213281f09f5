"""Routes."""

from dataclasses import replace
from typing import Any

import pytest

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.compile.filters import HEADERS_FILTER
from control_plane.policy.admission import Admission
from control_plane.policy.matching import RuleMatch, ValueMatch
from control_plane.policy.model import Model, PoolPicker, Retries, RouteTarget, Rule, Timeouts, VirtualHost
from control_plane.policy.routing import DirectResponse, Rewrite
from tests.unit.control_plane.compile.samples import (
    EVERYTHING,
    NOTHING,
    OLDEST,
    compiled,
    manager,
    policy,
    pool,
    routes,
)

SPLIT = Model(name="llama", route=(RouteTarget(pool="a", weight=95), RouteTarget(pool="b", weight=5)))
TWO_POOLS = (pool("a", retries=Retries(attempts=1), timeouts=Timeouts(request_s=30.0, idle_s=5.0)), pool("b"))


def names(found: list[Any]) -> list[str]:
    """The routes' names, in order."""
    return [route["name"] for route in found]


def test_order() -> None:
    """Models first, then what is wrong with a body, then the default pool; the first match wins."""
    expected = ["model/llama", "model/llama", "not-json", "no-model", "unknown-model", "default", "default", "default"]
    assert expected == names(routes())


def test_a_model_matches_its_name_and_its_aliases() -> None:
    """Exactly, under POST and on the paths that have a prompt."""
    stream, plain = routes()[:2]
    (model,) = plain["match"]["dynamicMetadata"]
    assert model["value"] == {
        "orMatch": {"valueMatchers": [{"stringMatch": {"exact": "llama"}}, {"stringMatch": {"exact": "gpt-4"}}]}
    }
    assert stream["match"]["dynamicMetadata"][0] == model
    assert plain["match"]["headers"] == [{"name": ":method", "stringMatch": {"exact": "POST"}}]
    assert "/v1/chat/completions" in plain["match"]["safeRegex"]["regex"].split("|")


def test_only_streams_idle_out() -> None:
    """A plain answer is silent until it is complete."""
    hasty = pool("a", timeouts=Timeouts(request_s=30.0, idle_s=5.0))
    stream, plain = routes(policy(pools=(hasty,)))[:2]
    assert stream["match"]["dynamicMetadata"][1]["value"] == {"boolMatch": True}
    assert (stream["route"]["idleTimeout"], plain["route"]["idleTimeout"]) == ("5s", "0s")
    assert stream["route"]["timeout"] == plain["route"]["timeout"] == "30s"


def test_a_split_has_the_longest_of_its_pools_times() -> None:
    """A route has one timeout: nobody's generation is cut by another pool's, nor by one that gets nothing."""
    hasty = pool("a", timeouts=Timeouts(request_s=30.0, idle_s=5.0))
    patient = pool("b", timeouts=Timeouts(request_s=90.0, idle_s=7.0))
    stream, plain = routes(policy(SPLIT, pools=(hasty, patient)))[:2]
    assert (stream["route"]["timeout"], stream["route"]["idleTimeout"]) == ("90s", "7s")
    assert plain["route"]["timeout"] == "90s"
    emptied = Model(name="llama", route=(RouteTarget(pool="a", weight=1), RouteTarget(pool="b", weight=0)))
    stream, _ = routes(policy(emptied, pools=(hasty, patient)))[:2]
    assert (stream["route"]["timeout"], stream["route"]["idleTimeout"]) == ("30s", "5s")


def test_idle_time_leaves_room_for_the_first_byte() -> None:
    """Envoy's idle timer runs before the first byte, too."""
    slow = pool("a", timeouts=Timeouts(first_byte_s=120.0, idle_s=60.0))
    assert routes(policy(pools=(slow,)))[0]["route"]["idleTimeout"] == "120s"


def test_streams_have_the_first_byte_limit_without_a_pick() -> None:
    """The picker's own word comes first; plain answers send nothing until they are generated."""
    hasty = pool("a", timeouts=Timeouts(first_byte_s=2.0))
    stream, plain = routes(policy(pools=(hasty,)))[:2]
    (mutation,) = stream["typedPerFilterConfig"][HEADERS_FILTER]["mutations"]["requestMutations"]
    header = {"key": "x-envoy-upstream-rq-per-try-timeout-ms", "value": "2000"}
    assert mutation == {"append": {"header": header, "appendAction": "ADD_IF_ABSENT"}}
    assert HEADERS_FILTER not in plain.get("typedPerFilterConfig", {})


def test_a_split_has_the_longest_first_byte_limit() -> None:
    """Where one of its pools has none, only the picker knows one."""
    hasty = pool("a", timeouts=Timeouts(first_byte_s=2.0))
    stream, _ = routes(policy(SPLIT, pools=(hasty, pool("b", timeouts=Timeouts(first_byte_s=3.0)))))[:2]
    (mutation,) = stream["typedPerFilterConfig"][HEADERS_FILTER]["mutations"]["requestMutations"]
    assert mutation["append"]["header"]["value"] == "3000"
    stream, _ = routes(policy(SPLIT, pools=(hasty, pool("b"))))[:2]
    assert HEADERS_FILTER not in stream.get("typedPerFilterConfig", {})


def test_idle_time_leaves_room_for_a_wait() -> None:
    """It also runs while a request waits for a place; that time comes on top."""
    door = Admission(max_in_flight=1, max_wait_s=40.0)
    busy = pool("a", timeouts=Timeouts(idle_s=60.0), picker=PoolPicker(admission=door))
    assert routes(policy(pools=(busy,)))[0]["route"]["idleTimeout"] == "100s"


def test_one_pool_is_a_plain_cluster() -> None:
    """No weights and no hash where there is nothing to choose."""
    action = routes()[0]["route"]
    assert action["cluster"] == "pool/a"
    assert not {"weightedClusters", "hashPolicy"} & set(action)


def test_a_split_sticks_to_the_session() -> None:
    """Weights as in the policy; the session header chooses."""
    action = routes(policy(SPLIT, pools=TWO_POOLS, session_header="x-chat"))[0]["route"]
    assert action["weightedClusters"] == {
        "clusters": [{"name": "pool/a", "weight": 95}, {"name": "pool/b", "weight": 5}],
        "useHashPolicy": True,
    }
    assert action["hashPolicy"] == [{"header": {"headerName": "x-chat"}}]


def test_a_split_without_hashing_draws() -> None:
    """An Envoy that cannot hash over weights still splits."""
    wanted = Capabilities(EVERYTHING.features - {Feature.STICKY_CANARY})
    action = routes(policy(SPLIT, pools=TWO_POOLS), wanted)[0]["route"]
    assert "useHashPolicy" not in action["weightedClusters"]
    assert "hashPolicy" not in action


def test_retries_stand_in_the_route_where_clusters_cannot_have_them() -> None:
    """Those of the first pool, for a route has only one policy."""
    assert "retryPolicy" not in routes()[0]["route"]
    old = routes(policy(SPLIT, pools=TWO_POOLS), OLDEST)[0]["route"]
    assert old["retryPolicy"]["numRetries"] == 1


@pytest.mark.parametrize(("name", "status"), [("not-json", 400), ("no-model", 400), ("unknown-model", 404)])
def test_refusals_do_not_ask_the_picker(name: str, status: int) -> None:
    """Envoy answers by itself, in JSON."""
    (route,) = [route for route in routes() if route["name"] == name]
    assert route["directResponse"]["status"] == status
    assert route["responseHeadersToAdd"][0]["header"] == {"key": "content-type", "value": "application/json"}
    assert route["typedPerFilterConfig"]["envoy.filters.http.ext_proc"]["disabled"] is True


def test_prompts_start_on_a_route_with_a_limit() -> None:
    """What a prompt matches before it was read is a route to a cluster, never a direct response."""
    unread = [route for route in routes() if not route["match"].get("dynamicMetadata")]
    assert {"directResponse" in route for route in unread} == {False}
    assert [route["match"].get("prefix") for route in unread] == [None, None, "/"]


def test_other_paths_have_a_short_chain() -> None:
    """No search for a model, no picker, no answer held back."""
    last = routes()[-1]
    assert set(last["typedPerFilterConfig"]) == {
        "envoy.filters.http.json_to_metadata",
        "envoy.filters.http.ext_proc",
        "kvpilot.usage",
    }


def test_embeddings_are_not_held_back() -> None:
    """Their answers are large; the chain is chosen by the path alone."""
    (route,) = [route for route in routes() if route["match"].get("safeRegex", {}).get("regex") == "/v1/embeddings"]
    assert set(route["typedPerFilterConfig"]) == {"kvpilot.usage"}


def test_body_limits() -> None:
    """Requests by the policy on the virtual host; on a model's route the limit is the answer's."""
    resource: Any = compiled(policy(max_request_bytes=4096)).routes["openai"]
    (host,) = resource["virtualHosts"]
    assert host["requestBodyBufferLimit"] == "4096"
    assert int(host["routes"][0]["requestBodyBufferLimit"]) > 4096
    large: Any = compiled(policy(max_request_bytes=1 << 30)).routes["openai"]
    assert large["virtualHosts"][0]["routes"][0]["requestBodyBufferLimit"] == str(1 << 30)


def test_default_pool() -> None:
    """The listener's own, or the first."""
    pools = (pool("a"), pool("b"))
    assert routes(policy(pools=pools, default_pool="b"))[-1]["route"]["cluster"] == "pool/b"
    assert routes(policy(pools=pools, default_pool=""))[-1]["route"]["cluster"] == "pool/a"


def test_without_body_reading_all_goes_to_the_default_pool() -> None:
    """An Envoy that lacks json_to_metadata has no model routes, and names no filter that it lacks."""
    found = routes(wanted=NOTHING)
    assert set(names(found)) == {"default"}
    assert not any("typedPerFilterConfig" in route for route in found)


def with_rules(*rules: Rule, wanted: Capabilities = EVERYTHING, **fields: Any) -> list[Any]:
    """The routes of a policy with rules, over the pools `a` and `b`."""
    value = replace(policy(pools=(pool("a"), pool("b")), **fields), rules=rules)
    return routes(value, wanted)


def rule(name: str = "r", match: tuple[RuleMatch, ...] = (), **fields: Any) -> Rule:
    """A rule to the pool `b`."""
    return Rule(**{"name": name, "match": match, "route": (RouteTarget(pool="b"),)} | fields)


NAMED = ValueMatch(present=True)
BY_HEADER = RuleMatch(headers={"x-a": NAMED})
DENIED = rule("deny", (BY_HEADER,), route=(), direct_response=DirectResponse(status=403, message="No."))


def test_layers() -> None:
    """Rules for calls, models, refusals, unread calls, rules for the rest, the rest: each in the order of the file."""
    expected = [
        *("rule/x", "rule/x", "rule/y", "rule/y", "model/llama", "model/llama"),
        *("not-json", "no-model", "unknown-model", "default", "default", "rule/x", "rule/y", "default"),
    ]
    assert names(with_rules(rule("x", (BY_HEADER,)), rule("y"))) == expected


def test_calls_of_a_rule_name_a_model() -> None:
    """What Envoy could not read goes to the refusals, whatever its headers; a stream is told from a plain answer."""
    stream, plain = with_rules(rule(match=(BY_HEADER,)))[:2]
    conditions = [[one["path"][0]["key"] for one in route["match"]["dynamicMetadata"]] for route in (stream, plain)]
    assert conditions == [["model", "stream"], ["model"]]
    assert plain["match"]["headers"][1] == {"name": "x-a", "presentMatch": True}
    assert (stream["route"]["idleTimeout"], plain["route"]["idleTimeout"]) == ("300s", "0s")
    assert int(plain["requestBodyBufferLimit"]) > 0


def test_rules_by_model_have_no_other_requests() -> None:
    """Only a call names a model."""
    found = with_rules(rule(match=(RuleMatch(models=("llama",)),)))
    assert names(found).count("rule/r") == 2
    assert found[0]["match"]["dynamicMetadata"][0]["value"]["orMatch"]["valueMatchers"][1] == {
        "stringMatch": {"exact": "gpt-4"}
    }


def test_every_alternative_is_a_route() -> None:
    """In order, under one name."""
    found = with_rules(rule(match=(RuleMatch(user_tier=("a",)), RuleMatch(region=("b",)))))
    assert names(found)[:4] == ["rule/r"] * 4
    assert [route["match"]["headers"][1]["name"] for route in found[:4:2]] == ["x-user-tier", "x-region"]


def test_a_rules_own_answer() -> None:
    """Calls are answered once they were read, the rest at once: no filter waits for a body."""
    found = [route for route in with_rules(DENIED) if route["name"] == "rule/deny"]
    read, at_once = found
    assert [route["directResponse"]["status"] for route in found] == [403, 403]
    assert set(read["typedPerFilterConfig"]) == {"envoy.filters.http.ext_proc", "envoy.filters.http.header_mutation"}
    assert {"envoy.filters.http.buffer", "envoy.filters.http.json_to_metadata"} < set(at_once["typedPerFilterConfig"])


def test_envoys_error_pages_leave_it_alone() -> None:
    """All listeners have the mapper for it, so that the first such rule does not change its listener."""
    value = replace(policy(pools=(pool("a"), pool("b"))), rules=(DENIED,))
    first = manager(value)["localReplyConfig"]["mappers"][0]
    assert first == {"filter": {"headerFilter": {"header": {"name": "x-kvpilot-answer", "presentMatch": True}}}}
    assert manager(value) == manager(policy(pools=(pool("a"), pool("b"))))


def test_rewrites() -> None:
    """Calls only; a rule for any model asks for the aliases of every model, which stand once."""
    own = with_rules(rule(match=(BY_HEADER,), rewrite=Rewrite(model="engine")))
    assert own[0]["metadata"]["filterMetadata"]["envoy.filters.http.lua"] == {"model": "engine"}
    assert [route["name"] for route in own if "metadata" in route] == ["rule/r"] * 2 + ["model/llama"] * 2
    plain = with_rules(rule(match=(BY_HEADER,)))
    assert plain[0]["metadata"]["filterMetadata"]["envoy.filters.http.lua"] == {"every": True}
    real = with_rules(rule(match=(RuleMatch(models=("gpt-4",)), RuleMatch(models=("other",)))))
    assert real[0]["metadata"]["filterMetadata"]["envoy.filters.http.lua"] == {"names": {"gpt-4": "llama"}}
    assert "metadata" not in with_rules(rule(match=(RuleMatch(models=("other",)),)))[0]


def test_rules_where_no_body_is_read() -> None:
    """No route needs the model: calls go by their headers, embeddings apart because of their usage."""
    alone = (VirtualHost(name="h", domains=("*",), models=()),)
    found = with_rules(rule(match=(BY_HEADER,)), virtual_hosts=alone)
    assert names(found) == ["rule/r", "rule/r", "default", "default", "rule/r", "default"]
    assert "kvpilot.usage" in found[0]["typedPerFilterConfig"]
    assert "kvpilot.usage" not in found[1].get("typedPerFilterConfig", {})
    assert not any("dynamicMetadata" in route["match"] for route in found)
    value = policy(pools=(pool("a"), pool("b")), virtual_hosts=alone)
    assert "envoy.filters.http.json_to_metadata" not in [each["name"] for each in manager(value)["httpFilters"]]


def test_rules_on_an_envoy_that_reads_no_bodies() -> None:
    """Those by model are left out, the others stay."""
    found = with_rules(rule("x", (RuleMatch(models=("llama",)),)), rule("y", (BY_HEADER,)), wanted=NOTHING)
    assert names(found) == ["rule/y", "rule/y", "default", "default", "rule/y", "default"]
    assert not any("typedPerFilterConfig" in route or "metadata" in route for route in found)


def test_virtual_hosts() -> None:
    """Each with its own models, rules and default pool, in the file's order; ports do not count."""
    hosts = (
        VirtualHost(name="one", domains=("a.test",), models=("llama",), rules=("y", "x"), default_pool="b"),
        VirtualHost(name="two", domains=("*",), models=(), rules=()),
    )
    value = policy(pools=(pool("a"), pool("b")), virtual_hosts=hosts)
    resource: Any = compiled(replace(value, rules=(rule("x", (BY_HEADER,)), rule("y")))).routes["openai"]
    assert resource["ignorePortInHostMatching"] is True
    one, two = resource["virtualHosts"]
    assert (one["name"], one["domains"]) == ("one", ["a.test"])
    assert names(one["routes"])[:4:2] == ["rule/x", "rule/y"]
    assert one["routes"][-1]["route"]["cluster"] == "pool/b"
    assert names(two["routes"]) == ["not-json", "no-model", *["default"] * 5]
    assert [route["route"]["idleTimeout"] for route in two["routes"][2:]] == ["300s", "0s", "60s", "60s", "0s"]
    assert two["routes"][-1]["route"]["cluster"] == "pool/a"
    plain: Any = compiled().routes["openai"]
    assert "ignorePortInHostMatching" not in plain
