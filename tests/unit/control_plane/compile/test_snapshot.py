"""Whole snapshots: goldens, names, provenance, and a second codec that reads every resource."""

import importlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.compile import MESSAGE_OF_KIND, Compiled, Node, capabilities, rendered
from control_plane.compile.materials import materials_of
from control_plane.compile.wanted import lacking
from control_plane.fleet.model import Fleet
from control_plane.policy import load as load_policy
from control_plane.policy.model import Model, Policy, Pool, Retries, RouteTarget, StaticEndpoint
from protos.messages import load
from tests.unit.control_plane.compile.samples import EVERYTHING, NOTHING, OLDEST, compiled, policy

DATA = Path(__file__).parents[3] / "data" / "compile"
UPDATE = "KVPILOT_UPDATE_GOLDEN"
"""Set it to write the expected files anew; look at the difference before you commit."""

EXAMPLES = Path(__file__).parents[4] / "examples"

NEWEST = Node(id="x", version=(1, 40, 0))
NODES = {
    "canary.envoy-1.36": Node(id="x", version=(1, 36, 0)),
    "two-zones": replace(NEWEST, region="us-east", zone="us-east-1a"),
    "distribute": replace(NEWEST, region="us-east", zone="us-east-1a"),
    "load-balancing.envoy-1.36": Node(id="x", version=(1, 36, 0)),
}
"""Goldens that are compiled for another node than the newest Envoy without a place, by name."""

FAKE_FILES = materials_of(
    {
        **{f"{name}.pem": f"certificate of {name}\n".encode() for name in ("server", "gateway", "picker", "envoy")},
        **{f"{name}-key.pem": f"key of {name}\n".encode() for name in ("server", "gateway", "picker", "envoy")},
        "clients.pem": b"authorities of clients\n",
        "pods.pem": b"authorities of pods\n",
        "picker-ca.pem": "authorities of the picker, é\n".encode("latin-1"),
        "": b"authorities of the machine\n",
    }
)
"""What the files of the goldens hold: nothing that any TLS library would take."""

GOLDENS = {
    **{path.stem: path for path in sorted(DATA.glob("*.yaml"))},
    "canary.envoy-1.36": DATA / "canary.yaml",
    "load-balancing.envoy-1.36": DATA / "load-balancing.yaml",
    **{f"examples/{path.stem}": path for path in sorted(EXAMPLES.glob("*.yaml"))},
}
"""Name of the expected file → the policy that it comes from: every example is one, too."""


@pytest.mark.parametrize("golden", GOLDENS)
def test_golden(golden: str) -> None:
    """A policy compiles to exactly the expected resources, and a second codec reads each of them."""
    source, node = GOLDENS[golden], NODES.get(golden, NEWEST)
    document = load_policy(source.read_text(), source.name).document
    assert document is not None
    resources = compiled(document.policy, capabilities(node), region=node.region, zone=node.zone, materials=FAKE_FILES)
    found = rendered(resources, load())
    path = DATA / f"{golden}.json"
    if UPDATE in os.environ:
        path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(path.read_text())
    second_codec_agrees(resources)


def test_names_and_provenance() -> None:
    """Every resource but kvpilot's own cluster points back to the policy."""
    found = compiled()
    assert {kind: sorted(table) for kind, table in found.by_kind().items()} == {
        "clusters": ["kvpilot", "pool/a"],
        "endpoints": ["pool/a"],
        "secrets": [],
        "listeners": ["openai"],
        "routes": ["openai"],
        "runtime": [],
    }
    assert found.provenance == {
        ("clusters", "pool/a"): "pools.a",
        ("endpoints", "pool/a"): "pools.a",
        ("listeners", "openai"): "listeners.openai",
        ("routes", "openai"): "listeners.openai",
    }


def test_resources_are_named_as_their_tables_say() -> None:
    """The key of a table is the name inside the resource."""
    for kind, table in compiled().by_kind().items():
        field = "clusterName" if kind == "endpoints" else "name"
        assert {name: resource[field] for name, resource in table.items()} == {name: name for name in table}


def test_type_urls() -> None:
    """The same tables under the type URLs of discovery."""
    found = compiled()
    assert found.by_type_url()["type.googleapis.com/envoy.config.cluster.v3.Cluster"] is found.clusters


