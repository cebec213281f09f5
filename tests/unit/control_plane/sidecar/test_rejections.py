"""Refused contents outlive a restart."""

import json

import pytest

from control_plane.compile import Capabilities, Feature, Node, capabilities
from control_plane.sidecar.rejections import as_json, restore
from control_plane.xds.kinds import CLUSTERS
from control_plane.xds.quarantine import Quarantine, Rejected


def rejected(name: str, found: Capabilities, error: str = "bad", *, is_suspect: bool = False) -> Rejected:
    """A refusal by an Envoy with these capabilities."""
    return Rejected(
        scope=(found, "edge"), type_url=CLUSTERS, name=name, version="1", error=error, policy="v", is_suspect=is_suspect
    )


def test_round_trip() -> None:
    """By way of JSON the same comes back, for the same kind of Envoy; suspicions and local troubles do not."""
    old, new = capabilities(Node(id="x", version=(1, 36, 0))), capabilities(Node(id="x", version=(1, 40, 0)))
    before, after = Quarantine(), Quarantine()
    kept = (rejected("a", old), rejected("b", new))
    for one in (*kept, rejected("c", new, is_suspect=True), rejected("d", new, "cannot bind '0.0.0.0:80'")):
        before.reject(one)
    restore(after, json.loads(json.dumps(as_json(before))))
    assert after.rejections() == kept
    assert Feature.PICKER in new.features


@pytest.mark.parametrize("item", [{}, {"lacks": 1}, {"lacks": [], "group": "g"}])
def test_what_cannot_be_read(item: dict[str, object]) -> None:
    """Is left out."""
    quarantine = Quarantine()
    restore(quarantine, [item])
    assert not quarantine.rejections()
