"""Access logs, served to Envoy as its access log service: what became of the picks, into the core as events.

Envoy keeps one stream per worker and logger open and sends batches. Records are advisory: what is lost or garbled costs
accuracy and never a request, so nothing here raises or ends a stream.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final

from ext_proc.core.events import AttemptEnded, FirstToken, LoadReported
from ext_proc.counters import Counters
from ext_proc.signals import orca
from ext_proc.wire_logs import LoadSeen, LogEvent, LogWire
from ext_proc.wire_orca import OrcaWire

MAX_ANSWERING: Final = 65_536
"""Attempts whose first token is remembered, as many as the ledger has reservations. Beyond, the oldest is forgotten and
its first token may be told a second time. The same for those that have told their load."""


_Attempts = OrderedDict[tuple[str, str], bool]


class Outcomes:
    """Serves all access log streams (a `LogHandler` of `ext_proc.transport.interface`).

    Mutable: the counters, and which attempts are past their first token or have told their load. Envoy repeats both in
    every later record of the attempt; told again, they would look like fresh life in an engine that has hung since.
    Single writer: `feed`.
    """

    def __init__(
        self,
        wire: LogWire,
        orca_wire: OrcaWire,
        *,
        on_event: Callable[[LogEvent | LoadReported], None],
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        """`on_event` gets each event in the order of the records and must not raise; `clock` is monotonic seconds."""
        self.orca_names: Mapping[str, tuple[str, ...]] | None = None
        """Number → its names in load headers (`ext_proc.signals.orca`); None: they are not read."""
        self._wire = wire
        self._orca_wire = orca_wire
        self._on_event = on_event
        self._clock = clock
        self._counters = counters
        self._answering: _Attempts = OrderedDict()
        self._telling: _Attempts = OrderedDict()

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
            if isinstance(event, LoadSeen):
                self._take_load(event)
            elif self._is_news(event):
                self._on_event(event)

    def _take_load(self, seen: LoadSeen) -> None:
        if self.orca_names is None or not self._is_news_of_load(seen):
            return
        try:
            metrics = self._orca_wire.decode(seen.name, seen.value)
        except ValueError:
            self._counters.load_headers_bad += 1
            return
        self._counters.load_headers += 1
        numbers = orca.numbers_of(metrics, self.orca_names)
        if numbers:
            self._on_event(LoadReported(address=seen.address, at=seen.at, source="orca", **numbers))

    def _is_news_of_load(self, seen: LoadSeen) -> bool:
        attempt = seen.decision_id, seen.address
        if seen.is_trailer:
            return True  # it comes once, with the last record, and is newer than the header
        if seen.is_last:
            return not self._telling.pop(attempt, False)
        return _remember(self._telling, attempt)

    def _is_news(self, event: LogEvent) -> bool:
        if isinstance(event, FirstToken):
            return _remember(self._answering, (event.decision_id, event.address))
        if isinstance(event, AttemptEnded):
            self._answering.pop((event.decision_id, event.address), None)
        return True


def _remember(attempts: _Attempts, attempt: tuple[str, str]) -> bool:
    """Whether it is new among the remembered ones, where it is from now on."""
    if attempt in attempts:
        return False
    attempts[attempt] = True
    if len(attempts) > MAX_ANSWERING:
        attempts.popitem(last=False)
    return True
