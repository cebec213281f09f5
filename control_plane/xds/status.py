"""How far a client is with one type: the word, the versions, and what it last refused. Pure values."""

from dataclasses import dataclass
from enum import Enum

from control_plane.xds.lane import Lane, Rejection


class SyncState(Enum):
    """The words of Envoy's own client status (envoy.service.status.v3.ConfigStatus)."""

    SYNCED = "SYNCED"
    NOT_SENT = "NOT_SENT"
    STALE = "STALE"
    ERROR = "ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneStatus:
    """One type on one stream. `acked` and `sent` are versions, empty before the first; counts are of this stream."""

    state: SyncState
    acked: str
    sent: str
    rejection: Rejection | None
    pushes: int
    acks: int
    nacks: int


def status_of(lane: Lane) -> LaneStatus:
    """The status of a lane: STALE while an answer is outstanding or a push waits, ERROR from a NACK to the next ACK."""
    return LaneStatus(
        state=_state(lane),
        acked=lane.acked,
        sent=lane.sent,
        rejection=lane.rejection,
        pushes=lane.pushes,
        acks=lane.acks,
        nacks=lane.nacks,
    )


def _state(lane: Lane) -> SyncState:
    if lane.in_flight is not None or lane.waiting_since is not None:
        return SyncState.STALE
    if lane.rejection is not None:
        return SyncState.ERROR
    return SyncState.SYNCED if lane.acked else SyncState.NOT_SENT
