"""Which group an Envoy is in."""

import pytest

from control_plane.compile import Node
from control_plane.compile.grouping import group_named, group_names, group_of, listeners_of
from control_plane.policy import load
from control_plane.policy.model import Policy

GROUPS = """\
kvpilot: v1
groups:
  - {name: canary, appliesTo: {nodeId: [{prefix: canary-}, {exact: special}], cluster: {exact: edge}}}
  - {name: west, appliesTo: {region: {regex: "us-(west|north)"}, zone: {exact: a}}}
  - {name: staged, appliesTo: {metadata: {env.stage: {exact: test}, team: {prefix: ""}}}}
listeners:
  - {name: openai, address: 127.0.0.1:8080}
  - {name: inner, address: 127.0.0.1:8081, groups: [canary]}
models: [{name: m, pool: p}]
pools: {p: {endpoints: [{address: 127.0.0.1:1}]}}
"""


def policy() -> Policy:
    """A policy with groups."""
    found = load(GROUPS.replace('team: {prefix: ""}', 'team: {regex: ".*"}'), "policy.yaml").document
    assert found is not None
    return found.policy


@pytest.mark.parametrize(
    ("node", "group"),
    [
        (Node(id="canary-1", cluster="edge"), "canary"),
        (Node(id="special", cluster="edge"), "canary"),
        (Node(id="canary-1", cluster="other"), "default"),
        (Node(id="special-2", cluster="edge"), "default"),
        (Node(id="x", region="us-west", zone="a"), "west"),
        (Node(id="x", region="us-west-2", zone="a"), "default"),
        (Node(id="x", region="us-west"), "default"),
        (Node(id="canary-1", cluster="edge", region="us-west", zone="a"), "canary"),
        (Node(id="x", metadata={"env": {"stage": "test"}, "team": "a"}), "staged"),
        (Node(id="x", metadata={"env.stage": "test", "team": "a"}), "staged"),
        (Node(id="x", metadata={"env": {"stage": "test"}}), "default"),
        (Node(id="x", metadata={"env": {"stage": 1.0}, "team": "a"}), "default"),
        (Node(id="x", metadata={"env": "stage", "team": "a"}), "default"),
    ],
)
def test_the_first_that_fits(node: Node, group: str) -> None:
    """All conditions of a group hold, each by any of its alternatives; the order of the file counts."""
    assert group_of(policy(), node) == group


def test_listeners_of_a_group() -> None:
    """Those that name it, and those that name none."""
    assert [listener.name for listener in listeners_of(policy(), "canary")] == ["openai", "inner"]
    assert [listener.name for listener in listeners_of(policy(), "default")] == ["openai"]


def test_by_name() -> None:
    """The group that is always there is no declared one."""
    found = group_named(policy(), "west")
    assert found is not None
    assert found.name == "west"
    assert group_named(policy(), "default") is None


def test_names_of_groups() -> None:
    """Those of the policy in its order, then the one that is always there."""
    assert group_names(policy()) == ("canary", "west", "staged", "default")
