"""Load balancing of a pool, for Envoys that can do all of it and for those that cannot."""

from typing import Any

import pytest

from control_plane.compile.capability import Capabilities, Feature
from control_plane.compile.load_balancing import hash_policies, load_balancing
from control_plane.policy.load_balancing import (
    ClientSideWeighted,
    ConsistentHash,
    Distribute,
    HttpCookie,
    LoadBalancer,
    LocalityLbSetting,
    Maglev,
    OutOfBand,
    RingHash,
    Warmup,
)
from control_plane.policy.model import Pool, TrafficPolicy
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, pool

BY_HEADER = ConsistentHash(http_header_name="x-user")
BY_PLACE = LocalityLbSetting(enabled=True, distribute=(Distribute(from_="*", to={"a": 100}),))


def pool_with(**settings: Any) -> Pool:
    """A pool with these settings of its load balancer."""
    return pool(traffic_policy=TrafficPolicy(load_balancer=LoadBalancer(**settings)))


def without(*features: Feature) -> Capabilities:
    """The newest Envoy, but for these features."""
    return Capabilities(EVERYTHING.features - set(features))


def fallback(wanted: Capabilities = EVERYTHING, **settings: Any) -> tuple[str, Any]:
    """Name and fields of the policy for requests without a pick."""
    (policy,) = _policies(load_balancing(pool_with(**settings), wanted))
    name, fields = _named(policy)
    if name == "override_host":
        (policy,) = _policies(fields["fallbackPolicy"])
        name, fields = _named(policy)
    return name, fields


def _policies(value: Any) -> list[Any]:
    return list(value["policies"])


def _named(policy: Any) -> tuple[str, Any]:
    extension = policy["typedExtensionConfig"]
    fields = {key: value for key, value in extension["typedConfig"].items() if key != "@type"}
    return extension["name"].removeprefix("envoy.load_balancing_policies."), fields


def test_named_hosts_come_first() -> None:
    """Whatever the fallback is, the picker's hosts are asked before it, where the Envoy can."""
    settings: dict[str, Any]
    for settings in (
        {},
        {"simple": "RANDOM"},
        {"consistent_hash": BY_HEADER},
        {"client_side_weighted": ClientSideWeighted()},
    ):
        ((name, _),) = [_named(policy) for policy in _policies(load_balancing(pool_with(**settings), EVERYTHING))]
        assert name == "override_host"
    ((name, _),) = [_named(policy) for policy in _policies(load_balancing(pool_with(), NOTHING))]
    assert name == "least_request"


@pytest.mark.parametrize(
    ("simple", "name", "feature"),
    [
        ("LEAST_REQUEST", "least_request", None),
        ("ROUND_ROBIN", "round_robin", Feature.ROUND_ROBIN),
        ("RANDOM", "random", Feature.RANDOM),
    ],
)
def test_simple(simple: str, name: str, feature: Feature | None) -> None:
    """Istio's words; least request where the Envoy lacks the policy."""
    assert fallback(simple=simple) == (name, {})
    if feature is not None:
        assert fallback(without(feature), simple=simple) == ("least_request", {})


def test_slow_start() -> None:
    """With all policies that have it, and left out of the one that has not."""
    warmup = Warmup(duration_s=60.0, minimum_percent=20, aggression=2.0)
    expected = {
        "slowStartWindow": "60s",
        "aggression": {"defaultValue": 2.0, "runtimeKey": "kvpilot.slow_start.aggression"},
        "minWeightPercent": {"value": 20},
    }
    for settings in ({}, {"simple": "ROUND_ROBIN"}, {"client_side_weighted": ClientSideWeighted()}):
        assert fallback(**settings, warmup=warmup)[1]["slowStartConfig"] == expected
    assert fallback(simple="RANDOM", warmup=warmup) == ("random", {})


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ({"http_header_name": "x-user"}, {"header": {"headerName": "x-user"}}),
        (
            {"http_cookie": HttpCookie(name="pod", path="/v1", ttl_s=60.0)},
            {"cookie": {"name": "pod", "path": "/v1", "ttl": "60s"}},
        ),
        ({"http_query_parameter_name": "user"}, {"queryParameter": {"name": "user"}}),
        ({"use_source_ip": True}, {"connectionProperties": {"sourceIp": True}}),
    ],
)
def test_keys(key: dict[str, Any], expected: dict[str, Any]) -> None:
    """The pool's own policy hashes; for an Envoy that cannot say it there the route does."""
    hashed = ConsistentHash(**key)
    name, fields = fallback(consistent_hash=hashed)
    assert (name, fields["consistentHashingLbConfig"]) == ("ring_hash", {"hashPolicy": [expected]})
    assert hash_policies(pool_with(consistent_hash=hashed), EVERYTHING) == []
    old = without(Feature.HASH_PER_POOL)
    assert fallback(old, consistent_hash=hashed) == ("ring_hash", {})
    assert hash_policies(pool_with(consistent_hash=hashed), old) == [expected]
    assert hash_policies(pool_with(), old) == []


