"""Policy and findings → endpoints."""

from control_plane.fleet.merge import is_waiting, pool_endpoints, source_key, sources_of
from control_plane.fleet.model import Endpoint, Health
from control_plane.fleet.targets import Target
from control_plane.policy.discovery import HostPort
from control_plane.policy.model import DnsEndpoints, FileEndpoints, Pool, SrvEndpoints, StaticEndpoint
from tests.unit.control_plane.compile.samples import policy

DNS = DnsEndpoints(dns=HostPort("vllm", 8000), region="r", zone="z", weight=7, labels={"a": "1", "b": "1"})
SRV = SrvEndpoints(dns_srv="_http._tcp.vllm")
FILE = FileEndpoints(file="t.yaml")


def test_what_a_source_does_not_say_the_item_says() -> None:
    """Place, weight and labels; what the source says wins."""
    pool = Pool(name="a", endpoints=(DNS,))
    told = Target(address="10.0.0.2:1", region="r2", zone="z2", weight=9, labels={"b": "2"})
    found = {source_key(DNS): (Target(address="10.0.0.1:1"), told)}
    assert pool_endpoints(pool, found) == (
        Endpoint(pool="a", address="10.0.0.1:1", region="r", zone="z", weight=7, labels={"a": "1", "b": "1"}),
        Endpoint(pool="a", address="10.0.0.2:1", region="r2", zone="z2", weight=9, labels={"a": "1", "b": "2"}),
    )


def test_an_address_of_several_items_is_that_of_the_first() -> None:
    """In the order of the policy, whatever the kinds."""
    static = StaticEndpoint(address="10.0.0.1:1", weight=3)
    same = (Target(address="10.0.0.1:1"), Target(address="10.0.0.2:1"))
    found = {source_key(DNS): same, source_key(FILE): same}
    first = pool_endpoints(Pool(name="a", endpoints=(static, DNS, FILE)), found)
    assert [(endpoint.address, endpoint.weight) for endpoint in first] == [("10.0.0.1:1", 3), ("10.0.0.2:1", 7)]
    second = pool_endpoints(Pool(name="a", endpoints=(FILE, static)), found)
    assert [(endpoint.address, endpoint.weight) for endpoint in second] == [("10.0.0.1:1", 100), ("10.0.0.2:1", 100)]


def test_a_pool_waits_until_each_of_its_sources_has_found_something() -> None:
    """A pool of addresses never waits."""
    pool = Pool(name="a", endpoints=(DNS, FILE))
    assert is_waiting(pool, {source_key(DNS): ()})
    assert not is_waiting(pool, {source_key(DNS): (), source_key(FILE): ()})
    assert not is_waiting(Pool(name="a", endpoints=(StaticEndpoint(address="10.0.0.1:1"),)), {})


def test_items_of_two_pools_may_be_one_source() -> None:
    """Place and weight do not make another one; what changes the answer does."""
    elsewhere = DnsEndpoints(dns=HostPort("vllm", 8000), zone="other")
    other_family = DnsEndpoints(dns=HostPort("vllm", 8000), dns_lookup_family="V4_ONLY")
    value = policy(
        pools=(Pool(name="a", endpoints=(DNS, SRV)), Pool(name="b", endpoints=(elsewhere, other_family, FILE)))
    )
    assert list(sources_of(value).values()) == [DNS, SRV, other_family, FILE]


def test_who_drains() -> None:
    """As the source says."""
    found = {source_key(DNS): (Target(address="10.0.0.1:1", draining=True), Target(address="10.0.0.2:1"))}
    endpoints = pool_endpoints(Pool(name="a", endpoints=(DNS,)), found)
    assert [each.health for each in endpoints] == [Health.DRAINING, Health.HEALTHY]
