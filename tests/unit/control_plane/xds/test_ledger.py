"""The rows that `kvpilot status` shows."""

import json

from control_plane.compile.node import Node
from control_plane.xds import ledger
from control_plane.xds.kinds import CLUSTERS, RUNTIME, SECRETS
from control_plane.xds.lane import InFlight, Lane
from control_plane.xds.status import status_of

NODE = Node(id="envoy-1", cluster="edge", version=(1, 40, 0))


def row(node_id: str = "envoy-1", *, connected: bool = False) -> ledger.Row:
    """A row of a client that has asked for nothing."""
    return ledger.row(Node(id=node_id), "10.0.0.1:5", "sotw", {}, connected=connected)


def test_a_row_says_who_and_how_far() -> None:
    """Everything in plain JSON; types that were not asked for are NOT_SENT."""
    lane = Lane(
        CLUSTERS, in_flight=InFlight("1", "v2", {"a": "1", "b": "2"}, complete=True), sent="v2", acked="v1", pushes=2
    )
    lane.settle("cluster b: bad")
    told = ledger.row(NODE, "10.0.0.1:5", "delta", {CLUSTERS: status_of(lane)}, connected=True)
    assert json.loads(json.dumps(told)) == told
    assert {key: told[key] for key in ("node", "cluster", "version", "address", "protocol", "connected")} == {
        "node": "envoy-1",
        "cluster": "edge",
        "version": "1.40.0",
        "address": "10.0.0.1:5",
        "protocol": "delta",
        "connected": True,
    }
    assert told["types"]["CDS"] == {
        "state": "ERROR",
        "version_acked": "v1",
        "version_sent": "v2",
        "error": "cluster b: bad",
        "resources": ["b"],
        "pushes": 2,
        "acks": 0,
        "nacks": 1,
    }
    assert [told["types"][kind]["state"] for kind in ("EDS", "LDS", "RDS")] == ["NOT_SENT"] * 3


def test_types_that_only_some_ask_for_are_shown_where_they_are() -> None:
    """Secrets stand before listeners, as they are sent; nobody else has a column of them."""
    lanes = {type_url: status_of(Lane(type_url)) for type_url in (RUNTIME, SECRETS)}
    told = ledger.row(NODE, "10.0.0.1:5", "delta", lanes, connected=True)
    assert list(told["types"]) == ["CDS", "EDS", "SDS", "LDS", "RDS", "RTDS"]
    assert list(row()["types"]) == ["CDS", "EDS", "LDS", "RDS"]


def test_a_version_may_be_unknown() -> None:
    """Not every client says what it is."""
    assert row()["version"] is None


def test_those_that_left_are_remembered_until_they_are_back() -> None:
    """One row per node id, the last one."""
    departed = ledger.Departed()
    departed.left(row("one"))
    departed.left(row("two"))
    departed.left(row("one"))
    assert [told["node"] for told in departed.rows(frozenset())] == ["two", "one"]
    assert [told["node"] for told in departed.rows(frozenset({"one"}))] == ["two"]
    assert [told["node"] for told in departed.rows(frozenset())] == ["two"]


def test_the_memory_is_bounded() -> None:
    """A client that comes under ever new names does not fill it."""
    departed = ledger.Departed()
    for number in range(ledger.MAX_GONE + 1):
        departed.left(row(str(number)))
    assert len(departed.rows(frozenset())) == ledger.MAX_GONE
    assert departed.rows(frozenset())[0]["node"] == "1"
