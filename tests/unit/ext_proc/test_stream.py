"""What becomes of a stream's messages: who is asked, when the answer comes, and who hears of the end."""

from collections.abc import Callable

import pytest

from ext_proc.core.decision import Answer, Named, Waiting
from ext_proc.core.exchange import ExchangeError, Release
from ext_proc.core.request import RequestFacts
from ext_proc.counters import Counters
from ext_proc.stream import Stream
from ext_proc.wire import ExchangeWire
from protos.messages import load
from tests.unit.ext_proc import envoy_messages as envoy

NAMED = Named(decision_id="d1", endpoints=("10.0.0.1:80",))


class Desk:
    """Answers as it is told to. Mutable: what it was asked and told."""

    def __init__(self, answer: Answer | Waiting) -> None:
        self.answer = answer
        self.asked: list[RequestFacts] = []
        self.held: dict[int, Callable[[Answer | Waiting], None]] = {}
        self.abandoned: list[int] = []
        self.released: list[Release] = []
        self.counters = Counters()
        self.stream = Stream(self, ExchangeWire(load()), self.counters)

    def decide(self, facts: RequestFacts) -> Answer | Waiting:
        """As a `Decider`'s, like what follows."""
        self.asked.append(facts)
        return self.answer

    def hold(self, ticket: int, decided: Callable[[Answer | Waiting], None]) -> None:
        """Kept."""
        self.held[ticket] = decided

    def abandon(self, ticket: int) -> None:
        """Noted."""
        self.abandoned.append(ticket)

    def release(self, release: Release) -> None:
        """Noted."""
        self.released.append(release)


async def test_answered_at_once() -> None:
    """The answer to a body is the pick; the end of the stream is told once."""
    desk = Desk(NAMED)
    (answer,) = desk.stream.feed(envoy.body())
    assert envoy.metadata(answer)["x-gateway-destination-endpoint"] == "10.0.0.1:80"
    assert (desk.stream.is_answered, desk.stream.later) == (True, None)
    assert [facts.cluster for facts in desk.asked] == ["pool/p"]
    desk.stream.ended(by_us=False)
    desk.stream.ended(by_us=False)
    assert [(each.decision_id, each.closed_by_us) for each in desk.released] == [("d1", False)]


async def test_answered_later() -> None:
    """Envoy is asked for patience, and the answer follows; who has to wait on gets another future."""
    desk = Desk(Waiting(7, 1.0))
    (patience,) = desk.stream.feed(envoy.body())
    assert "overrideMessageTimeout" in envoy.answer(patience)
    first = desk.stream.later
    assert first is not None
    desk.held.pop(7)(Waiting(8, 1.0))
    assert first.done()
    second = desk.stream.later
    assert second is not None
    assert second is not first
    assert not second.done()
    desk.held.pop(8)(NAMED)
    (answer,) = second.result()
    assert envoy.metadata(answer)["kvpilot-decision"] == "d1"


async def test_gone_before_the_answer() -> None:
    """The ticket is given back, and nothing is released: nothing was reserved."""
    desk = Desk(Waiting(7, 1.0))
    desk.stream.feed(envoy.body())
    desk.stream.ended(by_us=False)
    assert (desk.abandoned, desk.released) == ([7], [])


async def test_what_is_no_message() -> None:
    """Ends the stream in error, which is counted; nobody is asked."""
    desk = Desk(NAMED)
    with pytest.raises(ExchangeError):
        desk.stream.feed(b"\xff\xff")
    assert (desk.counters.stream_errors, desk.asked) == (1, [])
