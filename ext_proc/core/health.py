"""Which endpoints are left alone for a while, judged by what became of requests.

- *Hard* evidence (connection failed, or reset before an answer) ejects at once.
- *Soft* evidence (5xx, a try that timed out, a stream that went silent) ejects after `SOFT_LIMIT` in a row.
- 429 and 503 of an engine mean that it is full, not broken: they count for nothing, except that it is alive.

An ejection lasts `BACK_OFF_S`, doubled for each one in a row up to `MAX_BACK_OFF_S`; then the endpoint is *half open*:
one request may try it, and its outcome decides. What began before the ejection says nothing more about it, neither the
rest of the same burst nor an old stream that still ends well.

Soft ejections, with what else was found (`Health.found`), never take more than half of a pool, since what breaks that
many at once is rather the requests or the network. When all of a pool is ejected or being tried, none is: the evidence
is inferred, and a refused try costs less than a refused client.

An ejection by hard evidence puts its pool in doubt until it is refuted: who else is gone shows only when it is tried.
Meanwhile *trusted* is who has proved lately that it is there, by an answer or a scrape.
"""

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ext_proc.core.events import AttemptEnded, RequestEnded
from ext_proc.core.slots import BoolArray, FloatArray, IntArray, grown

# Two may be a coincidence of one bad request and its retry.
SOFT_LIMIT = 3

# A pod that restarts refuses for seconds; the first retry may come early since it costs one refused try.
BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 30.0

# A probe whose outcome never comes (its log record was lost) must not block the endpoint for ever.
PROBE_WAIT_S = 30.0

# Share of a pool that soft evidence may eject.
MAX_SOFT_SHARE = 0.5

# Who proved itself so little before the latest proof in its pool counts as proved as well: three scrapes of an idle
# endpoint (1 s). Longer, and pods that died together stay trusted; shorter, and all last tries go to one endpoint.
PROOF_WINDOW_S = 3.0

_OPEN = -math.inf
_NEVER = -math.inf

# Envoy's response flags (access log documentation): UF connection failure, UC connection termination, UR remote reset.
_UNREACHABLE = "UF"
# How Envoy words ECONNREFUSED, by name or by number; a connect timeout is a failure too, but may be the network's.
_REFUSED = ("refused", "error: 111", "error:_111")
_RESET = frozenset({"UC", "UR"})
# UT request timed out upstream, UPE upstream protocol error, SI stream idle timeout.
_BROKEN = frozenset({"UT", "UPE"})
_SILENT = "SI"

_FULL = frozenset({429, 503})
# The engine lacks what the request asks for; another request may be fine.
_REQUESTS_OWN_FAULT = frozenset({501, 505})


# States (`Health.state`) of an endpoint that was ejected and has not been admitted again.
OUT = frozenset({"ejected", "half-open"})


class Evidence(Enum):
    """What one outcome says about an endpoint."""

    NONE = "none"
    ALIVE = "alive"
    GOOD = "good"
    SOFT = "soft"
    HARD = "hard"
    GONE = "gone"  # hard, and nobody even listens there: the process ended, and its cache with it


FAILURES = frozenset({Evidence.SOFT, Evidence.HARD, Evidence.GONE})


def evidence_of_attempt(event: AttemptEnded) -> Evidence:
    """Reads one attempt. A good-looking one says nothing yet: after headers, silence also ends as 200 without flags."""
    flags = event.flags
    if _UNREACHABLE in flags:
        return Evidence.GONE if any(word in event.failure for word in _REFUSED) else Evidence.HARD
    if not _RESET.isdisjoint(flags):
        return Evidence.HARD if event.status in (0, 503) else Evidence.SOFT
    if not _BROKEN.isdisjoint(flags):
        return Evidence.SOFT
    if flags:
        return Evidence.NONE  # the client's or Envoy's own doing
    if event.status in _FULL:
        return Evidence.ALIVE
    if event.status >= 500 and event.status not in _REQUESTS_OWN_FAULT:
        return Evidence.SOFT
    return Evidence.NONE


def evidence_of_request(event: RequestEnded) -> Evidence:
    """Reads one request for the endpoint that served it. Failed attempts are counted by their own records."""
    if _SILENT in event.flags:
        return Evidence.SOFT
    if event.aborted or event.flags or not event.served:
        return Evidence.NONE
    if 200 <= event.status < 500 and event.status not in _FULL:
        return Evidence.GOOD
    return Evidence.NONE


