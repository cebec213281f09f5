"""Items of `endpoints` that say where to ask: what they read to, and what is wrong with them."""

import pytest

from control_plane.policy import load
from control_plane.policy.checks_discovery import MAX_SOURCES
from control_plane.policy.discovery import (
    DnsEndpoints,
    EndpointItem,
    FileEndpoints,
    HostPort,
    SrvEndpoints,
    StaticEndpoint,
)

HEAD = """\
kvpilot: v1
listeners: [{name: a, address: 127.0.0.1:8080}]
models: [{name: m, pool: p}]
pools:
  p:
    endpoints:
"""


def items(*written: str) -> tuple[EndpointItem, ...]:
    """The items of a policy without a finding."""
    result = load(HEAD + "".join(f"      - {item}\n" for item in written), "p.yaml")
    assert result.diagnostics == ()
    assert result.document is not None
    return result.document.policy.pools[0].endpoints


def findings(*written: str) -> list[tuple[int, int, str]]:
    """(item from 1, column, code) of each finding."""
    result = load(HEAD + "".join(f"      - {item}\n" for item in written), "p.yaml")
    return [(found.line - 6, found.column, found.code) for found in result.diagnostics]


def test_each_kind_of_item() -> None:
    """The one key says which it is; the others are the same for all."""
    found = items(
        "{address: 10.0.0.1:80}",
        "{dns: vLLM.Internal:8000, region: r, zone: z, weight: 7, labels: {gpu: h100}}",
        "{dns: vllm.internal.:8000, dnsLookupFamily: ALL}",
        "{dnsSrv: _http._tcp.vllm.internal}",
        "{file: ../a b/targets.json, allowEmpty: true}",
    )
    assert found == (
        StaticEndpoint(address="10.0.0.1:80"),
        DnsEndpoints(dns=HostPort("vllm.internal", 8000), region="r", zone="z", weight=7, labels={"gpu": "h100"}),
        DnsEndpoints(dns=HostPort("vllm.internal.", 8000), dns_lookup_family="ALL"),
        SrvEndpoints(dns_srv="_http._tcp.vllm.internal"),
        FileEndpoints(file="../a b/targets.json", allow_empty=True),
    )
    assert [item.target for item in found] == [
        "10.0.0.1:80", "vllm.internal:8000", "vllm.internal.:8000", "_http._tcp.vllm.internal", "../a b/targets.json",
    ]  # fmt: skip


def test_a_pool_tells_its_addresses_from_its_sources() -> None:
    """What needs no asking, and what does."""
    result = load(HEAD + "      - {address: 10.0.0.1:80}\n      - {file: t.yaml}\n", "p.yaml")
    assert result.document is not None
    (pool,) = result.document.policy.pools
    assert pool.static_endpoints == (StaticEndpoint(address="10.0.0.1:80"),)
    assert pool.discovered == (FileEndpoints(file="t.yaml"),)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("{address: 10.0.0.1:80, dns: x:1}", [(1, 32, "KP214")]),
        ("{file: a, dnsSrv: x}", [(1, 19, "KP214")]),
        ("{adress: 10.0.0.1:80}", [(1, 9, "KP203"), (1, 10, "KP201")]),
        ("{zone: a}", [(1, 9, "KP203")]),
        ("[10.0.0.1:80]", [(1, 9, "KP204")]),
        ("{dns: vllm}", [(1, 15, "KP211")]),
        ("{dns: 'vllm:'}", [(1, 15, "KP211")]),
        ("{dns: vllm:0}", [(1, 15, "KP211")]),
        ("{dns: vllm:65536}", [(1, 15, "KP211")]),
        ("{dns: 10.0.0.1:80}", [(1, 15, "KP210")]),
        ("{dns: '[::1]:80'}", [(1, 15, "KP210")]),
        ("{dns: ':80'}", [(1, 15, "KP210")]),
        ("{dns: 'a b:80'}", [(1, 15, "KP210")]),
        ("{dns: a..b:80}", [(1, 15, "KP210")]),
        ("{dns: -a:80}", [(1, 15, "KP210")]),
        ("{dns: pöd:80}", [(1, 15, "KP210")]),
        (f"{{dns: {'a' * 64}:80}}", [(1, 15, "KP210")]),
        (f"{{dns: {'abc.' * 64}:80}}", [(1, 15, "KP210")]),
        ("{dns: x:1, dnsLookupFamily: v4}", [(1, 37, "KP208")]),
        ("{dns: x:1, allowEmpty: true}", [(1, 20, "KP201")]),
        ("{dnsSrv: x:80}", [(1, 18, "KP211")]),
        ("{dnsSrv: 10.0.0.1}", [(1, 18, "KP210")]),
        ("{file: ''}", [(1, 16, "KP206")]),
        ('{file: "a\\tb"}', [(1, 16, "KP206")]),
        ("{file: t, allowEmpty: yes}", [(1, 31, "KP206")]),
    ],
)
def test_bad_items(item: str, expected: list[tuple[int, int, str]]) -> None:
    """Each error has its place and code."""
    assert findings(item) == expected


def test_no_item_twice() -> None:
    """Of each kind, in the form that is looked up; another kind or another port is another item."""
    found = findings(
        "{dns: x:1}", "{dns: X:1}", "{dns: x:2}", "{dnsSrv: x}", "{dnsSrv: x}", "{file: x}", "{file: x}",
        "{address: 10.0.0.1:1}", "{address: 10.0.0.1:1}",
    )  # fmt: skip
    assert found == [(2, 15, "KP305"), (5, 18, "KP305"), (7, 16, "KP305"), (9, 19, "KP305")]


def test_not_too_many_sources() -> None:
    """Each is asked for ever; the error stands at the list, and addresses do not count."""
    names = [f"{{dns: x{number}:1}}" for number in range(MAX_SOURCES)]
    assert findings("{address: 10.0.0.1:1}", *names) == []
    assert findings(*names, "{file: t}") == [(0, 5, "KP213")]


FAILOVER = "    trafficPolicy: {loadBalancer: {localityLbSetting: {enabled: true, failover: [{from: a, to: b}]}}}\n"


@pytest.mark.parametrize(
    ("item", "expected"),
    [("{dns: x:1, region: a}", ["KP903"]), ("{dns: x:1, region: b}", []), ("{file: t, region: a}", [])],
)
def test_failover_to_a_place_that_only_a_file_may_know(item: str, expected: list[str]) -> None:
    """A name's endpoints are where the policy says; a file may say otherwise, so nothing is found wrong there."""
    result = load(f"{HEAD}      - {item}\n{FAILOVER}", "p.yaml")
    assert [found.code for found in result.diagnostics] == expected
