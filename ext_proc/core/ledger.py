"""The picker's own account of what it has sent where, kept only by events.

Per endpoint: requests in flight, uncached prompt tokens that have no first token yet (Q of `kv-aware`: what stands
before the next prompt), requests decoding and the prompt tokens that those hold. Per request a *reservation*:
made by `Picked`, moved to the endpoint that Envoy really tries (`AttemptStarted`), turned from queued into decoding by
`FirstToken`, and ended once by whichever comes first of `StreamEnded`, `RequestEnded` and its maximum age. Whatever
comes for a request that has ended, or was never known, changes no account. But Envoy's records come after the end of
the stream, and all records of a short answer do: what has ended so can still *teach*, once.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from ext_proc.core.backlog import Backlog
from ext_proc.core.claims import Claims
from ext_proc.core.events import AttemptStarted, Event, FirstToken, Picked, RequestEnded, StreamEnded
from ext_proc.core.gauges import Gauges
from ext_proc.core.index import PrefixIndex
from ext_proc.core.prefills import Prefills
from ext_proc.core.slots import FloatArray, Slots, grown
from ext_proc.core.speed import Speed

# Four times what one Envoy with raised breakers keeps open (16,384 streams); beyond, the oldest is given up.
MAX_RESERVATIONS = 65_536

# Envoy gathers records for 50 ms, in which one picker decides a hundred requests. Of more, the oldest teaches nothing:
# its records were lost, or there is no access log.
MAX_ENDED = 4_096

# From here on an answer is an error, and what it takes says nothing of the work.
_FIRST_ERROR = 400

# Tokens of an answer before any has ended, and how much a new one counts.
START_OUTPUT_TOKENS = 200.0
OUTPUT_SHARE = 0.01

# Records that are later than what they tell by less than this are taken at their time: it is the slack of clocks.
RECORD_SLACK_S = 0.001

_NOWHERE = -1

_Number = TypeVar("_Number", float, FloatArray)


class Sent(NamedTuple):
    """What an endpoint had when a request was sent there: what its first token teaches about depends on it.

    `wait_ms` is the work before it, `work_ms` its own, `step_ms` what a first token takes beside it; `requests` and
    `held` are those of `Speed`; `due_at` and `place` are its place in `Backlog`. `claimed_ms` is by how much others'
    requests would make the first token later, as the endpoint told.
    """

    wait_ms: float
    work_ms: float
    step_ms: float
    claimed_ms: float
    requests: float
    held: float
    due_at: float
    place: float


@dataclass(slots=True)
class Reservation:
    """One request in flight; `slot` is negative while it runs on an endpoint that we do not know.

    Mutable: the ledger is the only writer.
    """

    slot: int
    uncached_tokens: int
    prompt_tokens: int
    picked_at: float
    attempt_at: float
    max_age_s: float
    blocks: tuple[int, ...]
    is_guess: bool
    is_whole: bool = False
    is_started: bool = False
    is_decoding: bool = False
    is_over: bool = False
    """It is in no account any more, and may teach."""
    sent: Sent | None = None


class Ledger:
    """The account.

    Mutable: the arrays by slot, the open reservations, and their queues by age, those that may still teach, and
    `backlog`, `prefills`, `speed` and `claims`, which learn from the same events; `apply`, `expire` and `forget` are
    the writers.
    """

    def __init__(
        self,
        slots: Slots,
        index: PrefixIndex | None = None,
        gauges: Gauges | None = None,
        *,
        max_reservations: int = MAX_RESERVATIONS,
    ) -> None:
        self._slots = slots
        self.index = PrefixIndex() if index is None else index
        self.gauges = Gauges(slots.capacity) if gauges is None else gauges
        self.mean_output = START_OUTPUT_TOKENS
        self._mean_square = 2 * START_OUTPUT_TOKENS**2
        self.speed = Speed(slots.capacity)
        self.backlog = Backlog(slots.capacity)
        self.prefills = Prefills(slots.capacity)
        self.claims = Claims(slots.capacity)
        self._max_reservations = max_reservations
        self._open: OrderedDict[str, Reservation] = OrderedDict()
        self._ended: OrderedDict[str, Reservation] = OrderedDict()
        # Reservations of one maximum age end in the order in which they were made: a queue for each age (there is one
        # for each pool), instead of a heap that ended reservations would stay in.
        self._by_age: dict[float, OrderedDict[str, Reservation]] = {}
        self.in_flight = np.zeros(slots.capacity, dtype=np.int64)
        self.queued_tokens = np.zeros(slots.capacity, dtype=np.int64)
        self.decoding = np.zeros(slots.capacity, dtype=np.int64)
        self.decoding_tokens = np.zeros(slots.capacity, dtype=np.int64)
        self.held_tokens = np.zeros(slots.capacity, dtype=np.int64)
        self.picked_at = np.zeros(slots.capacity, dtype=np.float64)
        """When each slot was picked last, 0 before the first time. A slot that changed hands shows a former time: this
        only breaks ties."""

    def __len__(self) -> int:
        """Open reservations."""
        return len(self._open)

    def __contains__(self, decision_id: str) -> bool:
        return decision_id in self._open

    def grow(self) -> None:
        """Makes room for every slot that exists."""
        capacity = self._slots.capacity
        if capacity > len(self.in_flight):
            self.in_flight = grown(self.in_flight, capacity, 0)
            self.queued_tokens = grown(self.queued_tokens, capacity, 0)
            self.decoding = grown(self.decoding, capacity, 0)
            self.decoding_tokens = grown(self.decoding_tokens, capacity, 0)
            self.held_tokens = grown(self.held_tokens, capacity, 0)
            self.picked_at = grown(self.picked_at, capacity, 0.0)
            self.speed.grow(capacity)
            self.claims.grow(capacity)
            self.backlog.grow(capacity)
            self.prefills.grow(capacity)

    def forget(self, slot: int) -> None:
        """Drops what was learned about an endpoint that left, once nothing runs there.

        Nothing that has ended teaches any more: its slot may become somebody else's.
        """
        self._ended.clear()
        self.speed.reset(slot)
        self.claims.reset(slot)
        self.backlog.reset(slot)
        self.prefills.reset(slot)

    def others_ms(self, waiting: _Number, running: _Number, factor: _Number) -> _Number:
        """By how much so many requests of others make a first token later, if they are like own ones."""
        speed = self.speed
        return factor * (waiting * (self.claims.usual_tokens * speed.token_ms) + (waiting + running) * speed.request_ms)

    def most_held(self, slot: int) -> float:
        """KV tokens that the requests in flight there hold at most, if their answers are usual ones: they may share
        beginnings, and not all have begun."""
        return float(self.held_tokens[slot]) + float(self.in_flight[slot]) * self.mean_output

    def apply(self, event: Event) -> None:
        """Accounts for one event."""
        match event:
            case Picked():
                self._reserve(event)
            case AttemptStarted():
                self._move(event.decision_id, event.address, event.at)
            case FirstToken():
                self._first_token(event)
            case RequestEnded():
                self._request_ended(event)
            case StreamEnded(closed_by_us=False):
                self._stream_ended(event.decision_id)
            case _:
                pass

    def expire(self, now: float) -> int:
        """Ends the reservations that have reached their maximum age; returns how many."""
        due = [decision_id for queue in self._by_age.values() for decision_id in _overdue(queue, now)]
        for decision_id in due:
            self._end(decision_id)
        return len(due)

    def _reserve(self, event: Picked) -> None:
        if event.decision_id in self._open:
            return
        while len(self._open) >= self._max_reservations:
            self._end(next(iter(self._open)))
        reservation = Reservation(
            slot=self._slot(event.address),
            uncached_tokens=event.uncached_tokens,
            prompt_tokens=event.prompt_tokens,
            picked_at=event.at,
            attempt_at=event.at,
            max_age_s=event.max_age_s,
            blocks=event.blocks,
            is_guess=event.is_guess,
            is_whole=event.is_whole,
        )
        self._open[event.decision_id] = reservation
        self._by_age.setdefault(event.max_age_s, OrderedDict())[event.decision_id] = reservation
        self._enter(reservation, event.at)
        if reservation.slot != _NOWHERE:
            self.picked_at[reservation.slot] = event.at

    def _move(self, decision_id: str, address: str, at: float) -> None:
        reservation = self._known(decision_id)
        if reservation is None or at < reservation.attempt_at:
            return  # ended, or the record of an earlier attempt that comes late
        slot = self._slot(address)
        # What was named is tried at once: the record comes later, by as much as Envoy gathers them.
        is_as_named = slot == reservation.slot and not reservation.is_started
        reservation.is_started = True
        if is_as_named:
            return
        reservation.attempt_at = at
        if slot == reservation.slot:
            return
        if reservation.is_over:
            reservation.sent = None  # who answered had it from elsewhere
            return
        self._leave(reservation)
        reservation.slot = slot
        # What that endpoint holds of the prompt is not known here; Envoy's second choice usually holds little.
        reservation.uncached_tokens = reservation.prompt_tokens
        self._enter(reservation, at)

    def _first_token(self, event: FirstToken) -> None:
        reservation = self._known(event.decision_id)
        if reservation is None or reservation.is_decoding or event.status >= _FIRST_ERROR:
            return
        if self._slot(event.address) == reservation.slot:
            # Records of attempts under way come every quarter of a second. How long it took is told exactly, from the
            # request's arrival on, which was just before the pick.
            came_at = reservation.picked_at + event.ttft_ms / 1e3
            self._learn(reservation, came_at if came_at < event.at - RECORD_SLACK_S else event.at)
        else:
            self._move(event.decision_id, event.address, event.at)
            self._leave_line(reservation)
        if reservation.is_over:
            return
        self._count(reservation, -1)
        reservation.is_decoding = True
        self._count(reservation, +1)

    def _known(self, decision_id: str) -> Reservation | None:
        """What is open, or may still teach."""
        return self._open.get(decision_id) or self._ended.get(decision_id)

    def _request_ended(self, event: RequestEnded) -> None:
        reservation = self._known(event.decision_id)
        if reservation is None:
            return
        is_here = event.attempts == 1 and self._slots.get(event.served) == reservation.slot
        if is_here and event.ttft_ms is not None and event.status < _FIRST_ERROR:
            # It may not have been told while it was news: of an answer that was over before the next record.
            self._learn(reservation, reservation.picked_at + event.ttft_ms / 1e3)
        if event.completion_tokens:
            self._learn_output(float(event.completion_tokens))
        self._ended.pop(event.decision_id, None)
        self._end(event.decision_id)

    def _stream_ended(self, decision_id: str) -> None:
        reservation = self._open.get(decision_id)
        if reservation is None:
            return
        sent = reservation.sent
        self._end(decision_id)
        reservation.is_over, reservation.sent, reservation.blocks = True, sent, ()
        self._ended[decision_id] = reservation
        if len(self._ended) > min(MAX_ENDED, self._max_reservations):
            self._ended.popitem(last=False)

    def _end(self, decision_id: str) -> None:
        reservation = self._open.pop(decision_id, None)
        if reservation is None:
            return
        self._leave(reservation)
        queue = self._by_age[reservation.max_age_s]
        del queue[decision_id]
        if not queue:
            del self._by_age[reservation.max_age_s]

    def _enter(self, reservation: Reservation, at: float) -> None:
        slot = reservation.slot
        if slot != _NOWHERE and not reservation.is_decoding:
            speed = self.speed
            factor = float(speed.factor[slot])
            requests, held = float(self.in_flight[slot]), float(self.held_tokens[slot])
            work_ms = factor * speed.prefill_ms(reservation.uncached_tokens, reservation.prompt_tokens)
            wait_ms = self.backlog.left_ms(slot, at) if speed.is_learned else self.backlog.owed_at(slot)
            step_ms = factor * speed.step_ms(requests, held)
            due_at, place = self.backlog.enter(slot, at, work_ms, step_ms)
            self.prefills.enter(slot, at, work_ms)
            claimed_ms = self.others_ms(*self.gauges.foreign_at(slot, at), factor) if self.gauges.has_foreign else 0.0
            own_ms = wait_ms + work_ms + step_ms
            self.claims.sent(slot, at, own_ms, claimed_ms, reservation.uncached_tokens, len(self._slots))
            reservation.sent = Sent(wait_ms, work_ms, step_ms, claimed_ms, requests, held, due_at, place)
        if slot != _NOWHERE:
            self.index.begin(slot, reservation.blocks, float(self.decoding[slot]) * self._mean_age())
        self._count(reservation, +1)

    def _leave(self, reservation: Reservation) -> None:
        self._count(reservation, -1)
        self._leave_line(reservation)
        if reservation.slot != _NOWHERE:
            self.index.end(reservation.slot, reservation.blocks, is_guess=reservation.is_guess)

    def _leave_line(self, reservation: Reservation, *, is_done: bool = False) -> None:
        if reservation.sent is not None and not reservation.is_over:
            self.backlog.leave(reservation.slot, reservation.sent.work_ms, is_done=is_done)
        reservation.sent = None

    def _learn(self, reservation: Reservation, at: float) -> None:
        """Takes in what a first token at `at` tells about its endpoint."""
        sent, slot = reservation.sent, reservation.slot
        if sent is None:
            return
        # An answer in one piece comes long after its prefill: nobody was kept waiting for the rest of it, and how long
        # that took says nothing of first tokens.
        self.backlog.answered(slot, min(at, sent.due_at) if reservation.is_whole else at, sent.due_at, sent.place)
        self._leave_line(reservation, is_done=True)
        if at > reservation.attempt_at and not reservation.is_whole:
            ttft_ms = (at - reservation.attempt_at) * 1e3
            own_ms, is_learned = sent.wait_ms + sent.work_ms + sent.step_ms, self.speed.is_learned
            if self.speed.rows:  # the first of all first tokens tells how fast engines are at all
                self.claims.answered(slot, own_ms, sent.claimed_ms, ttft_ms, is_learned=is_learned)
            if not is_learned:
                self.claims.try_again(slot)
            self.speed.learn(
                slot,
                ttft_ms,
                wait_ms=sent.wait_ms,
                uncached=reservation.uncached_tokens,
                tokens=reservation.prompt_tokens,
                requests=sent.requests,
                held=sent.held,
            )

    def _learn_output(self, tokens: float) -> None:
        self.mean_output += OUTPUT_SHARE * (tokens - self.mean_output)
        self._mean_square += OUTPUT_SHARE * (tokens * tokens - self._mean_square)

    def _mean_age(self) -> float:
        """Tokens that a running answer has, seen at any moment: long answers are seen more often (renewal theory)."""
        return self._mean_square / (2 * self.mean_output)

    def _count(self, reservation: Reservation, sign: int) -> None:
        slot = reservation.slot
        if slot == _NOWHERE:
            return
        self.in_flight[slot] += sign
        self.held_tokens[slot] += sign * reservation.prompt_tokens
        if reservation.is_decoding:
            self.decoding[slot] += sign
            self.decoding_tokens[slot] += sign * reservation.prompt_tokens
        else:
            self.queued_tokens[slot] += sign * reservation.uncached_tokens

    def _slot(self, address: str) -> int:
        slot = self._slots.get(address)
        return _NOWHERE if slot is None else slot


def _overdue(queue: "OrderedDict[str, Reservation]", now: float) -> Iterator[str]:
    for decision_id, reservation in queue.items():
        if now - reservation.picked_at < reservation.max_age_s:
            return
        yield decision_id
