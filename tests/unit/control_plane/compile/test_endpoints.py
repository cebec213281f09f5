"""Endpoint assignments."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compile.endpoints import MAX_WEIGHT_SUM, load_assignment, scaled
from control_plane.compile.localities import Locality
from control_plane.fleet.model import Endpoint, Health, Share
from control_plane.policy.load_balancing import Distribute
from control_plane.policy.model import Failover, LoadBalancer, LocalityLbSetting, TrafficPolicy
from protos.messages import load
from tests.unit.control_plane.compile.samples import pool

weight_lists = st.lists(st.integers(min_value=1, max_value=MAX_WEIGHT_SUM), min_size=1, max_size=40)


def pod(port: int, **fields: Any) -> Endpoint:
    """A pod on loopback."""
    return Endpoint(**{"pool": "a", "address": f"127.0.0.1:{port}"} | fields)


def groups(*endpoints: Endpoint, node: Locality | None = None, setting: LocalityLbSetting | None = None) -> Any:
    """The locality groups of an assignment."""
    traffic = TrafficPolicy(load_balancer=LoadBalancer(locality_lb_setting=setting or LocalityLbSetting()))
    return load_assignment(pool(traffic_policy=traffic), endpoints, node or Locality())["endpoints"]


def test_an_empty_pool_has_an_empty_assignment() -> None:
    """The resource is there and names nobody: this is how a cluster is emptied in Envoy."""
    assert load_assignment(pool(), (), Locality()) == {"clusterName": "pool/a", "endpoints": []}


def test_address_weight_and_health() -> None:
    """An endpoint carries its address, its weight and its health in Envoy's words."""
    ((v4, v6),) = [group["lbEndpoints"] for group in groups(pod(1, weight=7), pod(2, address="[::1]:2"))]
    assert v4 == {
        "endpoint": {"address": {"socketAddress": {"address": "127.0.0.1", "portValue": 1}}},
        "healthStatus": "HEALTHY",
        "loadBalancingWeight": 7,
    }
    assert v6["endpoint"]["address"]["socketAddress"] == {"address": "::1", "portValue": 2}


def test_every_health_is_known_to_envoy() -> None:
    """Each state has a value of the same name in Envoy's enum; who was drained is not told of at all."""
    gone = {Health.REMOVED, Health.DRAINED}
    assert groups(*(pod(1, health=health) for health in gone)) == []
    for health in set(Health) - gone:
        (group,) = groups(pod(1, health=health))
        message: Any = load().parse_json("envoy.config.endpoint.v3.LbEndpoint", group["lbEndpoints"][0])
        assert load().to_json(message).get("healthStatus") == health.name


def test_the_same_address_counts_once() -> None:
    """The first of two equal addresses stays, in its place."""
    ((one, two),) = [group["lbEndpoints"] for group in groups(pod(1, weight=3), pod(2), pod(1, weight=9))]
    assert (one["loadBalancingWeight"], two["loadBalancingWeight"]) == (3, 100)


def test_localities_with_priorities() -> None:
    """Endpoints are grouped by place, nearest first; the first priority is Envoy's default and is not written."""
    setting = LocalityLbSetting(enabled=True, failover=(Failover(from_="r1", to="r2"),))
    found = groups(
        pod(1, region="r3"),
        pod(2, region="r2", zone="z"),
        pod(3, region="r1", zone="z"),
        pod(4, region="r1", zone="z"),
        node=Locality("r1", "z"),
        setting=setting,
    )
    assert [(group.get("locality"), group.get("priority"), len(group["lbEndpoints"])) for group in found] == [
        ({"region": "r1", "zone": "z"}, None, 2),
        ({"region": "r2", "zone": "z"}, 1, 1),
        ({"region": "r3"}, 2, 1),
    ]


def test_a_locality_weighs_what_its_endpoints_weigh() -> None:
    """Drawing a locality first leaves each endpoint its share."""
    found = groups(pod(1, zone="a", weight=10), pod(2, zone="a", weight=20), pod(3, zone="b", weight=5))
    assert [group["loadBalancingWeight"] for group in found] == [30, 5]


def test_order_of_places_does_not_change_the_resource() -> None:
    """Localities are sorted, so a policy whose zones were moved about compiles to the same bytes."""
    one, two = pod(1, zone="a"), pod(2, zone="b")
    assert groups(one, two) == groups(two, one)


@given(weight_lists)
def test_weights_fit_in_32_bits(weights: list[int]) -> None:
    """Every weight stays at least 1 and their sum is one that Envoy takes."""
    found = scaled(weights)
    assert len(found) == len(weights)
    assert min(found) >= 1
    assert sum(found) <= MAX_WEIGHT_SUM


@given(weight_lists)
def test_proportions_stay(weights: list[int]) -> None:
    """Weights that fit are untouched; scaled ones keep their order and their ratio up to one unit."""
    found = scaled(weights)
    total = sum(weights)
    if total <= MAX_WEIGHT_SUM:
        assert found == weights
        return
    for before, after in zip(weights, found, strict=True):
        assert abs(after - before * MAX_WEIGHT_SUM / total) <= len(weights) + 1


