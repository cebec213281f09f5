"""What the picker knows about endpoints: ledger, scraped gauges, health and prefix index, kept together by events.

It belongs to addresses, not to pools or policies. An address that is no longer wanted is forgotten, and its slot given
away, once its last reservation has ended. Only how fast it was is kept for a moment (`ext_proc.core.away`).
"""

from collections.abc import Sequence, Set

from ext_proc.core.adapter_slots import AdapterSlots
from ext_proc.core.adapters import Adapters
from ext_proc.core.away import Away
from ext_proc.core.blocks import BLOCK_TOKENS
from ext_proc.core.claims import LEAST_HELD
from ext_proc.core.events import (
    AttemptEnded,
    AttemptStarted,
    BlocksRemoved,
    BlocksStored,
    CacheCleared,
    CacheEvent,
    Event,
    FirstToken,
    LoadReported,
    ModelsListed,
    Picked,
    Probed,
    RequestEnded,
    Scraped,
    ScrapeFailed,
    StreamEnded,
    Tried,
)
from ext_proc.core.evidence import (
    FAILURES,
    SOFT_FAILURES,
    Evidence,
    evidence_of_attempt,
    evidence_of_request,
)
from ext_proc.core.failing import Failing
from ext_proc.core.gauges import Gauges
from ext_proc.core.gpus import GpusTold, GpusUntold
from ext_proc.core.health import Health
from ext_proc.core.heard import Heard, Source
from ext_proc.core.index import PrefixIndex
from ext_proc.core.kv_size import KvSizes
from ext_proc.core.latency import Latencies, sample_of
from ext_proc.core.ledger import Ledger
from ext_proc.core.loaded_models import LoadedModels
from ext_proc.core.memory import Memory
from ext_proc.core.overdue import Overdue
from ext_proc.core.record import Record
from ext_proc.core.restarts import Restarts
from ext_proc.core.sessions import Sessions
from ext_proc.core.settings import PoolSettings
from ext_proc.core.slots import Slots
from ext_proc.core.soundness import Soundness
from ext_proc.core.tries import Tries
from ext_proc.core.warming import Warming

_NUMBERS = ("running", "waiting", "waiting_tokens", "max_running", "kv_usage", "kv_tokens", "block_size")
"""What both a scrape and a report may tell."""


