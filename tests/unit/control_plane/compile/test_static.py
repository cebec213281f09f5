"""Everything inline, also after a patch."""

from dataclasses import replace
from typing import Any

from control_plane.compile import static_bootstrap
from control_plane.policy.patches import EnvoyPatch, PatchOperation
from tests.unit.control_plane.compile.samples import compiled, policy


def test_routes_and_endpoints_stand_inline() -> None:
    """No discovery is left."""
    found: Any = static_bootstrap(compiled())
    (listener,) = found["staticResources"]["listeners"]
    manager = listener["filterChains"][0]["filters"][0]["typedConfig"]
    assert "rds" not in manager
    assert manager["routeConfig"]["name"] == "openai"
    pool = next(each for each in found["staticResources"]["clusters"] if each["name"] == "pool/a")
    assert (pool["type"], "edsClusterConfig" in pool) == ("STATIC", False)
    assert pool["loadAssignment"]["clusterName"] == "pool/a"


def test_a_patch_may_put_a_filter_in_front() -> None:
    """The connection manager is found wherever it stands."""
    path = "/filterChains/0/filters/0"
    front = PatchOperation(op="add", path=path, value='{"name": "x"}')
    value = replace(policy(), envoy_patch=(EnvoyPatch(name="p", kind="listener", resource="openai", patch=(front,)),))
    found: Any = static_bootstrap(compiled(value))
    first, second = found["staticResources"]["listeners"][0]["filterChains"][0]["filters"]
    assert first == {"name": "x"}
    assert "routeConfig" in second["typedConfig"]