@dataclass(slots=True)
class _Trouble:
    """What is held against one endpoint; nothing is, for most. Mutable: `Health` is the only writer."""

    soft: int = 0
    ejections: int = 0
    is_hard: bool = False
    is_ejected: bool = False
    ejected_at: float = _OPEN
    probed_at: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """How the endpoints of a pool stand; each array is in the order of the slots that were asked about.

    `sound` may be named, at least one; `due` are half open and wait for a request to try them since `due_since`.
    """

    sound: BoolArray
    due: BoolArray
    due_since: FloatArray

    def among(self, some: BoolArray) -> "Standing":
        """The same of `some` alone; nobody else may be named."""
        return Standing(self.sound & some, self.due & some, self.due_since)


class Health:
    """The judge.

    Mutable: the arrays by slot and the record of each endpoint in trouble; the picker is the only writer.
    """

    def __init__(self, capacity: int) -> None:
        self._blocked_until = np.full(capacity, _OPEN)
        self._proved_at = np.full(capacity, _NEVER)
        self._out = np.zeros(capacity, dtype=np.bool_)  # ejected or half open
        self._soft = np.zeros(capacity, dtype=np.bool_)
        self._trouble: dict[int, _Trouble] = {}
        self._ejected = 0
        # What others found (`ext_proc.core.verdicts`).
        self._down = np.zeros(capacity, dtype=np.bool_)
        self._worse = np.zeros(capacity, dtype=np.bool_)
        self._found = 0

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._blocked_until):
            self._blocked_until = grown(self._blocked_until, capacity, _OPEN)
            self._soft = grown(self._soft, capacity, False)
            self._proved_at = grown(self._proved_at, capacity, _NEVER)
            self._out = grown(self._out, capacity, False)
            self._down = grown(self._down, capacity, False)
            self._worse = grown(self._worse, capacity, False)

    def found(self, slot: int, *, is_down: bool, is_degraded: bool) -> None:
        """What all other evidence says about `slot`: it must not be named, or only after those who are well."""
        self._down[slot], self._worse[slot] = is_down, is_degraded
        self._found = int(np.count_nonzero(self._down | self._worse))

    @property
    def is_anyone_out(self) -> bool:
        """Whether anything is held against anybody; otherwise all are healthy."""
        return bool(self._ejected or self._found)

    def degraded(self, slots: IntArray) -> BoolArray | None:
        """Who of a pool's `slots` is named after the others; None for nobody, and for more than half of them.

        Those who are left would break down next: what so many have in common is the load.
        """
        if not self._found:
            return None
        worse = self._worse[slots]
        count = int(np.count_nonzero(worse))
        return worse if 0 < count <= len(slots) * MAX_SOFT_SHARE else None

    def blocked(self, slots: IntArray, now: float) -> BoolArray | None:
        """Which of a pool's `slots` must not be named, None for none of them; never all of them."""
        if not self._ejected and not self._found:
            return None
        blocked = self._blocked_until[slots] > now
        if self._found:
            down = self._down[slots]
            blocked |= down & ~down.all()  # what is found of all of them is found of none
        self._readmit(slots, blocked)
        return blocked if blocked.any() and not blocked.all() else None

    def standing(self, slots: IntArray, now: float) -> Standing | None:
        """How a pool's `slots` stand; None if there is no difference between them, be it for the good or in panic.

        When nobody is sound those who are due take that place: then there is nobody to keep them from.
        """
        if not self._ejected and not self._found:
            return None
        blocked = self.blocked(slots, now)
        due_since = self._blocked_until[slots]
        due = self._out[slots] & (due_since <= now)
        if blocked is not None:
            due &= ~blocked
        if blocked is None and not due.any():
            return None
        sound = ~due if blocked is None else ~(blocked | due)
        return Standing(sound, due, due_since) if sound.any() else Standing(due, np.zeros_like(due), due_since)

    def trusted(self, slots: IntArray) -> BoolArray | None:
        """Who of a pool's `slots` proved itself about as lately as anyone; None for nobody, and without any doubt."""
        if not self._ejected:
            return None
        out = self._out[slots]
        if not (out & ~self._soft[slots]).any():
            return None
        proved_at = np.where(out, _NEVER, self._proved_at[slots])
        latest = proved_at.max()
        return proved_at >= latest - PROOF_WINDOW_S if latest > _NEVER else None

    def proved(self, slot: int, at: float) -> None:
        """`slot` answered at `at`. That ends no ejection: `judge` does, given what the answer was."""
        if not self._out[slot]:
            self._proved_at[slot] = max(at, self._proved_at[slot])

    def picked(self, slot: int, now: float) -> None:
        """A request was given to `slot`: if that was half open, this request is the probe."""
        if not self._ejected:
            return
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.is_ejected and self._blocked_until[slot] <= now:
            trouble.probed_at = now
            self._blocked_until[slot] = now + PROBE_WAIT_S

    def judge(self, slot: int, evidence: Evidence, *, started_at: float, now: float) -> None:
        """Takes the outcome of a request that began at `started_at` into account."""
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.is_ejected and started_at < trouble.ejected_at:
            return
        match evidence:
            case Evidence.GONE | Evidence.HARD:
                self._eject(slot, now, is_hard=True)
            case Evidence.SOFT:
                self._soft_failed(slot, now)
            case Evidence.GOOD:
                self.reset(slot)
            case Evidence.ALIVE if trouble is not None and trouble.is_ejected and trouble.is_hard:
                # It answers: that refutes hard evidence only, since a failing engine can well answer headers.
                self.reset(slot)
            case _:
                self._undecided(slot, started_at, now)

    def refuted(self, slot: int, at: float) -> None:
        """It was asked whether it is ready, and is: that ends an ejection by hard evidence, without a request."""
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.is_ejected and trouble.is_hard and at > trouble.ejected_at:
            self.reset(slot)

    def retract_soft(self, slot: int) -> None:
        """Takes back one soft failure: the request failed elsewhere too, so it blames itself."""
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.soft:
            trouble.soft -= 1

    def reset(self, slot: int) -> None:
        """Forgets all that is held against an endpoint, and what it has proved."""
        self._proved_at[slot] = _NEVER
        trouble = self._trouble.pop(slot, None)
        if trouble is not None:
            self._ejected -= trouble.is_ejected
            self._blocked_until[slot] = _OPEN
            self._soft[slot] = False
            self._out[slot] = False

    def state(self, slot: int, now: float) -> str:
        """`healthy`, `ejected` or `half-open`."""
        trouble = self._trouble.get(slot)
        if trouble is None or not trouble.is_ejected:
            return "healthy"
        return "half-open" if trouble.probed_at is not None or self._blocked_until[slot] <= now else "ejected"

    def _soft_failed(self, slot: int, now: float) -> None:
        trouble = self._trouble.setdefault(slot, _Trouble())
        trouble.soft += 1
        if trouble.probed_at is not None or trouble.soft >= SOFT_LIMIT:
            self._eject(slot, now, is_hard=False)

    def _eject(self, slot: int, now: float, *, is_hard: bool) -> None:
        trouble = self._trouble.setdefault(slot, _Trouble())
        if trouble.probed_at is None and self._blocked_until[slot] > now:
            return  # used all the same, because all of its pool is ejected: that must not lengthen the back-off
        self._ejected += not trouble.is_ejected
        trouble.is_ejected = True
        self._out[slot] = True
        self._proved_at[slot] = _NEVER
        trouble.is_hard = is_hard
        trouble.ejected_at = now
        trouble.probed_at = None
        trouble.soft = 0
        self._soft[slot] = not is_hard
        self._blocked_until[slot] = now + min(MAX_BACK_OFF_S, BACK_OFF_S * 2.0**trouble.ejections)
        # Bounded, as it is only ever an exponent.
        trouble.ejections = min(trouble.ejections + 1, int(MAX_BACK_OFF_S))

    def _undecided(self, slot: int, started_at: float, now: float) -> None:
        """If that was the probe, another may follow at once."""
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.probed_at is not None and started_at >= trouble.probed_at:
            trouble.probed_at = None
            self._blocked_until[slot] = now

    def _readmit(self, slots: IntArray, blocked: BoolArray) -> None:
        """Takes the soft ejections beyond the allowed share out of `blocked`, those first that end first."""
        excess = int(np.count_nonzero(blocked)) - int(len(slots) * MAX_SOFT_SHARE)
        if excess > 0:
            # What others found is inferred as well.
            soft = np.flatnonzero(blocked & (self._soft[slots] | (self._down[slots] & ~self._out[slots])))
            first = np.argsort(self._blocked_until[slots[soft]], kind="stable")[:excess]
            blocked[soft[first]] = False
