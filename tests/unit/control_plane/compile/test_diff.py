"""What two snapshots differ in, and what that does to traffic."""

from dataclasses import replace
from typing import Any

import pytest

from control_plane.compile import Compiled
from control_plane.compile.diff import (
    CHANGED_CLUSTER,
    CHANGED_LISTENER,
    CHANGED_ROUTES,
    EMPTY_ASSIGNMENT,
    MAX_DETAILS,
    MAX_SHOWN,
    MOVED_LISTENER,
    REMOVED_CLUSTER,
    REMOVED_ENDPOINTS,
    REMOVED_LISTENER,
    Change,
    changes,
    differences,
)
from control_plane.fleet.model import Fleet
from control_plane.policy.model import Model, Policy, RouteTarget, StaticEndpoint, Timeouts
from ext_proc.core.address import SocketAddress
from tests.unit.control_plane.compile.samples import compiled, listener, policy, pool

ONE, TWO = StaticEndpoint(address="10.0.0.1:8000"), StaticEndpoint(address="10.0.0.2:8000")


def split(*weights: int) -> Policy:
    """A model over pools a, b, … with these weights."""
    names = "abc"[: len(weights)]
    targets = tuple(RouteTarget(pool=name, weight=weight) for name, weight in zip(names, weights, strict=True))
    return policy(Model(name="llama", route=targets), pools=tuple(pool(name, endpoints=(ONE,)) for name in names))


def between(old: Policy, new: Policy) -> dict[tuple[str, str], Change]:
    """The changes by kind and name."""
    return {(one.kind, one.name): one for one in changes(compiled(old), compiled(new))}


def test_nothing() -> None:
    """The same policy changes nothing."""
    assert changes(compiled(), compiled()) == ()


def test_a_weight() -> None:
    """A canary's weights are one line of one table of routes; nothing drains."""
    (change,) = between(split(95, 5), split(80, 20)).values()
    assert (change.kind, change.name, change.action) == ("routes", "openai", "change")
    assert change.details == ("model/llama: to pool/a 95, pool/b 5 → pool/a 80, pool/b 20",)
    assert change.notes == (CHANGED_ROUTES,)
    assert change.subject == "model/llama"
    assert not change.drains


def test_a_pool_goes() -> None:
    """A cluster goes in two steps, after the routes."""
    found = between(split(1, 1), split(1))
    gone = found["clusters", "pool/b"]
    assert (gone.action, gone.notes, gone.is_two_step) == ("remove", (REMOVED_CLUSTER,), True)
    assert found["endpoints", "pool/b"].details == ("- 10.0.0.1:8000",)
    assert [kind for kind, _ in found] == ["clusters", "endpoints", "routes"]


def test_endpoints() -> None:
    """Added, removed, and what is another weight, priority or place of the others."""
    third = StaticEndpoint(address="[::1]:8000", weight=7)
    old = policy(pools=(pool(endpoints=(ONE, TWO)),))
    new = policy(pools=(pool(endpoints=(replace(TWO, weight=50, zone="z"), third)),))
    (change,) = between(old, new).values()
    assert change.details == (
        "+ [::1]:8000 (weight 7)",
        "- 10.0.0.1:8000",
        "10.0.0.2:8000: weight 100 → 50",
        "10.0.0.2:8000: place nowhere in particular → z",
    )
    assert change.notes == (REMOVED_ENDPOINTS,)


def test_a_pool_is_emptied() -> None:
    """The last endpoint of a pool is more than one endpoint less."""
    (change,) = changes(compiled(), compiled(fleet=Fleet(pools={})))
    assert change.notes == (REMOVED_ENDPOINTS, EMPTY_ASSIGNMENT)


def test_a_cluster() -> None:
    """A changed field of a cluster is told by its path."""
    tight = pool()
    http = replace(tight.traffic_policy.connection_pool.http, http2_max_requests=7)
    limits = replace(tight.traffic_policy.connection_pool, http=http)
    new = policy(pools=(replace(tight, traffic_policy=replace(tight.traffic_policy, connection_pool=limits)),))
    change = between(policy(), new)["clusters", "pool/a"]
    assert any(line.endswith("maxRequests: 4096 → 7") for line in change.details)
    assert change.notes == (CHANGED_CLUSTER,)


