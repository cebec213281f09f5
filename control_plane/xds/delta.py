"""The delta variant: requests and responses carry differences, each resource has its own version.

    client: EDS, subscribe [a, b], initial_resource_versions {a: V1}     server: EDS, nonce 1, resources [b]
    client: EDS, nonce 1                                                 (an ACK)

Source: "Incremental xDS" in Envoy's xDS protocol page. Pure.
"""

from typing import Final

from control_plane.xds.kinds import FULL_STATE
from control_plane.xds.lane import Answer, Content, Lane, View, due_resources
from control_plane.xds.requests import DeltaRequest
from control_plane.xds.subscription import WILDCARD


class DeltaDialect:
    """Reads `DeltaDiscoveryRequest`s into lanes and composes `DeltaDiscoveryResponse`s. Holds no state."""

    name: Final = "delta"

    def receive(self, lane: Lane, request: DeltaRequest, *, first: bool) -> None:
        """Takes a request into the lane. Subscriptions count whatever the nonce; an answer only with the right one."""
        if lane.in_flight is not None and request.nonce == lane.in_flight.nonce:
            lane.settle(request.error)
        before = lane.subscription
        lane.subscription = before.updated(
            request.subscribe, request.unsubscribe, legacy_wildcard=lane.type_url in FULL_STATE
        )
        if first:
            lane.held = dict(request.initial_versions)
            lane.answer_due = not lane.held
            lane.answer = Answer(request.initial_versions) if lane.held else None
        elif WILDCARD in request.subscribe:
            # Asked for again is sent again, the wildcard as any name; and what the client was sent before it wanted it
            # (endpoints of a new cluster) it may have dropped.
            lane.answer_due = True
            lane.owed.update(name for name in lane.held if before.wildcard or name not in before.names)
        if first or request.subscribe or request.unsubscribe:
            self._resubscribe(lane, request, first=first)

    def _resubscribe(self, lane: Lane, request: DeltaRequest, *, first: bool) -> None:
        # A reconnecting client subscribes to all it wants and says what it holds: there only differences are owed.
        lane.owed.update(name for name in request.subscribe if not (first and name in lane.held))
        lane.owed.discard(WILDCARD)
        lane.forget_unwanted()
        for name in lane.in_flight.carried if lane.in_flight else ():
            # Given up and taken again while it was under way: the client will have it then, wherever that crosses.
            if lane.subscription.wants(name):
                lane.held.setdefault(name, "")
        if lane.subscription.wildcard:
            # The client cannot know whether the wildcard still covers the name: it must be told ("Unsubscribing").
            lane.owed.update(name for name in request.unsubscribe if name != WILDCARD)
        lane.dirty = True

    def compose(self, lane: Lane, view: View) -> Content | None:
        """What the client lacks or asked for, and what it is to drop."""
        due, lane.answer_due = lane.answer_due, False
        missing = {name for name in lane.owed if name not in view.everything}
        wants = lane.subscription.wants
        gone = {name for name in lane.held.keys() - view.everything.keys() if wants(name) and name not in view.kept}
        if not view.served:
            gone = set()  # a type that is not ours: what the client holds of it came from elsewhere
        lane.withheld = bool(gone) and not view.removals
        removed = missing if lane.withheld else missing | gone
        resources, later = due_resources(lane, view)
        if resources or removed or (due and (lane.subscription.wildcard or not view.served)):
            return Content(resources, tuple(sorted(removed)), later=later)
        if lane.held and not (lane.withheld or lane.parked):
            # The version of a response is for people only; what the client holds is known name by name.
            lane.acked = view.version
            lane.sent = lane.sent and view.version
        return None
