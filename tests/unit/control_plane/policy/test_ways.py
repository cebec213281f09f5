"""Where requests may go in place of the pool of their route."""

from control_plane.policy import load
from control_plane.policy.degradation import Features
from control_plane.policy.model import Policy
from control_plane.policy.ways import Way, detour_pools, ways_of, ways_of_rule

TEXT = """
kvpilot: v1
listeners: [{name: openai, address: "127.0.0.1:8080"}]
models:
  - name: big
    aliases: [gpt-4]
    route: [{pool: next, weight: 5}, {pool: old, weight: 95}, {pool: parked, weight: 0}]
    fallback: [{pool: standby}, {model: small, features: {tools: off}}, {model: tiny}, {pool: old}]
  - {name: small, route: [{pool: cheap, weight: 1}, {pool: cheaper, weight: 3}], fallback: [tiny]}
  - {name: tiny, pool: cheap}
  - {name: green, blueGreen: {blue: old, green: next, active: green}, degradation: {answer: {text: Later.}}}
rules:
  - {name: any, pool: cheap}
  - {name: strict, pool: cheap, fallback: []}
  - {name: own, pool: cheap, fallback: [{pool: special}, tiny]}
pools:
  special: {endpoints: [{address: "127.0.0.1:8001"}]}
  standby: {endpoints: [{address: "127.0.0.1:8002"}]}
  old: {endpoints: [{address: "127.0.0.1:8003"}]}
  next: {endpoints: [{address: "127.0.0.1:8004"}]}
  parked: {endpoints: [{address: "127.0.0.1:8005"}]}
  cheap: {endpoints: [{address: "127.0.0.1:8006"}]}
  cheaper: {endpoints: [{address: "127.0.0.1:8007"}]}
"""


def policy(text: str = TEXT) -> Policy:
    """The policy."""
    document = load(text, "policy.yaml").document
    assert document is not None
    return document.policy


def ways(model: str) -> list[tuple[str, str]]:
    """(pool, model) of each way."""
    loaded = policy()
    found = loaded.model(model)
    assert found is not None
    return [(way.pool, way.model) for way in ways_of(found, loaded)]


def test_the_order() -> None:
    """The pools of the own route by weight, then the list; a pool stands once, and one without weight does not."""
    assert ways("big") == [
        ("old", "big"),
        ("next", "big"),
        ("standby", "big"),
        ("cheaper", "small"),
        ("cheap", "small"),
    ]
    assert ways("small") == [("cheaper", "small"), ("cheap", "small")], "fallbacks of fallbacks are not followed"
    assert ways("tiny") == [], "nothing says that it degrades"
    assert ways("green") == [("next", "green")], "the colour that serves"


def test_what_is_lost() -> None:
    """Belongs to the item of the list, for each of its pools."""
    loaded = policy()
    lost = {way.pool: way.features for way in ways_of(loaded.models[0], loaded)}
    assert lost["cheaper"] == lost["cheap"] == Features(tools="off")
    assert lost["standby"] == Features()


def test_rules() -> None:
    """Those of their models, their own, or none; of a model that never degrades none at all."""
    loaded = policy()
    big, tiny = loaded.models[0], loaded.models[2]
    any_, strict, own = loaded.rules
    assert ways_of_rule(any_, big, loaded) is None
    assert ways_of_rule(strict, big, loaded) == ()
    assert ways_of_rule(own, big, loaded) == (Way(pool="special", model="big"), Way(pool="cheap", model="tiny"))
    assert ways_of_rule(own, tiny, loaded) is None


def test_detour_pools() -> None:
    """All of them, in the order of the file."""
    assert detour_pools(policy()) == ("special", "standby", "old", "next", "cheap", "cheaper")
    plain = policy(
        """
kvpilot: v1
listeners: [{name: openai, address: "127.0.0.1:8080"}]
models: [{name: m, pool: p}]
pools: {p: {endpoints: [{address: "127.0.0.1:8001"}]}}
"""
    )
    assert detour_pools(plain) == ()


def test_models_of_a_pool() -> None:
    """A pool to which a model is led belongs to those that serve it."""
    assert [model.name for model in policy().models_of("standby")] == ["big"]
    assert [model.name for model in policy().models_of("special")] == ["big", "small", "tiny", "green"], (
        "any, by a rule"
    )
