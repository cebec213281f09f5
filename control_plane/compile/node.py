"""What an Envoy tells about itself in its first discovery request, as far as its configuration depends on it."""

from dataclasses import dataclass

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One Envoy.

    `version` is major, minor, patch of its build; `extensions` holds the full names of the messages that it can be
    configured with (from `node.extensions[].type_urls`) and the extensions' own names. Both are None where the Envoy
    did not say (source: envoy.config.core.v3.Node).
    """

    id: str
    cluster: str = ""
    region: str = ""
    zone: str = ""
    version: Version | None = None
    extensions: frozenset[str] | None = None