def test_listeners() -> None:
    """A changed listener drains, one that moves or goes does too, a new one does not."""
    old = policy()
    moved = replace(old, listeners=(listener(address=SocketAddress("127.0.0.1", 9)),))
    larger = replace(old, listeners=(listener(max_request_bytes=5000),))
    more = replace(old, listeners=(*old.listeners, listener(name="b", address=SocketAddress("127.0.0.1", 9))))
    assert between(old, moved)["listeners", "openai"].notes == (MOVED_LISTENER,)
    changed = between(old, larger)["listeners", "openai"]
    assert (changed.notes, changed.drains) == ((CHANGED_LISTENER,), True)
    assert "perConnectionBufferLimitBytes: 16777216 → 5000" in changed.details
    added = between(old, more)["listeners", "b"]
    assert (added.action, added.drains, added.notes) == ("add", False, ())
    assert between(more, old)["listeners", "b"].notes == (REMOVED_LISTENER,)


def test_routes_are_told_by_rule_and_model() -> None:
    """Several routes of one model are one line."""
    slow = replace(pool(), timeouts=Timeouts(request_s=5.0))
    change = between(policy(), policy(pools=(slow,)))["routes", "openai"]
    assert change.details[0] == "model/llama: route.timeout: 600s → 5s"
    assert len(set(change.details)) == len(change.details)
    two = between(policy(), policy(Model(name="other", route=(RouteTarget(pool="a"),))))["routes", "openai"]
    assert set(two.details) == {"+ model/other: to pool/a", "- model/llama: to pool/a"}


def test_the_order_of_routes() -> None:
    """What is asked first is a difference by itself."""
    models = [Model(name=name, route=(RouteTarget(pool="a"),)) for name in ("m", "n")]
    change = between(policy(*models), policy(*reversed(models)))["routes", "openai"]
    assert change.details == ("the order of the routes",)


def test_virtual_hosts() -> None:
    """Hosts that come and go are named, and the routes of several are told apart."""
    old, new = compiled(), compiled()
    table: Any = new.routes["openai"]
    first = table["virtualHosts"][0]
    table["virtualHosts"] = [
        {**first, "routes": first["routes"][1:]},
        {**first, "name": "b", "domains": ["b.com"]},
    ]
    (change,) = changes(old, new)
    assert "+ virtual host b for b.com" in change.details
    assert all(line.startswith(("+ virtual host", "openai: ")) for line in change.details)
    assert changes(new, old)[0].details[0] == "- virtual host b"


def test_secrets_are_never_shown() -> None:
    """That a secret changed is told, and nothing of what is in it."""
    old, new = compiled(), compiled()
    for found, key in ((old, "OLD KEY"), (new, "NEW KEY")):
        found.secrets["tls"] = {"name": "tls", "tlsCertificate": {"privateKey": {"inlineString": key}}}
    (change,) = changes(old, new)
    assert (change.kind, change.name, change.details) == ("secrets", "tls", ())


def test_long_lists_are_cut() -> None:
    """Of a thousand endpoints the first are shown."""
    many = tuple(StaticEndpoint(address=f"10.0.{n // 250}.{n % 250 + 1}:8000") for n in range(1000))
    (change,) = between(policy(pools=(pool(endpoints=many[:1]),)), policy(pools=(pool(endpoints=many),))).values()
    assert len(change.details) == MAX_DETAILS + 1
    assert change.details[-1] == "… and 949 more"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": 1}, {"a": 2}, ["a: 1 → 2"]),
        ({}, {"a": {"b": True}}, ["a: b: true (new)"]),
        ({"a": []}, {}, ["a: gone (was nothing)"]),
        ({"a": [1, 2]}, {"a": [1, 3]}, ["a[1]: 2 → 3"]),
        ({"a": [1, 2]}, {"a": [2]}, ["a: gone: 1"]),
        ({"a": [1, 2, 3]}, {"a": [3, 1]}, ["a: gone: 2", "a: another order"]),
        ({"a": [{"name": "x", "v": 1}]}, {"a": [{"name": "y"}, {"name": "x", "v": 2}]},
         ["a[x].v: 1 → 2", "a[y]: name: y (new)"]),
        ({"a": [{"name": "x"}, {"name": "y"}]}, {"a": [{"name": "y"}, {"name": "x"}]}, ["a: another order"]),
        ({"a": "x"}, {"a": ["x"]}, ["a: x → x"]),
        ({"a": {"@type": "type.googleapis.com/a.b.Router"}}, {"a": 1}, ["a: Router → 1"]),
    ],
)  # fmt: skip
def test_any_json(old: object, new: object, expected: list[str]) -> None:
    """A line for each difference, by its path; items that have names are compared by them."""
    assert list(differences(old, new)) == expected


def test_long_values_are_cut() -> None:
    """A script is not repeated."""
    (line,) = differences({"a": "x"}, {"a": "y" * 500})
    assert len(line) < MAX_SHOWN + 20


def test_kinds_of_one_side_only() -> None:
    """A kind that only one of the two has counts as empty in the other."""
    assert isinstance(compiled(), Compiled)
    assert [one.action for one in changes(replace(compiled(), clusters={}), compiled())] == ["add", "add"]