def test_rings_and_tables() -> None:
    """Sizes and bounded load; each stands in for the other, and least request for both."""
    ring = ConsistentHash(http_header_name="x", ring_hash=RingHash(minimum_ring_size=9), hash_balance_factor=150)
    table = ConsistentHash(http_header_name="x", maglev=Maglev(table_size=251))
    name, fields = fallback(consistent_hash=ring)
    assert (name, fields["minimumRingSize"]) == ("ring_hash", "9")
    assert fields["consistentHashingLbConfig"]["hashBalanceFactor"] == 150
    assert fallback(consistent_hash=table)[1]["tableSize"] == "251"
    assert fallback(without(Feature.RING_HASH), consistent_hash=ring)[0] == "maglev"
    assert fallback(without(Feature.MAGLEV), consistent_hash=table)[0] == "ring_hash"
    assert fallback(without(Feature.MAGLEV, Feature.RING_HASH), consistent_hash=table)[0] == "least_request"


def test_reported_load() -> None:
    """The policy's times and metrics, and reports beside the answers where the Envoy takes them."""
    settings = ClientSideWeighted(
        metric_names=("named_metrics.kv",), weight_update_period_s=0.5, out_of_band=OutOfBand(period_s=3.0, port=9000)
    )
    name, fields = fallback(client_side_weighted=settings)
    assert name == "client_side_weighted_round_robin"
    assert (fields["weightUpdatePeriod"], fields["weightExpirationPeriod"]) == ("0.5s", "180s")
    assert fields["metricNamesForComputingUtilization"] == ["named_metrics.kv"]
    assert (fields["oobReportingPeriod"], fields["oobReportingConfig"]) == ("3s", {"portValue": 9000})
    _, fields = fallback(without(Feature.REPORTS_OUT_OF_BAND), client_side_weighted=settings)
    assert not {"enableOobLoadReport", "oobReportingPeriod", "oobReportingConfig"} & set(fields)
    assert fallback(without(Feature.REPORTED_LOAD), client_side_weighted=settings) == ("least_request", {})


def test_shares_of_places() -> None:
    """Each policy says in its own way that places are drawn first; reported load needs one round it."""
    weighted: dict[str, object] = {"localityWeightedLbConfig": {}}
    assert fallback(locality_lb_setting=BY_PLACE) == ("least_request", {"localityLbConfig": weighted})
    assert fallback(simple="RANDOM", locality_lb_setting=BY_PLACE) == ("random", {"localityLbConfig": weighted})
    assert fallback(consistent_hash=BY_HEADER, locality_lb_setting=BY_PLACE)[1].items() >= weighted.items()
    name, fields = fallback(client_side_weighted=ClientSideWeighted(), locality_lb_setting=BY_PLACE)
    assert name == "wrr_locality"
    assert [_named(one)[0] for one in _policies(fields["endpointPickingPolicy"])] == [
        "client_side_weighted_round_robin"
    ]
    old = without(Feature.REPORTED_LOAD_BY_PLACE)
    name, fields = fallback(old, client_side_weighted=ClientSideWeighted(), locality_lb_setting=BY_PLACE)
    assert (name, fields) == ("least_request", {"localityLbConfig": weighted})


def test_shares_that_are_off() -> None:
    """Without `enabled` there are no shares to keep."""
    off = LocalityLbSetting(enabled=False, distribute=BY_PLACE.distribute)
    assert fallback(locality_lb_setting=off) == ("least_request", {})
