"""Assignments, built field by field: the same message and the same errors as by protobuf's own JSON reader."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseError
from hypothesis import given
from hypothesis import strategies as st

from control_plane.compile.endpoints import load_assignment
from control_plane.compile.localities import Locality
from control_plane.fleet.model import Endpoint, Health
from control_plane.xds.assignments import ASSIGNMENT, assignment_bytes, assignment_message
from protos.messages import load
from tests.unit.control_plane.compile.samples import pool

endpoints = st.builds(
    Endpoint,
    pool=st.just("a"),
    address=st.sampled_from(["10.0.0.{}:{}", "[fd00::{}]:{}"]).flatmap(
        lambda form: st.builds(form.format, st.integers(1, 250), st.integers(1, 65_535))
    ),
    region=st.sampled_from(["", "r"]),
    zone=st.sampled_from(["", "z"]),
    weight=st.integers(1, 2**32 - 1),
    health=st.sampled_from(Health),
)


def usual(**fields: Any) -> dict[str, Any]:
    """One endpoint as the compiler writes it."""
    socket = {"address": "10.0.0.1", "portValue": 80}
    return {"endpoint": {"address": {"socketAddress": socket}}, "loadBalancingWeight": 1, "healthStatus": "HEALTHY"} | (
        fields
    )


def assignment(*members: Any, **fields: Any) -> dict[str, Any]:
    """An assignment of one locality."""
    return {"clusterName": "pool/a", "endpoints": [{"lbEndpoints": list(members), **fields}]}


@given(st.lists(endpoints, max_size=8))
def test_what_the_compiler_writes(found: list[Endpoint]) -> None:
    """Whatever the endpoints, the message is that of the slow way, and so are its bytes."""
    value = load_assignment(pool(), found, Locality())
    slow = load().parse_json(ASSIGNMENT, value)
    assert assignment_message(value, load()) == slow
    assert assignment_bytes(value, load()) == slow.SerializeToString(deterministic=True)


SOCKET = {"address": "10.0.0.9", "portValue": 81}


@pytest.mark.parametrize(
    "value",
    [
        {"clusterName": "a"},
        {"clusterName": "a", "endpoints": [], "policy": {"overprovisioningFactor": 200}},
        {"cluster_name": "a", "endpoints": [{"lb_endpoints": [usual()]}]},
        assignment(usual(), priority=2, locality={"zone": "z"}, loadBalancingWeight=7),
        assignment(usual(), usual(healthStatus="DRAINING"), usual()),
        assignment(usual(endpoint={"address": {"pipe": {"path": "/x"}}}), usual()),
        assignment(usual(endpoint={"address": {"socketAddress": {**SOCKET, "protocol": "UDP"}}})),
        assignment(usual(endpoint={"address": {"socketAddress": SOCKET}, "hostname": "h"}), usual()),
        assignment(usual(endpoint={"address": {"socketAddress": SOCKET}, "healthCheckConfig": {"portValue": 9}})),
        assignment(usual(endpoint={"address": {"socketAddress": {"address": "a", "portValue": "80"}}})),
        assignment(usual(loadBalancingWeight="5"), {"endpointName": "x"}, {}),
        assignment(usual(metadata={"filterMetadata": {"envoy.lb": {"a": "b", "c": "d"}}})),
        {"clusterName": "a", "namedEndpoints": {"x": {"address": {"socketAddress": SOCKET}}}},
    ],
)
def test_other_shapes(value: dict[str, Any]) -> None:
    """What a patch or a later compiler writes is read as before."""
    slow = load().parse_json(ASSIGNMENT, value)
    assert assignment_bytes(value, load()) == slow.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    "value",
    [
        {"clusterName": "a", "endpoints": 5},
        {"clusterName": "a", "endpoints": [5]},
        {"clusterName": "a", "endpoint": []},
        assignment(5),
        assignment(usual(weight=1)),
        assignment(usual(loadBalancingWeight=-1)),
        assignment(usual(endpoint={"address": {"socketAddress": {"address": "a", "portValue": 2**32}}})),
        assignment(usual(endpoint={"address": {"socketAddress": SOCKET, "x": 1}})),
        assignment(usual(healthStatus="FINE")),
        assignment(usual(), local="x"),
    ],
)
def test_what_fits_no_message(value: dict[str, Any]) -> None:
    """The same kind of error as by the slow way."""
    with pytest.raises(ParseError):
        load().parse_json(ASSIGNMENT, value)
    with pytest.raises(ParseError):
        assignment_message(value, load())
