"""Runtime values as a resource."""

from dataclasses import replace

from control_plane.compile.runtime import runtime_layer
from protos.messages import load
from tests.unit.control_plane.compile.samples import compiled, policy


def test_the_layer() -> None:
    """One resource of one name, numbers as numbers; Envoy's message takes it."""
    found = runtime_layer(replace(policy(), runtime={"b": 1.0, "a": True, "c": 0.5, "d": "x"}))
    assert found == {"name": "kvpilot", "layer": {"a": True, "b": 1, "c": 0.5, "d": "x"}}
    load().parse_json("envoy.service.runtime.v3.Runtime", found)


def test_only_if_the_policy_has_any() -> None:
    """What is rendered has no empty layer; its line is known."""
    assert compiled().runtime == {}
    found = compiled(replace(policy(), runtime={"a": 1.0}))
    assert list(found.runtime) == ["kvpilot"]
    assert found.provenance["runtime", "kvpilot"] == "runtime"
