"""The word for each situation of a lane."""

import pytest

from control_plane.xds.kinds import CLUSTERS
from control_plane.xds.lane import InFlight, Lane, Rejection
from control_plane.xds.status import SyncState, status_of

FLIGHT = InFlight("1", "v", {}, complete=False)
REJECTION = Rejection("v", "no", ())


@pytest.mark.parametrize(
    ("lane", "state"),
    [
        (Lane(CLUSTERS), SyncState.NOT_SENT),
        (Lane(CLUSTERS, in_flight=FLIGHT), SyncState.STALE),
        (Lane(CLUSTERS, acked="v", waiting_since=1.0), SyncState.STALE),
        (Lane(CLUSTERS, acked="v"), SyncState.SYNCED),
        (Lane(CLUSTERS, acked="v", rejection=REJECTION), SyncState.ERROR),
        (Lane(CLUSTERS, rejection=REJECTION, in_flight=FLIGHT), SyncState.STALE),
    ],
)
def test_state(lane: Lane, state: SyncState) -> None:
    """Outstanding beats rejected beats accepted."""
    assert status_of(lane).state is state
