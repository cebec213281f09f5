"""All that says how an endpoint is, in one place: signs of engines, verdicts, and the ejections of `Health`.

It is the way from events to `Health.found`. Endpoints of pools whose settings say nothing of health cost nothing here.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from ext_proc.core.events import LoadReported, Probed, Scraped, ScrapeFailed, Tried
from ext_proc.core.evidence import OUT, evidence_of_try
from ext_proc.core.gpu_signs import GpuSigns
from ext_proc.core.gpus import GpusTold, GpusUntold
from ext_proc.core.health import Health
from ext_proc.core.settings import HealthSettings, PoolSettings
from ext_proc.core.signs import Signs
from ext_proc.core.slots import Slots
from ext_proc.core.trials import Trials
from ext_proc.core.verdicts import Finding, Sign, State, StateChange, Verdicts

_MUTE: Final[frozenset[Sign]] = frozenset({"scrapes", "heartbeat", "progress", "probe"})
"""Signs of one that may not answer requests either: a token is asked for, before somebody's request finds it out."""

NOT_NAMED = OUT | {State.UNHEALTHY.value}
"""Words of those who are not named while anybody else may be."""


class Soundness:
    """Mutable: the signs, the verdicts, and through them `health`; the picker's fleet is the only writer."""

    def __init__(self, slots: Slots, health: Health) -> None:
        self._slots = slots
        self._health = health
        self._signs = Signs()
        self._gpus = GpuSigns()
        self._verdicts = Verdicts()
        self._trials = Trials(health)
        self._limits_s: dict[int, float] = {}

    def configure(self, pools: Sequence[PoolSettings]) -> None:
        """Says how the endpoints are judged; one of several pools as the first that says something. All have slots."""
        said: dict[int, HealthSettings] = {
            self._slots.acquire(endpoint.address): pool.health
            for pool in reversed(pools)
            if pool.health is not None
            for endpoint in pool.endpoints
        }
        for slot in self._verdicts.configure(said):
            self._health.found(slot, is_down=False, is_degraded=False)
            latest = self._gpus.latest(slot, self._slots.address(slot))
            if latest is not None:
                self.hardware(latest)
        self._limits_s = {slot: each.heartbeat_s for slot, each in said.items() if each.heartbeat_s is not None}
        pool_of = {self._slots.acquire(endpoint.address): pool.cluster for pool in pools for endpoint in pool.endpoints}
        self._trials.configure(said, pool_of)
        for slot in pool_of:
            self._watch(slot)
        self._health.place(
            {
                self._slots.acquire(endpoint.address): (endpoint.region, endpoint.zone)
                for pool in pools
                for endpoint in pool.endpoints
                if endpoint.region or endpoint.zone
            }
        )

    def told(self, slot: int, event: Scraped | LoadReported) -> None:
        """An engine told its numbers."""
        settings = self._verdicts.settings(slot)
        if settings is not None:
            self._take(slot, self._signs.told(slot, event, settings), event.at)
            if isinstance(event, Scraped):
                self._page(slot, event.at, is_there=True)

    def unread(self, event: ScrapeFailed) -> None:
        """An engine's numbers could not be read."""
        slot = self._slots.get(event.address)
        settings = None if slot is None else self._verdicts.settings(slot)
        if slot is not None and settings is not None:
            self._take(slot, self._signs.unread(slot, event.reason, settings), event.at)
            self._page(slot, event.at, is_there=False)

    def probed(self, event: Probed) -> None:
        """An engine was asked whether it is ready."""
        slot = self._slots.get(event.address)
        if slot is None or self._verdicts.settings(slot) is None:
            return
        self._take(slot, self._signs.probed(slot, event), event.at)
        if not event.fault and self._verdicts.state(slot) is not State.UNHEALTHY:
            self._health.refuted(slot, event.at)
        self._page(slot, event.at, is_there=not event.fault)

    def due(self, now: float, most: int) -> list[str]:
        """At most so many who are to be asked for a token now (`ext_proc.core.trials`); taken to be begun."""
        slots = self._trials.due(now, most)
        for slot in slots:
            self._trials.began(slot, now)
        return [self._slots.address(slot) for slot in slots]

    def tried(self, slot: int, event: Tried) -> None:
        """What came of asking for a token."""
        evidence = evidence_of_try(event)
        self._trials.ended(slot, evidence, event.started_at, event.at)
        if evidence is None:
            self._watch(slot)

    def embedded(self, slot: int, at: float) -> None:
        """It answered a request for embeddings: what such an engine says to one for a token is anybody's guess."""
        if self._trials.looks_after(slot):
            self._trials.unable(slot, at)
            self._watch(slot)

    def suspect(self, slot: int, at: float) -> None:
        """It answered a request with an error."""
        self._trials.suspect(slot, at)

    def hardware(self, event: GpusTold | GpusUntold) -> None:
        """An exporter told of an endpoint's GPUs, or did not."""
        slot = self._slots.get(event.address)
        settings = None if slot is None else self._verdicts.settings(slot)
        if slot is None or settings is None or settings.gpu is None:
            return
        if isinstance(event, GpusTold):
            self._take(slot, self._gpus.told(slot, event, settings.gpu), event.at)
        else:
            self._take(slot, self._gpus.untold(slot, event, settings.gpu), event.at)

    def gpu_status(self, slot: int, now: float) -> dict[str, Any]:
        """`GpuSigns.status` of one whose hardware is looked at."""
        settings = self._verdicts.settings(slot)
        return {} if settings is None or settings.gpu is None else self._gpus.status(slot, now)

    def answered(self, slot: int, at: float) -> None:
        """A token, or a whole good answer, came from there."""
        if self._verdicts.settings(slot) is not None:
            self._take(slot, self._signs.answered(slot, at), at)

    def look(self, now: float) -> None:
        """Who is silent; to be called about once a second."""
        for slot in self._trials.look(now):
            self._watch(slot)
        if self._limits_s:
            for slot, finding in list(self._signs.silent(now, self._limits_s)):
                self._take(slot, (finding,), now)

    def counts_attempts(self, slot: int) -> bool:
        """Whether what becomes of requests may eject an endpoint."""
        settings = self._verdicts.settings(slot)
        return settings is None or settings.attempts

    def reset(self, slot: int) -> None:
        """The slot is somebody else's."""
        self._signs.reset(slot)
        self._gpus.reset(slot)
        self._verdicts.reset(slot)
        self._trials.reset(slot)
        self._health.found(slot, is_down=False, is_degraded=False)
        self._health.watch(slot, is_watched=False)

    def state(self, slot: int) -> State:
        """How an endpoint is, but for its ejection."""
        return self._verdicts.state(slot)

    def word(self, slot: int, now: float) -> str:
        """Its health: `ejected`, `half-open`, `unhealthy`, `degraded` or `healthy`, which UNKNOWN counts as."""
        ejection = self._health.state(slot, now)
        state = self._verdicts.state(slot)
        return state.value if ejection not in OUT and state in (State.UNHEALTHY, State.DEGRADED) else ejection

    def why(self, slot: int) -> str:
        """What is bad; of an endpoint that is ejected and of which nothing else is found, what became of requests."""
        return self._verdicts.why(slot) or self._health.why(slot)

    def take_changes(self) -> list[tuple[str, StateChange]]:
        """(address, change) since the last question, oldest first."""
        return [(self._slots.address(each.slot), each) for each in self._verdicts.take_changes()]

    def _watch(self, slot: int) -> None:
        """Says whether there will be signs of life of an endpoint if it is ejected."""
        settings = self._verdicts.settings(slot)
        is_asked = settings is not None and settings.probe is not None
        is_watched = is_asked or self._trials.looks_after(slot) or self._signs.is_scraped(slot)
        self._health.watch(slot, is_watched=is_watched)

    def _page(self, slot: int, at: float, *, is_there: bool) -> None:
        """A page of an endpoint could be read, or not: where no token is asked for, that is its sign of life."""
        self._trials.page(slot, at, is_there=is_there)
        self._watch(slot)
        if not self._health.is_out(slot) or self._trials.looks_after(slot):
            return
        if not is_there:
            self._health.lifeless(slot, at)
        elif not self._signs.is_still(slot, self._health.ejected_at(slot)):
            self._health.alive(slot, at)

    def _take(self, slot: int, findings: Iterable[Finding], at: float) -> None:
        is_mute, changed = False, []
        for finding in findings:
            changed.append(self._verdicts.take(slot, finding, at))
            is_mute |= finding.is_bad and finding.sign in _MUTE
        if any(changed):
            if is_mute:
                self._trials.suspect(slot, at)
            state = self._verdicts.state(slot)
            self._health.found(slot, is_down=state is State.UNHEALTHY, is_degraded=state is State.DEGRADED)
