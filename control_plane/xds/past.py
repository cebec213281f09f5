"""What was served before, found by the version of its clusters. Pure.

A state-of-the-world client that reconnects says which version it holds, not which clusters those are. If that version
is remembered, a cluster that has been dropped since can be kept until nothing routes to it, as in `transition`. Beside
the snapshots themselves these are the mixtures of two that sessions serve while clusters are on their way out.
"""

from control_plane.xds.kinds import CLUSTERS
from control_plane.xds.snapshot import Snapshot

MAX_REMEMBERED = 32
"""Snapshots kept: some edits' worth for a few kinds of Envoy. Resources that did not change are shared between them."""


class Past:
    """The last snapshots that were served. Mutable: the table, oldest first; `remember` writes it, called by the server
    and its sessions."""

    def __init__(self) -> None:
        self._by_version: dict[str, Snapshot] = {}

    def remember(self, snapshot: Snapshot) -> None:
        """Keeps it, with the endpoints that it was last seen with; beyond `MAX_REMEMBERED` the oldest go."""
        version = snapshot.versions.get(CLUSTERS, "")
        if self._by_version.get(version) is snapshot:
            return
        self._by_version.pop(version, None)
        self._by_version[version] = snapshot
        while len(self._by_version) > MAX_REMEMBERED:
            del self._by_version[next(iter(self._by_version))]

    def of_version(self, clusters: str) -> Snapshot | None:
        """The snapshot whose clusters have this version, None if it is not known (any more)."""
        return self._by_version.get(clusters)