def test_shares_and_overprovisioning() -> None:
    """A place weighs its share, one without a share is not told, and the factor stands beside them."""
    setting = LocalityLbSetting(
        enabled=True, distribute=(Distribute(from_="*", to={"a": 75, "b": 25}),), overprovisioning_factor=120
    )
    traffic = TrafficPolicy(load_balancer=LoadBalancer(locality_lb_setting=setting))
    pods = [pod(1, zone="a", weight=7), pod(2, zone="b"), pod(3, zone="c")]
    found: Any = load_assignment(pool(traffic_policy=traffic), pods, Locality())
    assert [(group["locality"]["zone"], group["loadBalancingWeight"]) for group in found["endpoints"]] == [
        ("a", 750_000),
        ("b", 250_000),
    ]
    assert found["policy"] == {"overprovisioningFactor": 120}


def test_no_factor_without_localities() -> None:
    """While places are not told apart the factor says nothing."""
    setting = LocalityLbSetting(enabled=False, overprovisioning_factor=120)
    traffic = TrafficPolicy(load_balancer=LoadBalancer(locality_lb_setting=setting))
    assert "policy" not in load_assignment(pool(traffic_policy=traffic), [pod(1)], Locality())


@pytest.mark.parametrize(
    ("known", "inferred", "status"),
    [
        (Health.HEALTHY, Health.UNHEALTHY, "UNHEALTHY"),
        (Health.HEALTHY, Health.DEGRADED, "DEGRADED"),
        (Health.DEGRADED, Health.UNHEALTHY, "UNHEALTHY"),
        (Health.DEGRADED, Health.HEALTHY, "DEGRADED"),
        (Health.UNHEALTHY, Health.DEGRADED, "UNHEALTHY"),
        (Health.DRAINING, Health.UNHEALTHY, "DRAINING"),
    ],
)
def test_what_the_picker_found_out(known: Health, inferred: Health, status: str) -> None:
    """Is told where nothing worse is known; who drains does so in any case."""
    found: Any = load_assignment(pool(), [pod(1, health=known, inferred=inferred)], Locality())
    assert found["endpoints"][0]["lbEndpoints"][0]["healthStatus"] == status


HERE = Locality("", "za")
ON = LocalityLbSetting(enabled=True)


def shared(port: int, zone: str, percent: int, **fields: Any) -> Endpoint:
    """A pod of a place with that share of the requests of Envoys at `HERE`."""
    return pod(port, zone=zone, shares=(Share("", "zb", 1), Share("", "za", percent, "why")), **fields)


def test_shares_are_weights() -> None:
    """One priority; endpoints weigh so that their places have their shares, the unhealthy ones left out."""
    near, far, last = groups(
        shared(1, "za", 25, weight=100),
        shared(2, "za", 25, weight=300),
        shared(3, "zb", 75, weight=10, health=Health.UNHEALTHY),
        shared(4, "zb", 75, weight=10, inferred=Health.DEGRADED),
        pod(5, zone="zc"),
        node=HERE,
        setting=LocalityLbSetting(enabled=True, failover=(Failover(from_="za", to="zb"),)),
    )
    assert [group.get("priority", 0) for group in (near, far, last)] == [0, 0, 1]
    assert [group["loadBalancingWeight"] for group in (near, far, last)] == [250_000, 750_000, 100]
    assert [each["loadBalancingWeight"] for each in near["lbEndpoints"]] == [62_500, 187_500]
    assert [each["loadBalancingWeight"] for each in far["lbEndpoints"]] == [750_000, 750_000]
    assert [each["loadBalancingWeight"] for each in last["lbEndpoints"]] == [100]


def test_a_place_without_a_share_comes_later() -> None:
    """Also the nearest one, while its requests are elsewhere; weights are as they were."""
    far, near = groups(shared(1, "za", 0), shared(2, "zb", 100), node=HERE, setting=ON)
    assert (far["locality"]["zone"], far.get("priority", 0)) == ("zb", 0)
    assert (near["locality"]["zone"], near["priority"], near["loadBalancingWeight"]) == ("za", 1, 100)


def test_shares_of_others_and_without_an_order_say_nothing() -> None:
    """An Envoy elsewhere has its own; a policy that is still served may have no shifts."""
    endpoints = (shared(1, "za", 0), shared(2, "zb", 100))
    for node, setting in ((Locality("", "zc"), ON), (HERE, LocalityLbSetting(enabled=True, shift=None))):
        plain = groups(*(replace(each, shares=()) for each in endpoints), node=node, setting=setting)
        assert groups(*endpoints, node=node, setting=setting) == plain


@given(
    st.lists(
        st.tuples(st.integers(1, MAX_WEIGHT_SUM), st.sampled_from(["za", "zb", "zc"]), st.sampled_from(list(Health))),
        min_size=1,
        max_size=30,
    ),
    st.lists(st.integers(0, 100), min_size=3, max_size=3),
)
def test_any_shares_are_taken_by_envoy(pods: list[tuple[int, str, Health]], shares: list[int]) -> None:
    """Weights of 1 and more that add up to 32 bits, priorities without gaps."""
    percent = dict(zip(("za", "zb", "zc"), shares, strict=True))
    endpoints = [
        shared(n + 1, zone, percent[zone], weight=weight, health=health)
        for n, (weight, zone, health) in enumerate(pods)
    ]
    found = groups(*endpoints, node=HERE, setting=ON)
    weights = [each["loadBalancingWeight"] for group in found for each in group["lbEndpoints"]]
    assert all(weight >= 1 for weight in weights)
    assert sum(weights) <= MAX_WEIGHT_SUM
    priorities = {group.get("priority", 0) for group in found}
    assert priorities == set(range(len(priorities)))
