"""What the picker knows about endpoints: ledger, scraped gauges, health and prefix index, kept together by events.

It belongs to addresses, not to pools or policies. An address that is no longer wanted is forgotten, and its slot given
away, once its last reservation has ended.
"""

from collections.abc import Set
from typing import Any

import numpy as np

from ext_proc.core.adapters import Adapters
from ext_proc.core.events import (
    AttemptEnded,
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    CacheEvent,
    Event,
    FirstToken,
    Picked,
    RequestEnded,
    Scraped,
)
from ext_proc.core.gauges import Gauges
from ext_proc.core.health import Evidence, Health, evidence_of_attempt, evidence_of_request
from ext_proc.core.index import PrefixIndex
from ext_proc.core.latency import Latencies, sample_of
from ext_proc.core.ledger import Ledger
from ext_proc.core.memory import Memory
from ext_proc.core.record import Record
from ext_proc.core.slots import Slots


class Fleet:
    """The endpoints.

    Mutable: its parts and the set of leaving addresses; the picker is the only writer, strategies read.
    """

    def __init__(self) -> None:
        self.slots = Slots()
        self.index = PrefixIndex()
        self.ledger = Ledger(self.slots, self.index)
        self.gauges = Gauges(self.slots.capacity)
        self.memory = Memory(self.slots.capacity)
        self.latencies = Latencies(self.slots.capacity)
        self.adapters = Adapters()
        self.health = Health(self.slots.capacity)
        self._wanted: Set[str] = frozenset()
        self._leaving: Set[str] = frozenset()

    def want(self, addresses: Set[str]) -> None:
        """Says which endpoints there are from now on."""
        self._leaving = (self._leaving | self._wanted) - addresses
        self._wanted = addresses
        for address in sorted(addresses):  # sorted, so that slots do not depend on the hash seed
            self.slots.acquire(address)
        self.ledger.grow()
        self.gauges.grow(self.slots.capacity)
        self.memory.grow(self.slots.capacity)
        self.latencies.grow(self.slots.capacity)
        self.health.grow(self.slots.capacity)
        self._forget_leaving()

    def apply(self, event: Event, record: Record | None) -> None:
        """Learns from one event. `record` is that of the decision that it is about, if it is still kept."""
        self._time(event, record)
        match event:
            case Scraped():
                self._scraped(event)
            case Picked():
                self._picked(event)
            case BlocksStored() | BlocksRemoved() | CacheCleared():
                self._cached(event)
            case FirstToken():
                self._judge(event.address, Evidence.ALIVE, event.at - event.ttft_ms / 1_000, event.at, record)
                self._proved(event.address, event.at)
            case AttemptEnded():
                self._attempt_ended(event, record)
            case RequestEnded():
                evidence = evidence_of_request(event)
                self._judge(event.served, evidence, event.at - event.duration_ms / 1_000, event.at, record)
                if evidence is Evidence.GOOD:
                    self._proved(event.served, event.at)
            case _:
                pass
        self.ledger.apply(event)
        if self._leaving:
            self._forget_leaving()

    def expire(self, now: float) -> int:
        """Ends reservations past their age; returns how many there were."""
        ended = self.ledger.expire(now)
        self._forget_leaving()
        return ended

    def status(self, address: str, now: float) -> dict[str, Any]:
        """JSON values about a known endpoint; raises KeyError for another one."""
        slot = self.slots.get(address)
        if slot is None:
            raise KeyError(address)
        own = self.ledger.in_flight[slot : slot + 1]
        waiting, running = self.gauges.estimated(np.array([slot]), own, now)
        age_s = self.gauges.age_s(slot, now)
        return {
            "address": address,
            "health": self.health.state(slot, now),
            "in_flight": int(own[0]),
            "waiting": round(float(waiting[0]), 1),
            "running": round(float(running[0]), 1),
            "queued_tokens": int(self.ledger.queued_tokens[slot]),
            "decoding": int(self.ledger.decoding[slot]),
            "index_blocks": self.index.size(slot),
            "scrape_age_s": None if age_s is None else round(age_s, 3),
        }

    def _scraped(self, event: Scraped) -> None:
        slot = self.slots.get(event.address)
        if slot is None:
            return
        self.gauges.scraped(
            slot,
            event.at,
            running=event.running,
            waiting=event.waiting,
            in_flight=int(self.ledger.in_flight[slot]),
            decoding=int(self.ledger.decoding[slot]),
        )
        self.memory.scraped(
            slot,
            event.at,
            usage=event.kv_usage,
            kv_tokens=event.kv_tokens,
            own_tokens=int(self.ledger.queued_tokens[slot] + self.ledger.decoding_tokens[slot]),
        )
        if event.running_loras is not None or event.waiting_loras is not None:
            self.adapters.scraped(slot, frozenset((*(event.running_loras or ()), *(event.waiting_loras or ()))))
        if event.kv_tokens:
            self.index.set_capacity(slot, event.kv_tokens)
        # Engines answer scrapes where they answer requests: somebody listens there.
        self.health.proved(slot, event.at)

    def _cached(self, event: CacheEvent) -> None:
        """An endpoint told what it holds."""
        slot = self.slots.get(event.address)
        if slot is None:
            return
        match event:
            case BlocksStored():
                self.index.stored(slot, event.blocks, event.parent)
            case BlocksRemoved():
                self.index.removed(slot, event.blocks)
            case CacheCleared():
                self.index.cleared(slot)

    def _time(self, event: Event, record: Record | None) -> None:
        """Takes the latency or the error that an event tells of; `record` is as it was before it."""
        sample = sample_of(event, record)
        slot = None if sample is None else self.slots.get(sample.address)
        if sample is None or slot is None:
            return
        if sample.seconds is not None:
            self.latencies.answered(slot, sample.seconds, event.at)
        if sample.is_error is not None:
            self.latencies.ended(slot, event.at, is_error=sample.is_error)

    def _picked(self, event: Picked) -> None:
        slot = self.slots.get(event.address)
        if slot is not None:
            self.health.picked(slot, event.at)

    def _attempt_ended(self, event: AttemptEnded, record: Record | None) -> None:
        evidence = evidence_of_attempt(event)
        if evidence is Evidence.NONE:
            return  # the request's own record tells
        if evidence is Evidence.SOFT and record is not None and self._blames_itself(event.address, record):
            return
        self._judge(event.address, evidence, event.at, event.at, record)
        slot = self.slots.get(event.address)
        if evidence is Evidence.GONE and slot is not None:
            self.index.forget(slot)

    def _blames_itself(self, address: str, record: Record) -> bool:
        """A request that fails on several endpoints is itself the likely cause: what the first got for it is undone."""
        earlier = [failed for failed in record.soft_failures if failed != address]
        record.soft_failures.append(address)
        if len(earlier) == 1:
            slot = self.slots.get(earlier[0])
            if slot is not None:
                self.health.retract_soft(slot)
        return bool(earlier)

    def _judge(self, address: str, evidence: Evidence, started_at: float, now: float, record: Record | None) -> None:
        slot = self.slots.get(address)
        if slot is not None:
            started_at = started_at if record is None else record.at
            self.health.judge(slot, evidence, started_at=started_at, now=now)

    def _proved(self, address: str, at: float) -> None:
        slot = self.slots.get(address)
        if slot is not None:
            self.health.proved(slot, at)

    def _forget_leaving(self) -> None:
        gone = {address for address in self._leaving if not self._is_busy(address)}
        for address in gone:
            slot = self.slots.acquire(address)
            self.index.forget(slot)
            self.ledger.forget(slot)
            self.gauges.reset(slot)
            self.memory.reset(slot)
            self.latencies.reset(slot)
            self.adapters.reset(slot)
            self.health.reset(slot)
            self.slots.free(slot)
        self._leaving -= gone

    def _is_busy(self, address: str) -> bool:
        slot = self.slots.get(address)
        return slot is not None and bool(self.ledger.in_flight[slot])
