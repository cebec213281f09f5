"""All that says how an endpoint is, in one place: signs of engines, verdicts, and the ejections of `Health`.

It is the way from events to `Health.found`. Endpoints of pools whose settings say nothing of health cost nothing here.
"""

from collections.abc import Iterable, Sequence

from ext_proc.core.events import LoadReported, Probed, Scraped, ScrapeFailed
from ext_proc.core.health import OUT, Health
from ext_proc.core.settings import HealthSettings, PoolSettings
from ext_proc.core.signs import Signs
from ext_proc.core.slots import Slots
from ext_proc.core.verdicts import Finding, State, StateChange, Verdicts

NOT_NAMED = OUT | {State.UNHEALTHY.value}
"""Words of those who are not named while anybody else may be."""


class Soundness:
    """Mutable: the signs, the verdicts, and through them `health`; the picker's fleet is the only writer."""

    def __init__(self, slots: Slots, health: Health) -> None:
        self._slots = slots
        self._health = health
        self._signs = Signs()
        self._verdicts = Verdicts()
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
        self._limits_s = {slot: each.heartbeat_s for slot, each in said.items() if each.heartbeat_s is not None}

    def told(self, slot: int, event: Scraped | LoadReported) -> None:
        """An engine told its numbers."""
        settings = self._verdicts.settings(slot)
        if settings is not None:
            self._take(slot, self._signs.told(slot, event, settings), event.at)

    def unread(self, event: ScrapeFailed) -> None:
        """An engine's numbers could not be read."""
        slot = self._slots.get(event.address)
        settings = None if slot is None else self._verdicts.settings(slot)
        if slot is not None and settings is not None:
            self._take(slot, self._signs.unread(slot, event.reason, settings), event.at)

    def probed(self, event: Probed) -> None:
        """An engine was asked whether it is ready."""
        slot = self._slots.get(event.address)
        if slot is None or self._verdicts.settings(slot) is None:
            return
        self._take(slot, self._signs.probed(slot, event), event.at)
        if not event.fault and self._verdicts.state(slot) is not State.UNHEALTHY:
            self._health.refuted(slot, event.at)

    def answered(self, slot: int, at: float) -> None:
        """A token, or a whole good answer, came from there."""
        if self._verdicts.settings(slot) is not None:
            self._take(slot, self._signs.answered(slot, at), at)

    def look(self, now: float) -> None:
        """Who is silent; to be called about once a second."""
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
        self._verdicts.reset(slot)
        self._health.found(slot, is_down=False, is_degraded=False)

    def state(self, slot: int) -> State:
        """How an endpoint is, but for its ejection."""
        return self._verdicts.state(slot)

    def word(self, slot: int, now: float) -> str:
        """Its health: `ejected`, `half-open`, `unhealthy`, `degraded` or `healthy`, which UNKNOWN counts as."""
        ejection = self._health.state(slot, now)
        state = self._verdicts.state(slot)
        return state.value if ejection not in OUT and state in (State.UNHEALTHY, State.DEGRADED) else ejection

    def why(self, slot: int) -> str:
        """What is bad but for its ejection."""
        return self._verdicts.why(slot)

    def take_changes(self) -> list[tuple[str, StateChange]]:
        """(address, change) since the last question, oldest first."""
        return [(self._slots.address(each.slot), each) for each in self._verdicts.take_changes()]

    def _take(self, slot: int, findings: Iterable[Finding], at: float) -> None:
        changed = [self._verdicts.take(slot, finding, at) for finding in findings]
        if any(changed):
            state = self._verdicts.state(slot)
            self._health.found(slot, is_down=state is State.UNHEALTHY, is_degraded=state is State.DEGRADED)
