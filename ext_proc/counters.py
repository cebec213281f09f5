"""What the picker counts about itself, as plain numbers: whoever renders metrics reads them, nobody here knows how."""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

DECISION_BUCKETS_S: Final = (50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 50e-3, 250e-3)
"""Upper bounds in seconds: a pick of a short prompt takes about 100 µs; at 250 ms Envoy no longer waits."""

WAIT_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds in seconds: requests are looked after every 50 ms, and wait five minutes at most."""

MAX_REASONS: Final = 32
"""Reasons for not picking are fixed texts; should one ever carry data, the rest is counted as `OTHER`."""
OTHER: Final = "other"


@dataclass(slots=True)
class Histogram:
    """Mutable: counts per bucket (not cumulative, the last one is what exceeds all bounds) and the sum."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, value: float) -> None:
        """Counts `value` in the first bucket whose bound it does not exceed."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class Counters:
    """Mutable: everything; written by the service on its event loop. All only grow."""

    picked: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Picks by pool and strategy."""
    rejected: Counter[int] = field(default_factory=Counter)
    """Requests answered here, by HTTP status."""
    degraded: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    """Requests answered otherwise than they were asked, by model, level and who answered (`ext_proc.core.detours`)."""
    unpicked: Counter[str] = field(default_factory=Counter)
    """Requests left to Envoy, by reason."""
    decision_seconds: Histogram = field(default_factory=lambda: Histogram(DECISION_BUCKETS_S))
    wait_seconds: Histogram = field(default_factory=lambda: Histogram(WAIT_BUCKETS_S))
    """How long requests had waited for a place that went in after all."""
    streams: int = 0
    """ext_proc streams that came."""
    stream_errors: int = 0
    """ext_proc streams that we ended with an error: garbage, protocol errors, unserved modes."""
    internal_errors: int = 0
    """Exceptions of our own code that were kept from doing harm; any is a bug."""
    ended: Counter[str] = field(default_factory=Counter)
    """Picked requests that ended, by `outcome`: `ok`, `client_error`, `server_error`, `aborted`."""
    tokens: Counter[str] = field(default_factory=Counter)
    """Tokens of picked requests as engines told them, by `kind`: `prompt`, `cached` (of these), `completion`."""
    predictions_changed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """New verdicts about a pool's predictions, by pool and verdict (`ext_proc.core.truth`)."""
    log_records: int = 0
    log_messages_bad: int = 0
    scrapes_ok: int = 0
    scrapes_failed: int = 0
    load_headers: int = 0
    """Load headers (ORCA) of answers that were read."""
    load_headers_bad: int = 0
    load_reports: int = 0
    """Heartbeats of reporters that were taken."""
    load_reports_refused: Counter[str] = field(default_factory=Counter)
    """Streams of reporters that we ended, by status."""
    reservations_expired: int = 0
    """Reservations that neither a stream's end nor a log record ended."""

    def count_unpicked(self, reason: str) -> None:
        """Counts a request that was left to Envoy."""
        known = reason in self.unpicked or len(self.unpicked) < MAX_REASONS
        self.unpicked[reason if known else OTHER] += 1

    def count_ended(self, status: int, *, aborted: bool) -> None:
        """Counts the end of a picked request; 0 is the status of one that never got an answer."""
        if aborted:
            outcome = "aborted"
        elif status == 0 or status >= 500:
            outcome = "server_error"
        else:
            outcome = "client_error" if status >= 400 else "ok"
        self.ended[outcome] += 1

    def count_tokens(self, prompt: int | None, cached: int | None, completion: int | None) -> None:
        """Counts the tokens of one request; None was not told."""
        for kind, number in (("prompt", prompt), ("cached", cached), ("completion", completion)):
            if number is not None:
                self.tokens[kind] += number
