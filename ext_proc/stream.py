"""One ext_proc stream: Envoy's messages in, our answers out, at once or when a request that waits has its own."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ext_proc.core.decision import Answer, Waiting
from ext_proc.core.exchange import Abandon, Action, Decided, Exchange, ExchangeError, Hold, Release, StreamClosed
from ext_proc.core.request import RequestFacts
from ext_proc.counters import Counters
from ext_proc.waiters import Holder
from ext_proc.wire import ExchangeWire


class Decider(Protocol):
    """Who answers what comes in a stream."""

    def decide(self, facts: RequestFacts) -> Answer | Waiting:
        """The answer, or that there will be one."""

    def hold(self, ticket: int, decided: Holder) -> None:
        """`decided` is to be called with the answer of this ticket."""

    def abandon(self, ticket: int) -> None:
        """Nobody waits for the answer of this ticket any more."""

    def release(self, release: Release) -> None:
        """The stream of a decision is over."""


class Stream:
    """A `StreamHandler`. Mutable: its exchange, and the answer that it waits for."""

    __slots__ = ("_counters", "_decider", "_exchange", "_later", "_wire")

    def __init__(self, decider: Decider, wire: ExchangeWire, counters: Counters) -> None:
        self._exchange = Exchange(decider.decide)
        self._decider = decider
        self._wire = wire
        self._counters = counters
        self._later: asyncio.Future[list[bytes]] | None = None

    @property
    def is_answered(self) -> bool:
        """As a `StreamHandler`'s, like all that follows."""
        return self._exchange.is_answered

    @property
    def later(self) -> "asyncio.Future[list[bytes]] | None":
        """What is sent once the answer is there."""
        return self._later

    def feed(self, data: bytes) -> list[bytes]:
        """One message of Envoy's."""
        try:
            actions = self._exchange.handle(self._wire.decode(data))
        except ExchangeError:
            self._counters.stream_errors += 1
            raise
        self._hold(actions)
        return self._encoded(actions)

    def ended(self, *, by_us: bool) -> None:
        """The stream is over."""
        for action in self._exchange.handle(StreamClosed(by_us=by_us)):
            if isinstance(action, Release):
                self._decider.release(action)
            elif isinstance(action, Abandon):
                self._decider.abandon(action.ticket)

    def _hold(self, actions: Sequence[Action]) -> None:
        for action in actions:
            if isinstance(action, Hold):
                self._later = asyncio.get_running_loop().create_future()
                self._decider.hold(action.ticket, self._decided)

    def _decided(self, answer: Answer | Waiting) -> None:
        """The answer has come, or that the request has to wait on."""
        later = self._later
        assert later is not None, "who did not wait has its answer"
        actions = self._exchange.handle(Decided(answer))
        self._hold(actions)
        later.set_result(self._encoded(actions))

    def _encoded(self, actions: Sequence[Action]) -> list[bytes]:
        answers = (self._wire.encode(action) for action in actions)
        return [answer for answer in answers if answer is not None]
