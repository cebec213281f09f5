"""What a recording keeps of picked requests: lengths, times and which prompts begin alike, never what they say.

    recording = Recording("tuesday", key, started_at=now)
    recording.picked(Question(...)); recording.apply(RequestEnded(...))
    recording.take()  # lines of our own trace format (docs/traces.md), as bytes

Block ids are a keyed hash (BLAKE2b, RFC 7693) of the picker's own block hashes. Those alone would let anybody who has
the file try whether some prompt began with a text that he guesses; under a key that is random, different for each
recording and never written down, an id tells that two prompts of *this* recording begin alike, and nothing else.
Sessions and users are hashed under the same key. Pure: times are the caller's monotonic seconds, the key is handed in.
"""

from collections import OrderedDict, deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import msgspec

from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.events import Event, RequestEnded, StreamEnded

VERSION: Final = 1
"""Of the format: `sim.traces.recording` reads it."""

KEY_BYTES: Final = 32
"""Of a recording's key: nobody tries 2^256 of them."""

MAX_OPEN: Final = 65_536
"""Requests in flight that are waited for, as many as the ledger has reservations; beyond, the oldest is written."""

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Lines that nobody has fetched yet: some seconds of ten thousand requests a second. What comes then is dropped."""

LOG_PATIENCE_S: Final = 10.0
"""How long after a stream's end the access log's record is waited for: it comes within a flush interval or not."""

START_OUTPUT_TOKENS: Final = 256
"""The guess of an answer's length before any was told: the median of chats."""

MAX_LABEL_CHARACTERS: Final = 256
"""Of a model's name, as the reader's limit; longer ones are some client's joke."""

# Statuses by which an engine refuses what was asked of it: no load came of these requests.
_REFUSED: Final = frozenset(range(400, 500)) - {408, 429, 499}

