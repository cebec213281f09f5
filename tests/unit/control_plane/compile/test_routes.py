"""Routes."""

from typing import Any

import pytest

from control_plane.compile import Feature
from control_plane.compile.capability import Capabilities
from control_plane.policy.model import Model, Retries, RouteTarget, Timeouts
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, OLDEST, compiled, policy, pool, routes

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
