"""What waits for a router, and what routers pass on."""

import random
from collections.abc import Sequence

from ext_proc.core.events import Event, FirstToken, Picked
from sim.virtual.line import Line
from sim.virtual.router import Kind, RoutedRequest


class Silent:
    """A router that only listens."""

    name = "silent"
    kind: Kind = "reference"

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def pick(self, request: RoutedRequest, now: float, rng: random.Random) -> Sequence[str]:
        return ()

    def observe(self, event: Event) -> None:
        self.heard.append(event)


class Talking(Silent):
    """One that tells of a pick."""

    def last_picked(self) -> Picked | None:
        return PICKED


PICKED = Picked(decision_id="r", at=0.0, address="a", uncached_tokens=1, prompt_tokens=1, max_age_s=1.0)


def first(who: str) -> FirstToken:
    """An event."""
    return FirstToken(decision_id=who, address="a", at=0.0, ttft_ms=1.0)


def line(router: Silent) -> Line:
    """Of a router."""
    return Line(router, random.Random(1), "")


def test_events_are_told_in_the_order_of_becoming_known() -> None:
    """Each once; those of one moment in the order in which they were kept."""
    router = Silent()
    waiting = line(router)
    for at, who in ((2.0, "c"), (1.0, "a"), (1.0, "b")):
        waiting.tell(at, first(who))
    waiting.catch_up(0.9)
    assert router.heard == []
    waiting.catch_up(1.0)
    waiting.catch_up(1.9)
    assert router.heard == [first("a"), first("b")]
    waiting.catch_up(2.0)
    assert router.heard == [first("a"), first("b"), first("c")]


def test_only_those_that_can_exchange() -> None:
    """A talking router's picks and events reach the other talking ones later; a silent one neither gives nor takes."""
    routers = [Talking(), Talking(), Silent()]
    lines = [line(router) for router in routers]
    for each in lines:
        each.meet(lines, 0.5)
    lines[0].tell_picked(1.0)
    lines[0].tell_of_own(1.2, first("a"))
    lines[2].tell_picked(1.0)
    lines[2].tell_of_own(1.3, first("c"))
    for each in lines:
        each.catch_up(1.6)
    assert [router.heard for router in routers] == [[first("a")], [PICKED], [first("c")]]
    lines[1].catch_up(9.0)
    assert routers[1].heard == [PICKED, first("a")]


def test_who_has_not_met_shares_nothing() -> None:
    """Also a router that could."""
    router = Talking()
    alone = line(router)
    alone.tell_picked(1.0)
    alone.tell_of_own(1.0, first("a"))
    alone.catch_up(9.0)
    assert router.heard == [first("a")]
