"""What an Envoy tells about itself in its first discovery request, as far as its configuration depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Envoy.

    `version` is major, minor, patch of its build; `extensions` holds the full names of the messages that it can be
    configured with (from `node.extensions[].type_urls`) and the extensions' own names. Both are None where the Envoy
    did not say (source: envoy.config.core.v3.Node).
    `metadata` is what its operator wrote into the bootstrap's `node.metadata`: texts, numbers (all of them floats),
    booleans, None, lists and mappings.
    """

    id: str
    cluster: str = ""
    region: str = ""
    zone: str = ""
    version: Version | None = None
    extensions: frozenset[str] | None = None
    # Not hashed: a mapping has no hash, and nodes that differ in it only may share one.
    metadata: Mapping[str, object] = field(default_factory=dict, hash=False)
