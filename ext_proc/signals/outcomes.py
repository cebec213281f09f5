"""Access logs, served to Envoy as its access log service: what became of the picks, into the core as events.

Envoy keeps one stream per worker and logger open and sends batches. Records are advisory: what is lost or garbled costs
accuracy and never a request, so nothing here raises or ends a stream.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from ext_proc.core.events import AttemptEnded, FirstToken
from ext_proc.counters import Counters
from ext_proc.wire_logs import LogEvent, LogWire

MAX_ANSWERING: Final = 65_536
"""Attempts whose first token is remembered, as many as the ledger has reservations. Beyond, the oldest is forgotten and
its first token may be told a second time."""


class Outcomes:
    """Serves all access log streams (a `LogHandler` of `ext_proc.transport.interface`).

    Mutable: the counters, and which attempts are past their first token. Envoy repeats it in every later record of the
    attempt; told again, it would look like fresh life in an engine that has hung since. Single writer: `feed`.
    """

    def __init__(
        self, wire: LogWire, *, on_event: Callable[[LogEvent], None], clock: Callable[[], float], counters: Counters
    ) -> None:
        """`on_event` gets each event in the order of the records and must not raise; `clock` is monotonic seconds."""
        self._wire = wire
        self._on_event = on_event
        self._clock = clock
        self._counters = counters
        self._answering: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def answer(self) -> bytes:
        """The single response of such a stream."""
        return self._wire.answer

    def feed(self, data: bytes) -> None:
        """Takes one message of a stream."""
        try:
            records, events = self._wire.decode(data, self._clock())
        except ValueError:
            self._counters.log_messages_bad += 1
            return
        self._counters.log_records += records
        for event in events:
            if self._is_news(event):
                self._on_event(event)

    def _is_news(self, event: LogEvent) -> bool:
        if isinstance(event, FirstToken):
            attempt = event.decision_id, event.address
            if attempt in self._answering:
                return False
            self._answering[attempt] = None
            if len(self._answering) > MAX_ANSWERING:
                self._answering.popitem(last=False)
        elif isinstance(event, AttemptEnded):
            self._answering.pop((event.decision_id, event.address), None)
        return True
