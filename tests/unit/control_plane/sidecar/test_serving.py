"""The order in which a change reaches the picker and the Envoys, and what the picker is given meanwhile."""

from typing import Any

from control_plane.compile import Node
from control_plane.fleet.model import static_fleet
from control_plane.policy import Document
from control_plane.sidecar.parts import Parts
from control_plane.sidecar.picker_lane import settings_of
from control_plane.sidecar.serving import Serving
from control_plane.sidecar.slow_loop import SlowLoop
from ext_proc.core.settings import PickerSettings
from tests.unit.control_plane.sidecar.in_process import FIRST, SECOND, THIRD
from tests.unit.control_plane.sidecar.slow_loops import CANARY, connect, document, fleet_of, offer, started


class Lane:
    """In place of the picker's lane. Mutable: what happened, and what is wanted."""

    def __init__(self, wanted: PickerSettings) -> None:
        self.wanted = wanted
        self.events: list[str] = []

    def want(self, settings: PickerSettings) -> None:
        """Noted."""
        self.wanted = settings
        self.events.append("want")

    def publish(self) -> None:
        """Noted."""
        self.events.append("publish")

    def published(self) -> None:
        """Noted."""
        self.events.append("published")

    def named(self) -> set[str]:
        """What the picker may name."""
        return {endpoint.address for pool in self.wanted.pools for endpoint in pool.endpoints}


def settings(policy: Document) -> PickerSettings:
    """The picker's settings for the policy itself."""
    return settings_of(policy, static_fleet(policy.policy), "", "")


def serving(lane: Lane, loop: SlowLoop | None, *, picker: bool = True) -> Serving:
    """Over these parts alone."""
    nothing: Any = None
    return Serving(
        Parts(
            source=nothing,
            sources=nothing,
            certificates=nothing,
            history=nothing,
            messages=nothing,
            clock=nothing,
            wall_clock=nothing,
            publish=lane.publish,
            slow_loop=loop,
            picker=_as_lane(lane) if picker else None,
        )
    )


def _as_lane(lane: Lane) -> Any:
    return lane


def test_the_order() -> None:
    """The picker lets go before Envoys are told, and is given when they have been."""
    policy = document(FIRST)
    lane = Lane(settings(policy))
    serving(lane, None).serve(document(SECOND), fleet_of(SECOND))
    assert lane.events == ["want", "publish", "published"]
    assert lane.named() == {SECOND}


def test_settings_that_are_known_already() -> None:
    """They are not made again."""
    policy = document(FIRST)
    lane = Lane(settings(policy))
    known = settings(document(THIRD))
    serving(lane, None).serve(policy, fleet_of(FIRST), known)
    assert lane.wanted is known


def test_without_a_picker() -> None:
    """Envoys alone are told."""
    policy = document(FIRST)
    lane = Lane(settings(policy))
    one = serving(lane, None, picker=False)
    one.serve(policy, fleet_of(FIRST))
    one.serve_endpoints(policy, fleet_of(SECOND), frozenset({"p"}))
    assert lane.events == ["publish", "publish"]


def test_other_endpoints() -> None:
    """Only the pools that changed are made anew; a pool that is not told of keeps what it had, and the picker is not
    disturbed by what changes nothing for it."""
    policy = document(FIRST)
    lane = Lane(settings(policy))
    before = lane.wanted
    one = serving(lane, None)
    one.serve_endpoints(policy, fleet_of(SECOND), frozenset({"other"}))
    assert lane.wanted.pools == before.pools
    one.serve_endpoints(policy, fleet_of(SECOND), frozenset({"p"}))
    assert lane.named() == {SECOND}
    assert lane.events == ["publish", "published", "want", "publish", "published"]


def test_while_a_candidate_is_under_way() -> None:
    """A pool that both policies have is as the rest has it, whatever the candidate says or discovery finds for it."""
    loop = started(FIRST, more=CANARY)
    connect(loop, Node(id="canary-1"))
    newer = offer(loop, SECOND, more=CANARY, now=0.0)
    lane = Lane(settings(newer))
    one = serving(lane, loop)
    one.serve(newer, fleet_of(SECOND))
    assert lane.named() == {FIRST}
    one.serve_endpoints(newer, fleet_of(SECOND, THIRD), frozenset({"p"}))
    assert lane.named() == {FIRST}
    loop.rollout.refuse("for the test")
    one.serve(loop.document, fleet_of(FIRST))
    assert lane.named() == {FIRST}
    offer(loop, SECOND, more=CANARY, force=True)
    one.serve(newer, fleet_of(SECOND, THIRD))
    assert lane.named() == {SECOND, THIRD}
