"""The streams of Envoys as the rollout sees them: who, with which part of the policy, and what they have accepted.

Mutable bookkeeping on the event loop, no decisions.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from control_plane.compile import Node
from control_plane.sidecar.builds import Variant
from control_plane.xds.kinds import CLUSTERS, ENDPOINTS, LISTENERS, ROUTES
from control_plane.xds.quarantine import Rejected
from control_plane.xds.snapshot import Resource, Snapshot

_CONFIRMED = (CLUSTERS, LISTENERS, ROUTES)
"""Types whose every resource counts for "this Envoy has the new policy". Endpoints change all the time and need only
be there; secrets and runtime values are asked for by some only."""


@dataclass(slots=True)
class LiveStream:
    """One open stream. Mutable: all but the node, written by `Streams` and by the slow loop that owns it."""

    node: Node
    kinds: dict[str, Variant] = field(default_factory=dict)
    """Version of a policy in use → the kind of Envoy that it is under that one's groups."""
    version: str = ""
    """Version of the policy that it was offered."""
    variant: Variant | None = None
    offered: Snapshot | None = None
    earlier: Snapshot | None = None
    """The one before that: an answer may still be about it."""
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """Type → name → version that it accepted last."""
    refused: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    """Type → name → (version, error) of its refusals."""
    local: list[Rejected] = field(default_factory=list)
    """Those of its refusals that its own machine was the reason of."""
    is_unwanted: bool = False
    """Whether a policy shuts it out, and it is to end."""
    confirmed: tuple[str, ...] = ()
    """The versions of clusters, listeners and routes that it has accepted as a whole."""

    def offer(self, version: str, variant: Variant, snapshot: Snapshot) -> None:
        """It is given this."""
        if snapshot is not self.offered:
            self.earlier, self.offered = self.offered, snapshot
        self.version, self.variant = version, variant

    def resource(self, type_url: str, name: str, version: str) -> Resource | None:
        """The content of a version that it was offered; None if that was long ago."""
        for snapshot in (self.offered, self.earlier):
            found = snapshot.resources(type_url).get(name) if snapshot else None
            if found is not None and found.version == version:
                return found
        return None

    def has_all(self) -> bool:
        """Whether it has accepted all that it was offered."""
        if self.offered is None:
            return False
        wanted = tuple(self.offered.versions.get(type_url, "") for type_url in _CONFIRMED)
        if self.confirmed == wanted:
            return True
        if not all(self._holds(type_url) for type_url in _CONFIRMED):
            return False
        held = self.held.get(ENDPOINTS, {})
        if not all(r.eds_name in held for r in self.offered.resources(CLUSTERS).values() if r.eds_name):
            return False
        self.confirmed = wanted
        return True

    def _holds(self, type_url: str) -> bool:
        """Whether it accepted every resource of the type; of routes those that a listener asks for."""
        assert self.offered is not None, "asked by the caller"
        held, resources = self.held.get(type_url, {}), self.offered.resources(type_url)
        asked = self.offered.resources(LISTENERS) if type_url == ROUTES else resources
        return all(held.get(name) == resource.version for name, resource in resources.items() if name in asked)


class Streams:
    """All open streams, by the node object that the server keeps per stream: ids may be used twice by mistake.

    Mutable: the table, by `open` and `close`.
    """

    def __init__(self) -> None:
        self._by_node: dict[int, LiveStream] = {}

    def open(self, node: Node) -> LiveStream:
        """A stream began."""
        return self._by_node.setdefault(id(node), LiveStream(node))

    def close(self, node: Node) -> LiveStream | None:
        """It has ended."""
        return self._by_node.pop(id(node), None)

    def of(self, node: Node) -> LiveStream | None:
        """The stream of this very node object."""
        return self._by_node.get(id(node))

    def accepted(self, stream: LiveStream, type_url: str, resources: Mapping[str, str]) -> None:
        """It accepted these (name to version)."""
        stream.held.setdefault(type_url, {}).update(resources)
        refused = stream.refused.get(type_url)
        for name in resources if refused else ():
            # Last good in place of what was refused is no change of mind about the latter.
            if refused and name in refused and refused[name][0] == resources[name]:
                del refused[name]

    def refused(self, stream: LiveStream, type_url: str, resources: Mapping[str, str], error: str) -> None:
        """It refused these."""
        known = stream.refused.setdefault(type_url, {})
        known.update({name: (version, error) for name, version in resources.items()})

    def have_taken(self, type_url: str, name: str) -> bool:
        """Whether every Envoy has answered for a resource as it is offered now; who has none of it has."""
        return all(_has_answered(stream, type_url, name) for stream in self)

    def __iter__(self) -> Iterator[LiveStream]:
        return iter(list(self._by_node.values()))

    def __len__(self) -> int:
        return len(self._by_node)


def _has_answered(stream: LiveStream, type_url: str, name: str) -> bool:
    wanted = stream.offered.resources(type_url).get(name) if stream.offered else None
    held = stream.held.get(type_url, {})
    # One that holds nothing at all is only just starting.
    return wanted is None or not held or name in stream.refused.get(type_url, {}) or held.get(name) == wanted.version
