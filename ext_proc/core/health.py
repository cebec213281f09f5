"""Which endpoints are left alone for a while, judged by what became of requests.

- *Hard* evidence (connection failed, or reset before an answer) ejects at once.
- *Soft* evidence (5xx, a try that timed out, a stream that went silent) ejects after `SOFT_LIMIT` in a row, or when it
  is `RATE_FAILURES` of the last `RATE_OF` outcomes, whatever came between.
- 429 and 503 of an engine mean that it is full, not broken: they count for nothing, except that it is alive.

A request that times out says nothing new about what began after it: of an engine that hangs, old streams may still end
well. So a timeout is taken back only by an answer to a request that began later.

An ejection lasts `BACK_OFF_S`, doubled for each one in a row up to `MAX_BACK_OFF_S`; then the endpoint is *half open*:
one request may try it, and its outcome decides. Where somebody else looks after it (`watch`), no request is risked
before that one has seen a sign of life since the ejection (`alive`), at most for `MAX_SILENCE_S`. What began before the
ejection says nothing more about it, neither the rest of the same burst nor an old stream that still ends well.

Soft ejections, with what else was found (`Health.found`), never take more than half of a pool, since what breaks that
many at once is rather the requests or the network. When all of a pool is ejected or being tried, none is: the evidence
is inferred, and a refused try costs less than a refused client.

Who was ejected by soft evidence for the first time and answers a token of our own (`vouch`) is not *lost*, though it is
left alone while others are there: three prompts that break any engine must not have all of a model's requests answered
elsewhere. The next request that fails there takes that back.

*Zones*: when requests time out on two endpoints of a zone, nobody there has proved anything since they began, and
somebody elsewhere has, it is the zone that does not answer: one timeout is enough for its other endpoints, and these
ejections may take all of the zone, however large it is.

An ejection by hard evidence puts its pool in doubt until it is refuted: who else is gone shows only when it is tried.
Meanwhile *trusted* is who has proved lately that it is there, by an answer or a scrape.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ext_proc.core.evidence import FAILURES, SOFT_FAILURES, Evidence
from ext_proc.core.slots import BoolArray, FloatArray, IntArray, grown

# Two may be a coincidence of one bad request and its retry.
SOFT_LIMIT = 3

# Failures among so many outcomes that eject although others are well: more than half, and a dozen are no coincidence.
# What is older than a minute was another time: engines restart and queues drain within one.
RATE_FAILURES = 12
RATE_OF = 20
RATE_WINDOW_S = 60.0
_RATE_MASK = (1 << RATE_OF) - 1

# A pod that restarts refuses for seconds; the first retry may come early since it costs one refused try.
BACK_OFF_S = 1.0
MAX_BACK_OFF_S = 30.0

# A probe whose outcome never comes (its log record was lost) must not block the endpoint for ever.
PROBE_WAIT_S = 30.0

# Whoever looks for signs of life may be the one who is broken: a page of metrics that was moved, a token that changed.
MAX_SILENCE_S = 300.0

# Share of a pool that soft evidence may eject.
MAX_SOFT_SHARE = 0.5

# Endpoints of a zone that must time out before it is the zone that does.
DARK_ZONE = 2

# Who proved itself so little before the latest proof in its pool counts as proved as well: three scrapes of an idle
# endpoint (1 s). Longer, and pods that died together stay trusted; shorter, and all last tries go to one endpoint.
PROOF_WINDOW_S = 3.0

_HARD_FAILURES = FAILURES - SOFT_FAILURES

_WORDS = {
    Evidence.GONE: "connections are refused",
    Evidence.HARD: "connections fail or are reset",
    Evidence.SOFT: "requests fail",
    Evidence.TIMEOUT: "requests get no first byte in time",
}

_OPEN = -math.inf
_NEVER = -math.inf


@dataclass(slots=True)
class _Trouble:
    """What is held against one endpoint; nothing is, for most. Mutable: `Health` is the only writer."""

    errors: int = 0
    """Soft failures in a row but for timeouts, and those."""
    timeouts: int = 0
    timed_out_from: float = _NEVER
    """When the latest request began that timed out."""
    outcomes: int = 0
    """The latest `RATE_OF`, one bit each, the newest lowest; set where it failed."""
    failed_at: float = _NEVER
    ejections: int = 0
    by: Evidence = Evidence.NONE
    """What it was ejected by, the last time."""
    is_ejected: bool = False
    is_silent: bool = False
    """It waits for a sign of life."""
    ejected_at: float = _OPEN
    until: float = _OPEN
    """The end of its back-off."""
    probed_at: float | None = None

    @property
    def is_hard(self) -> bool:
        """Whether hard evidence has ejected it."""
        return self.by in _HARD_FAILURES


@dataclass(frozen=True, slots=True, eq=False)
class _Zone:
    """Slots in a zone, and in any other."""

    here: IntArray
    elsewhere: IntArray


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
        self._vouched = np.zeros(capacity, dtype=np.bool_)
        self._trouble: dict[int, _Trouble] = {}
        self._ejected = 0
        self._watched: set[int] = set()
        self._zones: Mapping[int, _Zone] = {}
        # What others found (`ext_proc.core.verdicts`).
        self._down = np.zeros(capacity, dtype=np.bool_)
        self._worse = np.zeros(capacity, dtype=np.bool_)
        self._found = 0

    def grow(self, capacity: int) -> None:
        """Makes room for `capacity` slots."""
        if capacity > len(self._blocked_until):
            self._blocked_until = grown(self._blocked_until, capacity, _OPEN)
            self._soft = grown(self._soft, capacity, False)
            self._vouched = grown(self._vouched, capacity, False)
            self._proved_at = grown(self._proved_at, capacity, _NEVER)
            self._out = grown(self._out, capacity, False)
            self._down = grown(self._down, capacity, False)
            self._worse = grown(self._worse, capacity, False)

    def place(self, zones: Mapping[int, tuple[str, str]]) -> None:
        """Says in which region and zone slots are, of those that are in one."""
        made = {}
        for place in set(zones.values()):
            here = [slot for slot, there in zones.items() if there == place]
            elsewhere = [slot for slot, there in zones.items() if there != place]
            made[place] = _Zone(np.array(here, dtype=np.int64), np.array(elsewhere, dtype=np.int64))
        self._zones = {slot: made[place] for slot, place in zones.items()} if len(made) > 1 else {}

    def watch(self, slot: int, *, is_watched: bool) -> None:
        """Whether somebody looks for signs of life of an endpoint; while nobody does, time alone makes it half open."""
        if is_watched:
            self._watched.add(slot)
            return
        self._watched.discard(slot)
        trouble = self._trouble.get(slot)
        if trouble is not None:
            self._speak(slot, trouble, trouble.until)

    def found(self, slot: int, *, is_down: bool, is_degraded: bool) -> None:
        """What all other evidence says about `slot`: it must not be named, or only after those who are well."""
        self._down[slot], self._worse[slot] = is_down, is_degraded
        self._found = int(np.count_nonzero(self._down | self._worse))

    def is_down(self, slot: int) -> bool:
        """Whether all other evidence says that it must not be named."""
        return bool(self._down[slot])

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

    def is_lost(self, slots: IntArray) -> bool:
        """Whether nobody of a pool is left: each is ejected or found broken, at least one by what became of requests,
        and nobody among them is vouched for.

        What is only found of everybody by others is rather about those who ask.
        """
        if not self._ejected:
            return False
        out, down = self._out[slots], self._down[slots]
        return bool(out.any() and (out | down).all() and not (self._vouched[slots] & out & ~down).any())

    def is_trial_due(self, slots: IntArray, now: float) -> bool:
        """Whether a request may try one of those who are out."""
        return bool((self._out[slots] & (self._blocked_until[slots] <= now)).any())

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
        """Takes into account what was heard of a request that began at `started_at`."""
        trouble = self._trouble.get(slot)
        match evidence:
            case Evidence.GONE | Evidence.HARD | Evidence.SOFT | Evidence.TIMEOUT:
                self._failed(slot, evidence, started_at, now)
            case _ if trouble is None or (trouble.is_ejected and started_at < trouble.ejected_at):
                pass
            case Evidence.GOOD if trouble.is_ejected:
                self.reset(slot)
            case Evidence.GOOD:
                self._succeeded(slot, trouble, started_at)
            case Evidence.ALIVE if trouble.is_ejected:
                # It answers: that refutes hard evidence only, since a failing engine can well answer headers.
                if trouble.is_hard:
                    self.reset(slot)
            case Evidence.ALIVE if started_at >= trouble.timed_out_from:
                trouble.timeouts = 0
            case _:
                pass

    def undecided(self, slot: int, started_at: float, now: float) -> None:
        """A request to `slot` is over and says nothing of it: if it was the probe, another may follow at once."""
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.probed_at is not None and started_at >= trouble.probed_at:
            trouble.probed_at = None
            self._blocked_until[slot] = now

    def alive(self, slot: int, at: float) -> None:
        """A sign of life: after its back-off a request may try it."""
        trouble = self._trouble.get(slot)
        if trouble is not None and at > trouble.ejected_at:
            self._speak(slot, trouble, max(trouble.until, at))

    def vouch(self, slot: int, *, is_well: bool) -> None:
        """It was asked for a token by ourselves after requests had failed there, and answered, or did not."""
        trouble = self._trouble.get(slot)
        if trouble is not None:
            self._vouched[slot] = is_well and trouble.ejections <= 1 and not trouble.is_hard

    def lifeless(self, slot: int, now: float) -> None:
        """Whoever looked for a sign of life found that there is none any more: no request is to try it meanwhile."""
        trouble = self._trouble.get(slot)
        if trouble is None or not trouble.is_ejected or trouble.is_silent or trouble.probed_at is not None:
            return
        if slot in self._watched:
            trouble.is_silent = True
            self._blocked_until[slot] = now + MAX_SILENCE_S

    def readmit(self, slot: int, now: float) -> bool:
        """It has shown that it is well, without a request: its ejection ends after its back-off. It has to prove itself
        all the same, and one soft failure is enough to eject it again, for longer. Whether it is named again."""
        trouble = self._trouble.get(slot)
        if trouble is None or not trouble.is_ejected or now < trouble.until:
            return False
        self._let_in(slot, trouble)
        trouble.errors, trouble.timeouts, trouble.outcomes = SOFT_LIMIT - 1, 0, 0
        return True

    def refuted(self, slot: int, at: float) -> None:
        """It was asked whether it is ready, and is: that ends an ejection by hard evidence, without a request."""
        trouble = self._trouble.get(slot)
        if trouble is not None and trouble.is_ejected and trouble.is_hard and at > trouble.ejected_at:
            self.reset(slot)

    def retract_soft(self, slot: int) -> None:
        """Takes back one soft failure: the request failed elsewhere too, so it blames itself."""
        trouble = self._trouble.get(slot)
        if trouble is None or trouble.is_ejected:
            return
        if trouble.timeouts:
            trouble.timeouts, trouble.timed_out_from = trouble.timeouts - 1, _NEVER
        elif trouble.errors:
            trouble.errors -= 1
        trouble.outcomes &= trouble.outcomes - 1 if trouble.outcomes else 0

    def reset(self, slot: int) -> None:
        """Forgets all that is held against an endpoint, and what it has proved."""
        self._proved_at[slot] = _NEVER
        self._vouched[slot] = False
        trouble = self._trouble.pop(slot, None)
        if trouble is not None:
            self._let_in(slot, trouble)

    def state(self, slot: int, now: float) -> str:
        """`healthy`, `ejected` or `half-open`."""
        trouble = self._trouble.get(slot)
        if trouble is None or not trouble.is_ejected:
            return "healthy"
        return "half-open" if trouble.probed_at is not None or self._blocked_until[slot] <= now else "ejected"

    def is_out(self, slot: int) -> bool:
        """Whether it was ejected and has not been admitted again."""
        return bool(self._out[slot])

    def why(self, slot: int) -> str:
        """What it was ejected for; empty if it is not out."""
        trouble = self._trouble.get(slot)
        return _WORDS.get(trouble.by, "") if trouble is not None and trouble.is_ejected else ""

    def ejected_at(self, slot: int) -> float:
        """When it was ejected the last time, long ago if it is not out."""
        trouble = self._trouble.get(slot)
        return trouble.ejected_at if trouble is not None and trouble.is_ejected else _NEVER

    def out(self) -> Iterator[tuple[int, float]]:
        """Those, with the time of their ejection."""
        return ((slot, trouble.ejected_at) for slot, trouble in self._trouble.items() if trouble.is_ejected)

    def _succeeded(self, slot: int, trouble: _Trouble, started_at: float) -> None:
        trouble.errors = 0
        if started_at >= trouble.timed_out_from:
            trouble.timeouts = 0
        trouble.outcomes = trouble.outcomes << 1 & _RATE_MASK
        if not trouble.outcomes and not trouble.timeouts:
            del self._trouble[slot]

    def _failed(self, slot: int, evidence: Evidence, started_at: float, now: float) -> None:
        trouble = self._trouble.setdefault(slot, _Trouble())
        if trouble.is_ejected:
            if started_at >= trouble.ejected_at:
                self._vouched[slot] = False
                self._eject(slot, trouble, evidence, now)
            return
        if evidence in _HARD_FAILURES:
            self._vouched[slot] = False
            self._eject(slot, trouble, evidence, now)
            return
        if not trouble.errors and not trouble.timeouts:
            self._vouched[slot] = False  # of an earlier time
        earlier = trouble.outcomes if now - trouble.failed_at <= RATE_WINDOW_S else 0
        trouble.outcomes, trouble.failed_at = (earlier << 1 | 1) & _RATE_MASK, now
        if evidence is Evidence.TIMEOUT:
            trouble.timeouts, trouble.timed_out_from = trouble.timeouts + 1, max(started_at, trouble.timed_out_from)
            if self._eject_zone(slot, now):
                return
        else:
            trouble.errors += 1
        if trouble.errors + trouble.timeouts >= SOFT_LIMIT or trouble.outcomes.bit_count() >= RATE_FAILURES:
            self._eject(slot, trouble, evidence, now)

    def _eject(self, slot: int, trouble: _Trouble, evidence: Evidence, now: float) -> None:
        if trouble.probed_at is None and self._blocked_until[slot] > now:
            return  # used all the same, because all of its pool is ejected: that must not lengthen the back-off
        self._ejected += not trouble.is_ejected
        trouble.is_ejected = True
        self._out[slot] = True
        self._proved_at[slot] = _NEVER
        trouble.by = evidence
        trouble.ejected_at = now
        trouble.probed_at = None
        trouble.errors = trouble.timeouts = trouble.outcomes = 0
        self._soft[slot] = evidence in SOFT_FAILURES
        trouble.until = now + min(MAX_BACK_OFF_S, BACK_OFF_S * 2.0**trouble.ejections)
        trouble.is_silent = slot in self._watched
        self._blocked_until[slot] = now + MAX_SILENCE_S if trouble.is_silent else trouble.until
        # Bounded, as it is only ever an exponent.
        trouble.ejections = min(trouble.ejections + 1, int(MAX_BACK_OFF_S))

    def _eject_zone(self, slot: int, now: float) -> bool:
        """Ejects whoever in the zone of `slot` has timed out, if it is the zone; whether it is."""
        zone = self._zones.get(slot)
        if zone is None:
            return False
        proved_at = float(self._proved_at[zone.here].max())
        mute = [
            (other, trouble)
            for other, trouble in self._trouble.items()
            if trouble.timed_out_from > proved_at and self._zones.get(other) is zone
        ]
        if len(mute) < DARK_ZONE:
            return False
        since = min(trouble.timed_out_from for _, trouble in mute)
        if float(self._proved_at[zone.elsewhere].max()) < since:
            return False
        for other, trouble in mute:
            if not trouble.is_ejected:
                self._eject(other, trouble, Evidence.TIMEOUT, now)
                self._soft[other] = False  # the zone's doing, and the others are well: it may take more than half
        return True

    def _speak(self, slot: int, trouble: _Trouble, due_at: float) -> None:
        """It is silent no longer, and due from then on."""
        if trouble.is_silent:
            trouble.is_silent = False
            self._blocked_until[slot] = due_at

    def _let_in(self, slot: int, trouble: _Trouble) -> None:
        """Ends its ejection, if it is ejected."""
        self._ejected -= trouble.is_ejected
        trouble.is_ejected = trouble.is_silent = False
        trouble.probed_at = None
        self._blocked_until[slot] = _OPEN
        self._soft[slot] = False
        self._out[slot] = False

    def _readmit(self, slots: IntArray, blocked: BoolArray) -> None:
        """Takes the soft ejections beyond the allowed share out of `blocked`, those first that end first."""
        excess = int(np.count_nonzero(blocked)) - int(len(slots) * MAX_SOFT_SHARE)
        if excess > 0:
            # What others found is inferred as well.
            soft = np.flatnonzero(blocked & (self._soft[slots] | (self._down[slots] & ~self._out[slots])))
            first = np.argsort(self._blocked_until[slots[soft]], kind="stable")[:excess]
            blocked[soft[first]] = False
