"""The picker's own account of what it has sent where, kept only by events.

Per endpoint: requests in flight, uncached prompt tokens that have no first token yet (Q of `kv-aware`: what stands
before the next prompt), requests decoding and the prompt tokens that those hold. Per request a *reservation*:
made by `Picked`, moved to the endpoint that Envoy really tries (`AttemptStarted`), turned from queued into decoding by
`FirstToken`, and ended once by whichever comes first of `StreamEnded`, `RequestEnded` and its maximum age. Whatever
comes for a request that has ended, or was never known, changes nothing.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ext_proc.core.events import AttemptStarted, Event, FirstToken, Picked, RequestEnded, StreamEnded
from ext_proc.core.slots import Slots, grown

# Four times what one Envoy with raised breakers keeps open (16,384 streams); beyond, the oldest is given up.
MAX_RESERVATIONS = 65_536

_NOWHERE = -1


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
    is_decoding: bool = False


@dataclass(frozen=True, slots=True)
class Moved:
    """A request turned out to run on `slot`, which therefore computes its `blocks`."""

    slot: int
    blocks: tuple[int, ...]


class Ledger:
    """The account.

    Mutable: five arrays by slot, the open reservations, and their queues by age; `apply` and `expire` are the writers.
    """

    def __init__(self, slots: Slots, *, max_reservations: int = MAX_RESERVATIONS) -> None:
        self._slots = slots
        self._max_reservations = max_reservations
        self._open: OrderedDict[str, Reservation] = OrderedDict()
        # Reservations of one maximum age end in the order in which they were made: a queue for each age (there is one
        # for each pool), instead of a heap that ended reservations would stay in.
        self._by_age: dict[float, OrderedDict[str, Reservation]] = {}
        self.in_flight = np.zeros(slots.capacity, dtype=np.int64)
        self.queued_tokens = np.zeros(slots.capacity, dtype=np.int64)
        self.decoding = np.zeros(slots.capacity, dtype=np.int64)
        self.decoding_tokens = np.zeros(slots.capacity, dtype=np.int64)
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
            self.picked_at = grown(self.picked_at, capacity, 0.0)

    def apply(self, event: Event) -> Moved | None:
        """Accounts for one event; tells when it shows that a request runs elsewhere than it was thought to."""
        match event:
            case Picked():
                self._reserve(event)
            case AttemptStarted():
                return self._move(event.decision_id, event.address, event.at)
            case FirstToken():
                return self._first_token(event)
            case RequestEnded():
                self._end(event.decision_id)
            case StreamEnded(closed_by_us=False):
                self._end(event.decision_id)
            case _:
                pass
        return None

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
        )
        self._open[event.decision_id] = reservation
        self._by_age.setdefault(event.max_age_s, OrderedDict())[event.decision_id] = reservation
        self._count(reservation, +1)
        if reservation.slot != _NOWHERE:
            self.picked_at[reservation.slot] = event.at

    def _move(self, decision_id: str, address: str, at: float) -> Moved | None:
        reservation = self._open.get(decision_id)
        if reservation is None or at < reservation.attempt_at:
            return None  # ended, or the record of an earlier attempt that comes late
        reservation.attempt_at = at
        slot = self._slot(address)
        if slot == reservation.slot:
            return None
        self._count(reservation, -1)
        reservation.slot = slot
        # What that endpoint holds of the prompt is not known here; Envoy's second choice usually holds little.
        reservation.uncached_tokens = reservation.prompt_tokens
        self._count(reservation, +1)
        return Moved(slot, reservation.blocks) if slot != _NOWHERE else None

    def _first_token(self, event: FirstToken) -> Moved | None:
        reservation = self._open.get(event.decision_id)
        if reservation is None or reservation.is_decoding:
            return None
        moved = self._move(event.decision_id, event.address, event.at)
        self._count(reservation, -1)
        reservation.is_decoding = True
        reservation.blocks = ()  # nothing is tried elsewhere once an answer has begun
        self._count(reservation, +1)
        return moved

    def _end(self, decision_id: str) -> None:
        reservation = self._open.pop(decision_id, None)
        if reservation is None:
            return
        self._count(reservation, -1)
        queue = self._by_age[reservation.max_age_s]
        del queue[decision_id]
        if not queue:
            del self._by_age[reservation.max_age_s]

    def _count(self, reservation: Reservation, sign: int) -> None:
        slot = reservation.slot
        if slot == _NOWHERE:
            return
        self.in_flight[slot] += sign
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