def test_left_out_is_told() -> None:
    """What this Envoy lacks of what the policy wants stands in the result; the newest one lacks nothing."""
    assert compiled().left_out == ()
    found = compiled(wanted=OLDEST).left_out
    assert found == lacking(OLDEST, policy()) != ()
    assert set(found) < set(OLDEST.missing)


def test_a_pool_without_endpoints_stays() -> None:
    """A fleet that lost a pool's endpoints empties the assignment and keeps the cluster."""
    found: Any = compiled(fleet=Fleet(pools={}))
    assert found.endpoints == {"pool/a": {"clusterName": "pool/a", "endpoints": []}}
    assert "pool/a" in found.clusters


def test_the_same_input_gives_the_same_resources() -> None:
    """Two compilations are equal, in the order of their keys, too: versions are hashes of the bytes."""
    assert json.dumps(compiled().by_kind()) == json.dumps(compiled().by_kind())


@pytest.mark.parametrize("wanted", [EVERYTHING, OLDEST, NOTHING], ids=["everything", "oldest", "nothing"])
def test_a_second_codec_reads_every_resource(wanted: Any) -> None:
    """envoy-data-plane's own classes read the bytes of each kind and write the same message."""
    split = Model(name="m", route=(RouteTarget(pool="a", weight=3), RouteTarget(pool="b", weight=1)))
    pools = tuple(
        Pool(name=name, endpoints=(StaticEndpoint(address="[::1]:8000", region="r", zone="z"),)) for name in "ab"
    )
    second_codec_agrees(compiled(policy(split, pools=pools), wanted))


def second_codec_agrees(found: Compiled) -> None:
    """Each resource, read and written by envoy-data-plane's own classes, is the same message."""
    for kind, table in found.by_kind().items():
        full_name = MESSAGE_OF_KIND[kind]
        package, _, name = full_name.rpartition(".")
        other = getattr(importlib.import_module(f"envoy_data_plane.{package}"), name)
        for resource in table.values():
            message = load().parse_json(full_name, resource)
            again = load()[full_name].FromString(bytes(other.parse(message.SerializeToString())))
            assert again == message


names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,8}", fullmatch=True)
endpoints = st.builds(
    StaticEndpoint,
    address=st.builds("10.0.0.{}:{}".format, st.integers(1, 250), st.integers(1, 65535)),
    region=st.sampled_from(["", "r1", "r2"]),
    zone=st.sampled_from(["", "z1"]),
    weight=st.integers(1, 2**32 - 1),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Policies with any names, weights and places."""
    pool_names = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    pools = tuple(
        Pool(
            name=name,
            endpoints=tuple(draw(st.lists(endpoints, min_size=1, max_size=4))),
            retries=Retries(attempts=draw(st.integers(0, 3))),
        )
        for name in pool_names
    )
    targets = st.builds(RouteTarget, pool=st.sampled_from(pool_names), weight=st.integers(1, 1000))
    models = tuple(
        Model(name=name, route=tuple(draw(st.lists(targets, min_size=1, max_size=3))))
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
    )
    return policy(*models, pools=pools, default_pool=pool_names[0])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies(), st.sampled_from([EVERYTHING, OLDEST, NOTHING]), st.sampled_from(["", "r1"]))
def test_every_policy_compiles_to_messages(value: Policy, wanted: Any, region: str) -> None:
    """Whatever the names and weights, each resource fits its message, and every cluster that a route names exists."""
    found = compiled(value, wanted, region=region)
    rendered(found, load())
    assert clusters_named(found) <= set(found.clusters)
    assert set(found.endpoints) == set(found.clusters) - {"kvpilot"}


def clusters_named(found: Compiled) -> set[str]:
    """The clusters that the routes lead to."""
    result: set[str] = set()
    resource: Any
    for resource in found.routes.values():
        for route in resource["virtualHosts"][0]["routes"]:
            action = route.get("route", {})
            result |= {action["cluster"]} if "cluster" in action else set()
            result |= {cluster["name"] for cluster in action.get("weightedClusters", {}).get("clusters", ())}
    return result