_ENCODER: Final = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One picked request. `blocks` are the hashes of the *whole* blocks of its prompt, `tokens` its likely length."""

    decision_id: str
    at: float
    pool: str
    model: str
    kind: str
    stream: bool
    tokens: int
    max_tokens: int | None
    blocks: tuple[int, ...]
    session: str = ""
    user: str = ""


@dataclass(slots=True)
class _Open:
    """A request whose end is not known yet. Mutable: `closed_at`, when its stream ended."""

    line: dict[str, Any]
    most: int | None
    closed_at: float | None = None


class Recording:
    """One recording.

    Mutable: what is open, what waits to be fetched, and the counts; the picker's service writes, who fetches takes.
    """

    def __init__(
        self, name: str, key: bytes, *, started_at: float, pool: str = "", requests: int | None = None
    ) -> None:
        """Of one pool, or with `pool` empty of all; at most the first `requests`."""
        self.pool = pool
        self.taken = 0
        """Requests so far, those in flight included."""
        self.dropped = 0
        """Of these, how many were lost because nobody fetched fast enough."""
        self._limit = requests
        self._started_at = started_at
        self._blocks = blake2b(digest_size=8, key=key, person=b"block")
        self._labels = blake2b(digest_size=8, key=key, person=b"label")
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unsaid = 0
        self._told_answers = 0
        self._told_tokens = 0
        self._is_taking = True
        self._put({"kvpilot_trace": VERSION, "name": name, "block_tokens": BLOCK_TOKENS})

    @property
    def is_taking(self) -> bool:
        """Whether further requests are recorded."""
        return self._is_taking and (self._limit is None or self.taken < self._limit)

    @property
    def is_done(self) -> bool:
        """Whether nothing will come any more."""
        return not self.is_taking and not self._open

    def wants(self, pool: str) -> bool:
        """Whether a request of that pool is to be told."""
        return self.is_taking and self.pool in ("", pool)

    def picked(self, question: Question) -> None:
        """Takes in one request; it is written when it ends, for only then its length is known."""
        if not self.wants(question.pool):
            return
        self.taken += 1
        while len(self._open) >= MAX_OPEN:
            self._end(next(iter(self._open)), None)
        line: dict[str, Any] = {
            # Who has waited for a place since before the beginning came with it.
            "at": max(0.0, round(question.at - self._started_at, 6)),
            "prompt": question.tokens,
            "output": 1,
            "blocks": [self._id(block) for block in question.blocks],
        }
        labels = {
            "session": self._label(question.session),
            "tenant": self._label(question.user),
            "model": _printable(question.model),
            "pool": _printable(question.pool),
        }
        line |= {key: label for key, label in labels.items() if label}
        if not question.stream:
            line["stream"] = False
        # An embedding is one forward pass, as long as its text.
        most = 1 if question.kind == "embedding" else question.max_tokens
        self._open[question.decision_id] = _Open(line, most)

    def apply(self, event: Event) -> None:
        """Learns how a request ended; events about others change nothing."""
        match event:
            case RequestEnded():
                if event.status in _REFUSED and not event.aborted:
                    if self._open.pop(event.decision_id, None) is not None:
                        self.taken -= 1
                    return
                self._end(event.decision_id, None if event.aborted else event.completion_tokens)
            case StreamEnded(closed_by_us=False):
                found = self._open.get(event.decision_id)
                if found is not None:
                    found.closed_at = event.at
            case _:
                pass

    def tick(self, now: float) -> None:
        """Gives up waiting for records that do not come; to be called now and then."""
        due = [
            decision_id
            for decision_id, found in self._open.items()
            if found.closed_at is not None and now - found.closed_at > LOG_PATIENCE_S
        ]
        for decision_id in due:
            self._end(decision_id, None)

    def stop_taking(self) -> None:
        """Records no further requests; those in flight are still waited for."""
        self._is_taking = False

    def finish(self) -> None:
        """Ends it: requests in flight are written with a guessed length."""
        self.stop_taking()
        for decision_id in list(self._open):
            self._end(decision_id, None)

    def take(self) -> bytes:
        """What has come since the last time: whole lines."""
        self._say_dropped()
        lines = b"".join(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0
        return lines

    def status(self) -> dict[str, Any]:
        """JSON values."""
        return {"pool": self.pool, "requests": self.taken, "in_flight": len(self._open), "dropped": self.dropped}

    def _end(self, decision_id: str, output_tokens: int | None) -> None:
        found = self._open.pop(decision_id, None)
        if found is None:
            return
        if output_tokens is None and found.most != 1:
            mean = self._told_tokens / self._told_answers if self._told_answers else START_OUTPUT_TOKENS
            guess = max(1, round(mean))
            found.line["output"] = guess if found.most is None else max(1, min(guess, found.most))
            found.line["guessed"] = True
        elif output_tokens is not None:
            found.line["output"] = max(1, output_tokens)
            self._told_answers += 1
            self._told_tokens += output_tokens
        self._put(found.line)

    def _put(self, line: dict[str, Any]) -> None:
        data = _ENCODER.encode(line) + b"\n"
        if self._waiting_bytes + len(data) > MAX_WAITING_BYTES:
            self.dropped += 1
            self._unsaid += 1
            return
        self._say_dropped()
        self._waiting.append(data)
        self._waiting_bytes += len(data)

    def _say_dropped(self) -> None:
        if self._unsaid:
            self._waiting.append(_ENCODER.encode({"dropped": self._unsaid}) + b"\n")
            self._unsaid = 0

    def _id(self, block: int) -> int:
        digest = self._blocks.copy()
        digest.update(block.to_bytes(8, "little"))
        return int.from_bytes(digest.digest(), "little")

    def _label(self, text: str) -> str:
        if not text:
            return ""
        digest = self._labels.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.hexdigest()


def _printable(name: str) -> str:
    """Where the policy takes any model, its name is a client's words."""
    cut = name[:MAX_LABEL_CHARACTERS]
    return cut if cut.isprintable() else "".join(each if each.isprintable() else "?" for each in cut)
