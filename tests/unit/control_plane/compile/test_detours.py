"""Routes that only the picker's answer selects."""

from typing import Any

from control_plane.compile import Capabilities, Feature
from control_plane.compile import names as compiled_names
from control_plane.compile.evaluate import Request, evaluate
from control_plane.policy.degradation import Fallback
from control_plane.policy.model import ListenerPicker, Model, RouteTarget, Timeouts
from ext_proc import wire
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, TO_A, compiled, manager, policy, pool, routes

FALLING = Model(name="m", route=TO_A, fallback=(Fallback(model="n"),))
OTHER = Model(name="n", route=(RouteTarget(pool="b"),))
POOLS = (pool("a"), pool("b", timeouts=Timeouts(request_s=30.0, idle_s=5.0)))
POLICY = policy(FALLING, OTHER, pools=POOLS)
PLAIN = policy(Model(name="m", route=TO_A), OTHER, pools=POOLS)


def detours(found: list[Any]) -> list[Any]:
    """Those of them."""
    return [route for route in found if route["name"].startswith("degraded/")]


def test_they_come_first() -> None:
    """Two for each pool, of streams and of all others, before everything else; with the pool's own timeouts."""
    found = routes(POLICY)
    assert [route["name"] for route in found[:5]] == ["degraded/a"] * 2 + ["degraded/b"] * 2 + ["model/m"]
    stream, plain = found[2:4]
    assert [len(route["match"]["dynamicMetadata"]) for route in (stream, plain)] == [2, 1]
    assert (stream["route"]["cluster"], stream["route"]["timeout"]) == ("pool/b", "30s")
    assert (stream["route"]["idleTimeout"], plain["route"]["idleTimeout"]) == ("5s", "0s")
    assert plain["match"]["dynamicMetadata"][0] == {
        "filter": "envoy.lb", "path": [{"key": "kvpilot-pool"}], "value": {"stringMatch": {"exact": "b"}}
    }  # fmt: skip


def test_nobody_needs_them_otherwise() -> None:
    """Without a model that degrades, and where no picker is asked, there are none."""
    assert detours(routes(PLAIN)) == detours(routes(POLICY, NOTHING)) == []


def test_no_request_gets_there_by_itself() -> None:
    """Whatever it says."""
    made = compiled(POLICY)
    body = b'{"model": "m", "kvpilot-pool": "b", "envoy.lb": {"kvpilot-pool": "b"}}'
    request = Request(
        path="/v1/chat/completions", method="POST", authority="h", headers={"kvpilot-pool": "b"}, body=body
    )
    assert evaluate(made.listeners["openai"], made.routes["openai"], request).route_name == "model/m"


def test_an_envoy_that_does_not_read_bodies() -> None:
    """Nothing is known to be a stream."""
    found = detours(routes(POLICY, Capabilities(EVERYTHING.features - {Feature.MODEL_ROUTING})))
    assert [route["name"] for route in found] == ["degraded/a", "degraded/b"]
    assert all(route["route"]["idleTimeout"] == "0s" for route in found)


def test_labels() -> None:
    """What a pod says under these names is removed, then set from the picker's answer; on every listener, whatever it
    tells of decisions, also where nothing degrades yet: a connection keeps its filters when an edit changes that."""
    for model, explain in ((FALLING, "always"), (FALLING, "never"), (PLAIN.models[0], "never")):
        found = policy(model, OTHER, pools=POOLS, picker=ListenerPicker(explain=explain))
        (filter_,) = (
            each for each in manager(found)["httpFilters"] if each["name"] == "envoy.filters.http.header_mutation"
        )
        mutations = filter_["typedConfig"]["mutations"]["responseMutations"]
        for name in ("x-kvpilot-degraded", "x-kvpilot-degraded-features"):
            set_ = [
                n for n, each in enumerate(mutations) if each.get("append", {}).get("header", {}).get("key") == name
            ]
            assert mutations.index({"remove": name}) < set_[0]
            assert len(set_) == 1


def test_the_picker_has_the_same_names() -> None:
    """Where Envoy and the picker must agree."""
    for name in (
        "FIRST_BYTE_KEY",
        "RETRIES_KEY",
        "POOL_KEY",
        "DEGRADED_KEY",
        "FEATURES_KEY",
        "DEGRADED_HEADER",
        "FEATURES_HEADER",
    ):
        assert getattr(compiled_names, name) == getattr(wire, name)
