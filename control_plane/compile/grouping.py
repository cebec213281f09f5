"""Which group of the policy an Envoy is in.

    >>> group_of(policy, Node(id="edge-canary-1"))
    'canary'

The first group whose conditions all hold; an Envoy that fits none is in the group `default`.
"""

from collections.abc import Iterable, Mapping

from control_plane.compile.node import Node
from control_plane.policy.groups import DEFAULT_GROUP, AppliesTo, Group
from control_plane.policy.model import Listener, Policy
from control_plane.policy.string_match import StringMatch, holds


def group_of(policy: Policy, node: Node) -> str:
    """The name of the group that has `node`."""
    return next((group.name for group in policy.groups if _applies(group.applies_to, node)), DEFAULT_GROUP)


def group_names(policy: Policy) -> tuple[str, ...]:
    """All groups of a policy, the one that is always there last."""
    return (*(group.name for group in policy.groups), DEFAULT_GROUP)


def group_named(policy: Policy, name: str) -> Group | None:
    """The group of that name; None for the one that is always there, and for one that the policy does not have."""
    return next((group for group in policy.groups if group.name == name), None)


def listeners_of(policy: Policy, group: str) -> tuple[Listener, ...]:
    """The listeners that the Envoys of a group have."""
    return tuple(listener for listener in policy.listeners if not listener.groups or group in listener.groups)


def _applies(conditions: AppliesTo, node: Node) -> bool:
    told = (
        (conditions.node_id, node.id),
        (conditions.cluster, node.cluster),
        (conditions.region, node.region),
        (conditions.zone, node.zone),
        *((alternatives, _text(node.metadata, key)) for key, alternatives in conditions.metadata.items()),
    )
    return all(not alternatives or _any(alternatives, text) for alternatives, text in told)


def _any(alternatives: Iterable[StringMatch], text: str | None) -> bool:
    return text is not None and any(holds(match, text) for match in alternatives)


def _text(metadata: Mapping[str, object], key: str) -> str | None:
    """The text under `key`; None where there is none. A key with dots may also stand there as it is."""
    if key in metadata:
        found = metadata[key]
        return found if isinstance(found, str) else None
    first, _, rest = key.partition(".")
    below = metadata.get(first)
    return _text(below, rest) if rest and isinstance(below, Mapping) else None