class Fleet:
    """The endpoints.

    Mutable: its parts and the set of leaving addresses; the picker is the only writer, strategies read.
    """

    def __init__(self, session_key: bytes = b"") -> None:
        """`session_key` is that of `ext_proc.core.sessions`."""
        self.slots = Slots()
        self.index = PrefixIndex()
        self.kv_sizes = KvSizes()
        self.gauges = Gauges(self.slots.capacity)
        self.ledger = Ledger(self.slots, self.index, self.gauges)
        self.heard = Heard()
        self.memory = Memory(self.slots.capacity)
        self.latencies = Latencies(self.slots.capacity)
        self.tries = Tries(self.slots.capacity)
        self.adapters = Adapters()
        self.adapter_slots = AdapterSlots()
        self.models = LoadedModels()
        self.health = Health(self.slots.capacity)
        self.soundness = Soundness(self.slots, self.health)
        self.warming = Warming()
        self.failing = Failing(self.latencies)
        self.sessions = Sessions(self.slots, session_key)
        self._restarts = Restarts()
        self._overdue = Overdue()
        self._away = Away()
        self._wanted: Set[str] = frozenset()
        self._leaving: Set[str] = frozenset()

    def want(self, addresses: Set[str], now: float | None = None) -> None:
        """Says which endpoints there are from `now` on; without it, nothing is kept of those that leave."""
        self._leaving = (self._leaving | self._wanted) - addresses
        self._wanted = addresses
        joining = sorted(address for address in addresses if self.slots.get(address) is None)
        for address in joining:  # sorted, so that slots do not depend on the hash seed
            self.slots.acquire(address)
        self.ledger.grow()
        self.gauges.grow(self.slots.capacity)
        self.memory.grow(self.slots.capacity)
        self.latencies.grow(self.slots.capacity)
        self.tries.grow(self.slots.capacity)
        self.health.grow(self.slots.capacity)
        for address in joining:
            if now is not None and (pace := self._away.back(address, now)) is not None:
                self.ledger.speed.resume(self.slots.acquire(address), pace)
        self._forget_leaving(now)

    def warm_up(self, pools: Sequence[PoolSettings], joining: Set[str], now: float | None) -> None:
        """Says how the endpoints of `pools` come to their full share; those that are `joining` begin `now`, if at all.

        An endpoint of several pools follows the first that says something.
        """
        said = {
            self.slots.acquire(endpoint.address): pool.warmup
            for pool in reversed(pools)
            if pool.warmup is not None
            for endpoint in pool.endpoints
        }
        self.warming.configure(said)
        if now is not None:
            for address in joining:
                self.warming.joined(self.slots.acquire(address), now)

    def apply(self, event: Event, record: Record | None) -> None:
        """Learns from one event. `record` is that of the decision that it is about, if it is still kept."""
        self._time(event, record)
        match event:
            case Scraped():
                self._scraped(event)
            case LoadReported():
                self._reported(event)
            case ModelsListed():
                if (slot := self.slots.get(event.address)) is not None:
                    self.models.told(slot, event.models, event.at)
            case ScrapeFailed():
                self.soundness.unread(event)
            case Probed():
                self._probed(event)
            case Tried():
                self._tried(event)
            case Picked():
                self._picked(event)
            case BlocksStored() | BlocksRemoved() | CacheCleared():
                self._cached(event)
            case FirstToken():
                self._overdue.over(event.decision_id)
                began_at = event.at - event.ttft_ms / 1_000
                self._judge(event.address, Evidence.ALIVE, began_at, event.at, record)
                if event.status < 400:  # whatever becomes of it, another request may try an endpoint on trial
                    self._over(event.address, began_at if record is None else record.at, event.at)
                self._proved(event.address, event.at)
            case AttemptStarted():
                self._overdue.moved(event.decision_id, event.address, event.at)
            case StreamEnded():
                self._overdue.over(event.decision_id)
            case AttemptEnded():
                self._attempt_ended(event, record)
            case RequestEnded():
                self._overdue.over(event.decision_id)
                evidence = evidence_of_request(event)
                served = self.slots.get(event.served) if evidence is Evidence.GOOD else None
                self.sessions.ended(event.decision_id, served, event.at)
                self._judge(event.served, evidence, event.at - event.duration_ms / 1_000, event.at, record)
                self._undecided(event, evidence, record)
                if evidence is Evidence.GOOD:
                    self._proved(event.served, event.at)
                    self.latencies.lasted(event.duration_ms)
                    if served is not None and record is not None and record.request.kind == "embedding":
                        self.soundness.embedded(served, event.at)
                self._learn_size(event, record)
            case GpusTold() | GpusUntold():
                self.soundness.hardware(event)
        self.ledger.apply(event)
        if self._leaving:
            self._forget_leaving(event.at)

    def expect(self, decision_id: str, address: str, now: float, limit_s: float) -> None:
        """A stream was given to an endpoint, whose first byte is due within that (`ext_proc.core.overdue`)."""
        self._overdue.expect(decision_id, address, now, limit_s)

    def unheard(self, address: str) -> None:
        """An endpoint will not tell of its blocks any more; what it told would be believed for ever."""
        slot = self.slots.get(address)
        if slot is not None:
            self.index.forget(slot)

    def expire(self, now: float) -> int:
        """Ends reservations past their age; returns how many there were."""
        self.soundness.look(now)
        for address, began_at in self._overdue.take(now):
            self._judge(address, Evidence.TIMEOUT, began_at, now, None)
        ended = self.ledger.expire(now)
        self.sessions.expire(now)
        self._forget_leaving(now)
        return ended

    def _scraped(self, event: Scraped) -> None:
        slot = self.slots.get(event.address)
        if slot is None:
            return
        if self._restarts.is_new(slot, event):
            # An engine that tells of its blocks tells of that, too, and may have told of its new ones by now.
            self._died(slot, has_told=self.index.is_precise(slot))
        self._take(slot, event, "scrape")
        if event.running_loras is not None or event.waiting_loras is not None:
            names = frozenset((*(event.running_loras or ()), *(event.waiting_loras or ())))
            self.adapters.scraped(slot, names)
            self.adapter_slots.scraped(slot, names, event.max_loras)
        self.soundness.told(slot, event)
        # Engines answer scrapes where they answer requests: somebody listens there.
        self.health.proved(slot, event.at)
        self.warming.proved(slot, event.at)

    def _reported(self, event: LoadReported) -> None:
        # Not a proof of health: whoever reports may live on beside an engine that is gone.
        slot = self.slots.get(event.address)
        if slot is None:
            return
        self._take(slot, event, event.source, event.interval_s)
        self.soundness.told(slot, event)
        if event.models is not None:
            self.models.told(slot, frozenset((*event.models, *(event.adapters or ()))), event.at)
        if event.adapters is not None:
            self.adapters.scraped(slot, frozenset(event.adapters))

    def _take(self, slot: int, event: Scraped | LoadReported, source: Source, interval_s: float | None = None) -> None:
        """Takes those numbers of which nobody has told a newer one."""
        numbers = {name: value for name in _NUMBERS if (value := getattr(event, name)) is not None}
        news = self.heard.take(slot, source, event.at, numbers, interval_s)
        fresh_s = self.heard.fresh_s(slot, source)
        self.gauges.told(
            slot,
            event.at,
            running=news.get("running"),
            waiting=news.get("waiting"),
            in_flight=int(self.ledger.in_flight[slot]),
            decoding=int(self.ledger.decoding[slot]),
            fresh_s=fresh_s,
        )
        self.memory.scraped(
            slot,
            event.at,
            usage=news.get("kv_usage"),
            kv_tokens=news.get("kv_tokens"),
            own_tokens=int(self.ledger.queued_tokens[slot] + self.ledger.decoding_tokens[slot]),
            fresh_s=fresh_s,
        )
        if "kv_usage" in news and ("running" in news or "waiting" in news):
            self._compare(slot, event.at)
        if news.get("kv_tokens"):
            self.kv_sizes.told(slot, news["kv_tokens"])
            self._set_size(slot, self.kv_sizes.blocks(slot))

    def _compare(self, slot: int, at: float) -> None:
        """Whether the KV memory in use there can be that of the requests which were told just now."""
        waiting, running = self.gauges.foreign_told(slot)
        held = self.memory.held(slot, at)
        if held is None or not (waiting or running):
            return
        own_least = LEAST_HELD * float(self.ledger.decoding[slot])
        self.ledger.claims.compare(slot, at, running, held, own_least, self.ledger.most_held(slot))

    def disbelieve(self, address: str) -> None:
        """Forgets what an endpoint told of its blocks: from now on it holds what picks have made likely."""
        slot = self.slots.get(address)
        if slot is not None:
            self.index.forget(slot)
            self._set_size(slot, self.kv_sizes.blocks(slot))

    def _learn_size(self, event: RequestEnded, record: Record | None) -> None:
        slot = self.slots.get(event.served)
        # Anthropic's API tells of a prompt without what was cached of it.
        prompt = None if record is None or record.request.kind == "messages" else event.prompt_tokens
        blocks = self.kv_sizes.ended(slot, event.decision_id, prompt, event.cached_tokens)
        if slot is not None:
            self._set_size(slot, blocks)

    def _set_size(self, slot: int, blocks: int | None) -> None:
        if blocks is not None:
            self.index.set_capacity(slot, blocks * BLOCK_TOKENS)

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
                self.kv_sizes.restarted(slot)
        self.heard.take(slot, "events", event.at, {"cached_blocks": self.index.size(slot)})

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
            self.tries.ended(slot, is_error=sample.is_error)

    def _picked(self, event: Picked) -> None:
        slot = self.slots.get(event.address)
        if slot is not None:
            self.health.picked(slot, event.at)
            generated = float(self.ledger.decoding[slot]) * self.ledger.mean_output
            self.kv_sizes.picked(slot, event.decision_id, event.blocks, generated)
            if event.session:
                self.sessions.picked(event, slot)

    def _attempt_ended(self, event: AttemptEnded, record: Record | None) -> None:
        evidence = evidence_of_attempt(event)
        if evidence is Evidence.NONE:
            return  # the request's own record tells
        if evidence in SOFT_FAILURES and record is not None and self._blames_itself(event.address, record):
            self._over(event.address, event.at if record is None else record.at, event.at)
            return
        self._judge(event.address, evidence, event.at, event.at, record)
        slot = self.slots.get(event.address)
        if evidence is Evidence.ALIVE:
            self._over(event.address, event.at if record is None else record.at, event.at)
        elif evidence is Evidence.SOFT and slot is not None:
            self.soundness.suspect(slot, event.at)
        if evidence is Evidence.GONE and slot is not None:
            self._died(slot)

    def _died(self, slot: int, *, has_told: bool = False) -> None:
        """The process there has ended, and with it what it held; its machine is as quick as before. `has_told`: what is
        known of its cache is that of the next one.

        To be called for hard evidence only: an engine that hangs may go on with all that it has.
        """
        if not has_told:
            self.index.forget(slot)
            self.kv_sizes.restarted(slot)
            self._set_size(slot, self.kv_sizes.blocks(slot))
        # The next one's counters begin anew, which is no second end.
        self._restarts.reset(slot)
        self.gauges.reset(slot)
        self.memory.reset(slot)
        self.adapters.reset(slot)
        self.adapter_slots.reset(slot)
        self.models.reset(slot)
        self.sessions.forget(slot)
        self.warming.gone(slot)

    def _blames_itself(self, address: str, record: Record) -> bool:
        """A request that fails on several endpoints is itself the likely cause: what the first got for it is undone.

        Of one that fails again where it failed, as in a pool of a single endpoint, the first time counts.
        """
        failed = record.soft_failures
        if address in failed:
            return True
        failed.append(address)
        if len(failed) == 2:
            slot = self.slots.get(failed[0])
            if slot is not None:
                self.health.retract_soft(slot)
        return len(failed) > 1

    def _judge(self, address: str, evidence: Evidence, started_at: float, now: float, record: Record | None) -> None:
        slot = self.slots.get(address)
        if slot is not None:
            started_at = started_at if record is None else record.at
            if evidence in FAILURES and not self.soundness.counts_attempts(slot):
                return
            was_out = self.health.is_out(slot)
            self.health.judge(slot, evidence, started_at=started_at, now=now)
            self._forgive(slot, was_out=was_out)

    def _forgive(self, slot: int, *, was_out: bool) -> None:
        if was_out and not self.health.is_out(slot):
            self.latencies.forgive(slot)

    def _undecided(self, event: RequestEnded, evidence: Evidence, record: Record | None) -> None:
        """A request that ended without a word on an endpoint on trial: that one is not to wait for it any longer.

        What was tried elsewhere afterwards has failed there, of which there is a record of its own.
        """
        started_at = event.at - event.duration_ms / 1_000 if record is None else record.at
        if evidence is Evidence.NONE and event.served:
            self._over(event.served, started_at, event.at)
        if record is not None and record.endpoints[0] != event.served and event.attempts <= 1:
            self._over(record.endpoints[0], started_at, event.at)

    def _over(self, address: str, started_at: float, now: float) -> None:
        slot = self.slots.get(address)
        if slot is not None:
            self.health.undecided(slot, started_at, now)

    def _probed(self, event: Probed) -> None:
        slot = self.slots.get(event.address)
        if slot is None:
            return
        was_out = self.health.is_out(slot)
        self.soundness.probed(event)
        self._forgive(slot, was_out=was_out)
        if event.is_refused:
            self._died(slot)

    def _tried(self, event: Tried) -> None:
        slot = self.slots.get(event.address)
        if slot is None:
            return
        was_out = self.health.is_out(slot)
        self.soundness.tried(slot, event)
        self._forgive(slot, was_out=was_out)
        if event.is_refused:
            self._died(slot)

    def _proved(self, address: str, at: float) -> None:
        slot = self.slots.get(address)
        if slot is not None:
            self.health.proved(slot, at)
            self.soundness.answered(slot, at)
            self.warming.proved(slot, at)

    def _forget_leaving(self, now: float | None) -> None:
        gone = {address for address in self._leaving if not self._is_busy(address)}
        for address in gone:
            slot = self.slots.acquire(address)
            if now is not None:
                self._away.left(address, self.ledger.speed.pace(slot), now)
            self.index.forget(slot)
            self.kv_sizes.forget(slot)
            self.ledger.forget(slot)
            self.heard.reset(slot)
            self.gauges.reset(slot)
            self.memory.reset(slot)
            self.latencies.reset(slot)
            self.tries.reset(slot)
            self.adapters.reset(slot)
            self.adapter_slots.reset(slot)
            self.models.reset(slot)
            self.health.reset(slot)
            self.soundness.reset(slot)
            self.warming.reset(slot)
            self.failing.reset(slot)
            self.sessions.forget(slot)
            self._restarts.reset(slot)
            self.slots.free(slot)
        self._leaving -= gone

    def _is_busy(self, address: str) -> bool:
        slot = self.slots.get(address)
        return slot is not None and bool(self.ledger.in_flight[slot])
