"""How far a candidate is with the Envoys of the first groups: who lacks it, who has gone, who may yet come back.

What follows from that is the rollout's decision.
"""

from control_plane.sidecar.streams import Streams
from control_plane.xds.rollout import Event, Rollout

MAX_GONE = 1_024
"""Envoys that have gone in a rollout and are remembered by name: a first group is a few of the fleet."""

RETURN_S = 5.0
"""How long an Envoy of a first group may be without a stream in a rollout and count as before. It comes back within a
second where the stream ended for its age; one that is away for longer may have died of the new policy."""

COMEBACK_S = 30.0
"""How long a rollout at the start waits for Envoys of the first groups to come back: that is the longest pause between
two tries of an Envoy (`retry_initial_delay` 0.5 s, `retry_max_delay` 30 s by default, Envoy's page on xDS retries)."""


class Progress:
    """Mutable: who has gone, the last time it was looked. `now` is seconds of the rollout's clock."""

    def __init__(self, rollout: Rollout, streams: Streams) -> None:
        self._rollout = rollout
        self._streams = streams
        self._gone: dict[str, float] = {}
        self._now = 0.0
        self._comeback_until = float("-inf")

    @property
    def misses_any(self) -> bool:
        """Whether an Envoy of the first groups has gone and is not back yet."""
        return bool(self._gone)

    def await_comeback(self, now: float) -> None:
        """The process has just begun: that no Envoy of the first groups is connected says nothing for a while."""
        self._comeback_until = now + COMEBACK_S

    def begin(self, now: float) -> None:
        """Another policy is offered."""
        self._gone.clear()
        self._now = now

    def left(self, node_id: str) -> None:
        """An Envoy that was offered the candidate has gone."""
        self._gone[node_id] = self._now
        while len(self._gone) > MAX_GONE:
            del self._gone[next(iter(self._gone))]

    def look(self, now: float) -> Event | None:
        """Tells the rollout; what came of it."""
        self._now = now
        candidate = self._rollout.candidate
        if candidate is None:
            return None
        asked = [stream for stream in self._streams if stream.version == candidate and not stream.is_unwanted]
        lacking = [stream.node.id for stream in asked if not stream.has_all()]
        for stream in asked:
            if stream.has_all():
                self._gone.pop(stream.node.id, None)
        away = [node_id for node_id in self._gone if node_id not in lacking]
        returning = {node_id for node_id, since in self._gone.items() if now - since < RETURN_S}
        if not asked and now < self._comeback_until:
            self._rollout.postpone(now)
            return None
        if returning and returning >= {*lacking, *away}:
            return None  # nothing can be said of them yet
        words = ", ".join([*lacking, *(f"{node_id}, which has gone" for node_id in away)])
        return self._rollout.observe(all_accepted=not words, now=now, lacking=words)
