"""The record of each decision: what was seen, what was chosen and why, and what came of it.

>>> record.as_dict()["reason"]
'cache: 1,536 of 1,600 tokens on 127.0.0.1:8001, queue 0'
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ext_proc.core.decision import Degraded
from ext_proc.core.events import AttemptEnded, AttemptStarted, Event, FirstToken, RequestEnded
from ext_proc.core.evidence import words_of_attempt

# A few minutes at ten requests a second; each record is about 2 KB.
MAX_DECISIONS = 2_048

# Enough to see why the best won; a table of a thousand candidates explains nothing and costs on every pick.
MAX_CANDIDATES = 8

# Envoy is told to try again ten times at most.
MAX_TRIES = 11


@dataclass(frozen=True, slots=True)
class Candidates:
    """The best candidates, best first; each term is one column."""

    addresses: tuple[str, ...]
    costs: tuple[float, ...]
    terms: Mapping[str, tuple[float, ...]]

    def as_list(self) -> list[dict[str, Any]]:
        """One row for each candidate."""
        return [
            {"address": address, "terms": {name: column[row] for name, column in self.terms.items()}, "cost": cost}
            for row, (address, cost) in enumerate(zip(self.addresses, self.costs, strict=True))
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a request was like, without a word of it: `tokens` are those of its prompt, about."""

    kind: str = ""
    engine_model: str = ""
    tokens: int = 0
    max_tokens: int | None = None
    has_session: bool = False
    size: int = 0
    """Bytes of the prompt, where its tokens are an estimate by them."""
    counted_by: str = "text"
    """`tokens`: they are exactly those that the engine computes; `text`: an estimate, with the reason."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "kind": self.kind,
            "engine_model": self.engine_model,
            "tokens": self.tokens,
            "max_tokens": self.max_tokens,
            "has_session": self.has_session,
            "counted_by": self.counted_by,
        }


@dataclass(frozen=True, slots=True)
class Predicted:
    """What the strategy expected of its choice; None where it does not predict that, or not yet."""

    cached_tokens: int | None = None
    wait_ms: float | None = None
    ttft_ms: float | None = None
    held_tokens: int | None = None
    """Tokens of the prompt that the prefix index has there, however much that is trusted (`ext_proc.core.truth`)."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"cached_tokens": self.cached_tokens, "wait_ms": self.wait_ms, "ttft_ms": self.ttft_ms}


@dataclass(frozen=True, slots=True)
class Beside:
    """What the pool's shadow would have done (`ext_proc.core.shadow`); costs are in the units of who reckons them."""

    strategy: str
    address: str
    regret: float
    live_regret: float

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "strategy": self.strategy,
            "address": self.address,
            "regret": self.regret,
            "live_regret": self.live_regret,
        }


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of a request, as its log record told it. `why`: what was wrong; empty for one that answered."""

    address: str
    ended_at: float
    status: int
    why: str

    def as_dict(self, since: float) -> dict[str, Any]:
        """JSON values; times are milliseconds after `since`."""
        ended_ms = round(1e3 * (self.ended_at - since), 1)
        return {"address": self.address, "ended_ms": ended_ms, "status": self.status, "why": self.why}


@dataclass(slots=True)
class Outcome:
    """What came of a request; None where no log record told it yet. Mutable: filled in by events."""

    served: str | None = None
    status: int | None = None
    attempts: int = 0
    ttft_ms: float | None = None
    cached_tokens: int | None = None
    aborted: bool = False
    tries: list[Attempt] = field(default_factory=list)

    def apply(self, event: Event) -> None:
        """Takes in what an event tells."""
        match event:
            case RequestEnded():
                self._ended(event)
            case AttemptEnded():
                if len(self.tries) < MAX_TRIES:
                    self.tries.append(Attempt(event.address, event.at, event.status, words_of_attempt(event)))
            case _ if self.status is not None:
                pass  # attempts and requests are told on two streams: a late record of an attempt is no news
            case AttemptStarted():
                self.served = event.address
                self.attempts += 1
            case FirstToken():
                self.served = event.address
                self.ttft_ms = event.ttft_ms
            case _:
                pass

    def _ended(self, event: RequestEnded) -> None:
        self.served = event.served or self.served
        self.status = event.status
        self.attempts = event.attempts
        self.aborted = event.aborted
        if event.ttft_ms is not None:
            self.ttft_ms = event.ttft_ms
        if event.cached_tokens is not None:
            self.cached_tokens = event.cached_tokens

    def as_dict(self, since: float = 0.0) -> dict[str, Any]:
        """JSON values; the times of tries are after `since`."""
        return {
            "served": self.served,
            "status": self.status,
            "attempts": self.attempts,
            "ttft_ms": self.ttft_ms,
            "cached_tokens": self.cached_tokens,
            "aborted": self.aborted,
            "tries": [each.as_dict(since) for each in self.tries],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One decision. `time` is Unix time in seconds, `at` the caller's monotonic clock.

    Mutable: `outcome`, and `soft_failures`, the endpoints that failed this request without being broken for sure.
    """

    id: str
    time: float
    at: float
    model: str
    pool: str
    strategy: str
    endpoints: tuple[str, ...]
    reason: str
    candidates: Candidates
    shadow: Beside | None = None
    request: Shape = Shape()
    predicted: Predicted = Predicted()
    left_out: tuple[tuple[str, str], ...] = ()
    """Some of those who were no candidates, and why (`ext_proc.core.left_out`)."""
    left_out_count: int = 0
    outcome: Outcome = field(default_factory=Outcome)
    soft_failures: list[str] = field(default_factory=list)
    waited_s: float = 0.0
    """How long the request had waited for a place before it was decided about."""
    degraded: Degraded | None = None
    """How it is not answered as it was asked."""

    def as_dict(self) -> dict[str, Any]:
        """JSON values, as the admin interface shows them."""
        return {
            "id": self.id,
            "time": self.time,
            "model": self.model,
            "pool": self.pool,
            "strategy": self.strategy,
            "endpoints": list(self.endpoints),
            "reason": self.reason,
            "request": self.request.as_dict(),
            "candidates": self.candidates.as_list(),
            "left_out": [{"address": address, "why": why} for address, why in self.left_out],
            "left_out_count": self.left_out_count,
            "predicted": self.predicted.as_dict(),
            "waited_ms": round(self.waited_s * 1_000, 3),
            "degraded": None if self.degraded is None else self.degraded.as_dict(),
            "shadow": None if self.shadow is None else self.shadow.as_dict(),
            "outcome": self.outcome.as_dict(self.at),
        }


class Decisions:
    """The latest decisions. Mutable: the ring; the picker is the only writer."""

    def __init__(self, limit: int = MAX_DECISIONS) -> None:
        self._limit = limit
        self._records: OrderedDict[str, Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def add(self, record: Record) -> None:
        """Keeps a record, and drops the oldest beyond the limit."""
        self._records[record.id] = record
        if len(self._records) > self._limit:
            self._records.popitem(last=False)

    def get(self, decision_id: str) -> Record | None:
        """The record of that id, if it is still kept."""
        return self._records.get(decision_id)

    def latest(self, limit: int) -> list[Record]:
        """The latest records, newest first."""
        newest = reversed(self._records.values())
        return [record for record, _ in zip(newest, range(max(0, limit)), strict=False)]
