"""What is told of each Envoy: one row per stream, and the last row of those that have gone. Pure.

A row is JSON-able: `node`, `cluster`, `version`, `address`, `protocol` (`delta` or `sotw`), `connected`, and `types`:
by short name (`CDS`, `EDS`, `LDS`, `RDS`, and `SDS`, `RTDS` where it asks for them) `state`, `version_acked`,
`version_sent`, `error`, `resources` (those that the error names), `pushes`, `acks`, `nacks`. The server adds `left_out`
for those that are connected.
"""

from collections.abc import Mapping
from typing import Any

from control_plane.compile.node import Node
from control_plane.xds.kinds import ASKED_BY_ALL, push_rank, short_name
from control_plane.xds.status import LaneStatus, SyncState

MAX_GONE = 256
"""Envoys remembered after they have gone: enough to see who is missing; restarts under random ids stay bounded."""

Row = dict[str, Any]

_NOT_ASKED = LaneStatus(state=SyncState.NOT_SENT, acked="", sent="", rejection=None, pushes=0, acks=0, nacks=0)


def row(node: Node, address: str, protocol: str, lanes: Mapping[str, LaneStatus], *, connected: bool) -> Row:
    """The row of one stream; a type that all ask for and that it has not asked for yet is NOT_SENT."""
    known = dict.fromkeys(ASKED_BY_ALL, _NOT_ASKED) | dict(lanes)
    return {
        "node": node.id,
        "cluster": node.cluster,
        "version": ".".join(str(part) for part in node.version) if node.version else None,
        "address": address,
        "protocol": protocol,
        "connected": connected,
        "types": {short_name(type_url): _cell(known[type_url]) for type_url in sorted(known, key=push_rank)},
    }


def _cell(status: LaneStatus) -> dict[str, object]:
    return {
        "state": status.state.value,
        "version_acked": status.acked,
        "version_sent": status.sent,
        "error": status.rejection.text if status.rejection else None,
        "resources": list(status.rejection.resources) if status.rejection else [],
        "pushes": status.pushes,
        "acks": status.acks,
        "nacks": status.nacks,
    }


class Departed:
    """The last rows of Envoys that have no stream. Mutable: the table, oldest first; by these methods only."""

    def __init__(self) -> None:
        self._rows: dict[str, Row] = {}

    def left(self, last: Row) -> None:
        """An Envoy's stream ended, and this was its row."""
        self._rows.pop(last["node"], None)
        self._rows[last["node"]] = last
        while len(self._rows) > MAX_GONE:
            del self._rows[next(iter(self._rows))]

    def rows(self, connected: frozenset[str]) -> list[Row]:
        """The rows of those that are not among the `connected` node ids; these are forgotten here."""
        for node_id in connected & self._rows.keys():
            del self._rows[node_id]
        return list(self._rows.values())
