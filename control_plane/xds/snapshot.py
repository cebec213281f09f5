"""What there is to send: every resource as bytes under a version that is a hash of its content.

    snapshot = build_snapshot({kinds.CLUSTERS: {"pool/llama": {...}}}, messages)
    snapshot.types[kinds.CLUSTERS]["pool/llama"].version    # the same on every replica and after every restart

Versions come from content alone, so that an Envoy that reconnects, here or elsewhere, is sent only what differs.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from google.protobuf.json_format import ParseError

from control_plane.xds.assignments import assignment_message
from control_plane.xds.errors import ResourceError
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS
from protos.messages import TYPE_URL_PREFIX, Messages

VERSION_DIGITS = 16
"""Hex digits kept of a SHA-256: 64 bits, so that among a million versions a collision has odds of 1 in 37 million."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One named resource. `body` is its message, serialised; `eds_name` is what a cluster asks EDS for, else empty."""

    name: str
    version: str
    body: bytes
    eds_name: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything that one Envoy may hold: resources by type URL and name, and a version per type.

    A type URL that is missing is not served; one with no resources is served and empty.
    """

    types: Mapping[str, Mapping[str, Resource]]
    versions: Mapping[str, str]

    def resources(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of a type by name; none for a type that is not served."""
        return self.types.get(type_url, _NOTHING)


_NOTHING: Mapping[str, Resource] = MappingProxyType({})


@dataclass(slots=True)
class Memo:
    """What `build_snapshot` keeps between calls so that an unchanged resource is not parsed and serialised again.

    Mutable: both maps, replaced by `build_snapshot` only. Dropping a memo at any time changes only the time taken.
    """

    resources: dict[tuple[str, str], tuple[Mapping[str, object], Resource]] = field(default_factory=dict)
    types: dict[str, Mapping[str, Resource]] = field(default_factory=dict)


def version_of(versions: Iterable[tuple[str, str]]) -> str:
    """One version for a set of (name, version) pairs, whatever their order."""
    digest = hashlib.sha256()
    for name, version in sorted(versions):
        digest.update(f"{name}\0{version}\n".encode())
    return digest.hexdigest()[:VERSION_DIGITS]


def content_version(resources: Mapping[str, Resource]) -> str:
    """The version of exactly these resources."""
    return version_of((name, resource.version) for name, resource in resources.items())


def build_snapshot(
    compiled: Mapping[str, Mapping[str, Mapping[str, object]]], messages: Messages, memo: Memo | None = None
) -> Snapshot:
    """The snapshot of compiled resources, given as Envoy's JSON by type URL and name.

    Raises `ResourceError` for JSON that is not of its type and for a resource whose own name is another than its key.
    """
    last = memo or Memo()
    seen: dict[tuple[str, str], tuple[Mapping[str, object], Resource]] = {}
    types: dict[str, Mapping[str, Resource]] = {}
    for type_url, by_name in compiled.items():
        for name, value in by_name.items():
            known = last.resources.get((type_url, name))
            seen[type_url, name] = (
                known if known and known[0] == value else (value, _build(type_url, name, value, messages))
            )
        resources = {name: seen[type_url, name][1] for name in by_name}
        # The same mapping object again tells sessions at once that nothing of this type changed.
        types[type_url] = last.types[type_url] if last.types.get(type_url) == resources else MappingProxyType(resources)
    if memo is not None:
        memo.resources, memo.types = seen, types
    return Snapshot(
        MappingProxyType(types),
        MappingProxyType({type_url: content_version(resources) for type_url, resources in types.items()}),
    )


def _build(type_url: str, name: str, value: Mapping[str, object], messages: Messages) -> Resource:
    full_name = type_url.removeprefix(TYPE_URL_PREFIX)
    try:
        is_assignment = type_url == ENDPOINTS
        message: Any = assignment_message(value, messages) if is_assignment else messages.parse_json(full_name, value)
    except ParseError as error:
        raise ResourceError(f"{full_name} {name!r}: {error}") from error
    own_name = message.cluster_name if is_assignment else message.name
    if own_name != name:
        raise ResourceError(f"{full_name} {name!r} calls itself {own_name!r}")
    body: bytes = message.SerializeToString(deterministic=True)
    version = hashlib.sha256(body).hexdigest()[:VERSION_DIGITS]
    return Resource(name, version, body, _eds_name(message) if type_url == CLUSTERS else "")


def _eds_name(cluster: Any) -> str:
    if cluster.type != cluster.EDS:
        return ""
    name: str = cluster.eds_cluster_config.service_name or cluster.name
    return name
