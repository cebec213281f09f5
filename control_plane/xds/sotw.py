"""The state-of-the-world variant: each request lists everything wanted, and omission from a full answer deletes.

    client: CDS, version "", nonce ""          server: CDS, version V1, nonce 1, all clusters
    client: CDS, version V1, nonce 1           (an ACK: silence until something changes)

Source: "xDS transport protocol", SotW parts. Pure.
"""

from typing import Final

from control_plane.xds.kinds import FULL_STATE
from control_plane.xds.lane import Answer, Content, Lane, View, due_resources, pushed_version
from control_plane.xds.requests import SotwRequest


class SotwDialect:
    """Reads `DiscoveryRequest`s into lanes and composes `DiscoveryResponse`s. Holds no state."""

    name: Final = "sotw"

    def receive(self, lane: Lane, request: SotwRequest, *, first: bool) -> None:
        """Takes a request into the lane; one with a stale nonce changes nothing."""
        # A nonce is only stale against a response of this stream: a first request may still carry that of another.
        if lane.nonce and request.nonce != lane.nonce:
            return
        answers = lane.in_flight is not None
        if answers:
            lane.settle(request.error)
        if lane.nonce == "":
            lane.claim = request.version if first or lane.claim is not None else None
        before = lane.subscription
        lane.subscription = before.replaced(request.names, legacy_wildcard=lane.type_url in FULL_STATE)
        if first:
            lane.answer_due = True
        elif lane.subscription != before:
            self._resubscribe(lane, before.names, gained_wildcard=lane.subscription.wildcard and not before.wildcard)
        elif not answers and lane.clusters_changed:
            # Envoy asks again for the same names when a changed cluster warms; nonce and version are the old ones.
            lane.owed |= lane.subscription.names
            lane.dirty = True

    def _resubscribe(self, lane: Lane, before: frozenset[str], *, gained_wildcard: bool) -> None:
        added = lane.subscription.names - before
        lane.owed |= added
        lane.answer_due |= bool(added) or gained_wildcard
        lane.forget_unwanted()
        lane.dirty = True

    def compose(self, lane: Lane, view: View) -> Content | None:
        """What the client is owed: for clusters and listeners everything wanted, else only what it lacks."""
        claim, lane.claim = lane.claim, None
        due, lane.answer_due = lane.answer_due, False
        if claim and claim == view.version:
            lane.held = {name: resource.version for name, resource in view.wanted.items()}
            lane.acked, due = claim, False
            lane.answer = Answer(lane.held)
        if not view.served:
            # An empty answer lets Envoy go on with what it has; to one that holds clusters it would say "delete all".
            return Content(()) if due and not (claim and lane.type_url in FULL_STATE) else None
        if lane.type_url not in FULL_STATE:
            return self._compose_partial(lane, view)
        lane.owed.clear()
        if not due and lane.held == {name: resource.version for name, resource in view.wanted.items()}:
            return None
        return Content(tuple(view.wanted.values()), complete=True)

    @staticmethod
    def _compose_partial(lane: Lane, view: View) -> Content | None:
        resources, later = due_resources(lane, view)
        for name in [name for name in lane.held if name not in view.everything]:
            del lane.held[name]
        # An answer without resources deletes nothing here. It tells the client the version of what is left after a
        # removal, so that this is recognised after a reconnect and not sent again. It is no answer to a subscription:
        # one that shrinks needs none.
        refreshed, lane.refreshed = lane.refreshed, False
        told = (lane.sent or lane.acked) if refreshed and not lane.subscription.is_empty() else ""
        is_news = told not in ("", pushed_version(lane, view, ()))
        return Content(resources, later=later) if resources or is_news else None
