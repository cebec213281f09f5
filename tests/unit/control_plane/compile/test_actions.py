"""What a route does with a request."""

from typing import Any

from control_plane.compile.actions import Actions, cluster_capabilities, routed_retries
from control_plane.compile.capability import Capabilities, Feature
from control_plane.policy.model import Model, Policy, Pool, Retries, RouteTarget, Timeouts
from control_plane.policy.routing import BlueGreen, Mirror
from tests.unit.control_plane.compile.samples import EVERYTHING, OLDEST, compiled, policy, pool

SPLIT = (RouteTarget(pool="a", weight=1), RouteTarget(pool="b", weight=1))
POOLS = (pool("a", retries=Retries(attempts=1)), pool("b", retries=Retries(attempts=2)))
HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def actions(value: Policy, wanted: Capabilities = EVERYTHING) -> Actions:
    """The maker of the only listener's actions."""
    return Actions(value.listeners[0], value, wanted, routed_retries(value))


def forwarded(value: Policy, model: Model) -> Any:
    """The action of one of the policy's models."""
    return actions(value).forward(model)


def action(model: Model, wanted: Capabilities = EVERYTHING, pools: tuple[Pool, ...] = POOLS) -> Any:
    """The action of a model's routes."""
    return actions(policy(model, pools=pools), wanted).forward(model)


def cluster_retries(value: Policy, name: str, wanted: Capabilities = EVERYTHING) -> Any:
    """What the cluster of a pool says about retries."""
    cluster: Any = compiled(value, wanted).clusters[f"pool/{name}"]
    return cluster["typedExtensionProtocolOptions"][HTTP].get("retryPolicy")


def test_own_retries_stand_in_the_route_alone() -> None:
    """The cluster would win over the route, so it must be silent; other pools keep theirs."""
    own = Model(name="m", route=SPLIT[:1], retries=Retries(attempts=4))
    value = policy(own, Model(name="k", route=SPLIT[1:]), pools=POOLS)
    assert forwarded(value, own)["retryPolicy"]["numRetries"] == 4
    assert cluster_retries(value, "a") is None
    assert cluster_retries(value, "b")["numRetries"] == 2


def test_other_routes_to_such_a_pool_have_its_retries() -> None:
    """What the cluster may not say stands in every route that leads there."""
    own = Model(name="m", route=SPLIT[:1], retries=Retries(attempts=4))
    other = Model(name="k", route=SPLIT[:1])
    value = policy(own, other, pools=POOLS)
    assert forwarded(value, other)["retryPolicy"]["numRetries"] == 1
    assert "retryPolicy" not in action(other)


def test_no_tries_at_all() -> None:
    """Then neither route nor cluster has a policy, on any Envoy."""
    for wanted in (EVERYTHING, OLDEST):
        own = Model(name="m", route=SPLIT[:1], retries=Retries(attempts=0))
        assert "retryPolicy" not in action(own, wanted)
        assert cluster_retries(policy(own, pools=POOLS), "a", wanted) is None


def test_a_split_with_one_silent_cluster() -> None:
    """The route speaks for the pool whose cluster is silent."""
    own = Model(name="m", route=SPLIT[1:], retries=Retries(attempts=4))
    split = Model(name="k", route=SPLIT)
    assert forwarded(policy(own, split, pools=POOLS), split)["retryPolicy"]["numRetries"] == 2


def test_clusters_of_routed_pools() -> None:
    """They lose one feature; the others keep all."""
    assert not cluster_capabilities(POOLS[0], frozenset({"a"}), EVERYTHING).has(Feature.RETRIES_PER_POOL)
    assert cluster_capabilities(POOLS[1], frozenset({"a"}), EVERYTHING) is EVERYTHING


def test_own_timeout() -> None:
    """Instead of the pools' longest."""
    pools = (pool("a", timeouts=Timeouts(request_s=30.0)), pool("b"))
    assert action(Model(name="m", route=SPLIT[:1]), pools=pools)["timeout"] == "30s"
    assert action(Model(name="m", route=SPLIT[:1], timeout_s=1.5), pools=pools)["timeout"] == "1.5s"


def test_colours() -> None:
    """The active pool, as if it were the only one."""
    colours = Model(name="m", blue_green=BlueGreen(blue="a", green="b", active="green"))
    assert action(colours)["cluster"] == "pool/b"


def test_mirrors() -> None:
    """Beside the pool that serves."""
    mirrored = Model(name="m", route=SPLIT[:1], mirrors=(Mirror(pool="b"),))
    assert [one["cluster"] for one in action(mirrored)["requestMirrorPolicies"]] == ["pool/b"]
    assert "requestMirrorPolicies" not in action(Model(name="m", route=SPLIT[:1]))


def test_the_session_chooses() -> None:
    """Of a split, also of a rule's."""
    value = policy(Model(name="m", route=SPLIT), pools=POOLS, session_header="x-chat")
    assert actions(value).to(SPLIT)["hashPolicy"] == [{"header": {"headerName": "x-chat"}}]
