"""Tells Envoys what the picker found out about endpoints, so that both avoid the same (`control_plane.fleet.mirror`).

Looked at in a rhythm rather than at each event: a look is cheap, and pushes are bounded by it however fast evidence
changes. Nothing is kept for a restart; what was found out before it is found out again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from control_plane.fleet.mirror import Mirror, MirrorRule
from control_plane.fleet.model import Health
from control_plane.policy.model import Policy, Pool
from control_plane.sidecar.endpoints_lane import EndpointsLane
from ext_proc.core.health import MAX_SOFT_SHARE
from ext_proc.core.survey import Survey
from ext_proc.core.verdicts import State

log = logging.getLogger("kvpilot")

LOOK_S = 0.25
"""How often the picker is asked: an assignment is pushed four times a second at most, and a second of hysteresis is
kept well enough. A look at 1,000 endpoints takes about a millisecond."""

SHOWN = 5
"""Endpoints that a look tells the log of; `/status` has all."""

_WORDS: Mapping[str, Health] = {
    "ejected": Health.UNHEALTHY,
    "half-open": Health.UNHEALTHY,
    "unhealthy": Health.UNHEALTHY,
    "degraded": Health.DEGRADED,
}
"""The picker's words; all others are no reason to avoid anybody."""


class HealthLane:
    """Mutable: the mirror; on one event loop."""

    def __init__(
        self,
        mirror: Mirror,
        survey: Survey,
        endpoints: EndpointsLane | None,
        policy: Callable[[], Policy],
        clock: Callable[[], float],
    ) -> None:
        """`mirror` is the one that `endpoints` shows; None as those: there are no Envoys to be told here. `clock` is
        the picker's."""
        self._mirror = mirror
        self._survey = survey
        self._endpoints = endpoints
        self._policy = policy
        self._clock = clock
        self.pushes = 0
        """How often Envoys were told something else."""
        self.changes: Counter[str] = Counter()
        """State → how often an endpoint has come into it (`ext_proc.core.verdicts`)."""

    async def follow(self) -> None:
        """Looks, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                self.look()
            except Exception:  # the next look must still come
                log.exception("the health of endpoints could not be mirrored")

    def look(self) -> None:
        """One look: what is to be told is told."""
        self._tell_changes()
        if self._endpoints is not None:
            self._mirror_to(self._endpoints)

    def _tell_changes(self) -> None:
        """A line for each endpoint that is otherwise; of a wave the first ones and their number."""
        changes = self._survey.take_health_changes()
        for n, (address, change) in enumerate(changes):
            self.changes[change.now.value] += 1
            if n < SHOWN:
                is_better = change.now is State.HEALTHY
                why = "" if is_better else f": {change.why}"
                level = logging.INFO if is_better else logging.WARNING
                log.log(level, "%s is %s, was %s%s", address, change.now.value, change.was.value, why)
        if len(changes) > SHOWN:
            log.warning("%d more endpoints are otherwise than before", len(changes) - SHOWN)

    def _mirror_to(self, endpoints: EndpointsLane) -> None:
        if not self._survey.is_anyone_out and self._mirror.is_idle:
            return
        rules = {pool.name: rule for pool in self._policy().pools if (rule := rule_of(pool)) is not None}
        now = self._clock()
        seen = {pool: (rules[pool], _seen(states)) for pool, states in self._survey.health(now) if pool in rules}
        changed = self._mirror.look(now, seen)
        if changed:
            self.pushes += 1
            log.info("Envoys are told: %s", _words(self._mirror.rows) or "all endpoints are sound")
            endpoints.restated(changed)

    def status(self) -> list[dict[str, str]]:
        """JSON values: whom Envoys are told to avoid."""
        return self._mirror.rows


def _seen(states: Sequence[tuple[str, str]]) -> dict[str, Health]:
    """How endpoints are for the picker, which makes no difference where more than half of them are degraded."""
    seen = {address: _WORDS.get(word, Health.HEALTHY) for address, word in states}
    if sum(health is Health.DEGRADED for health in seen.values()) <= len(seen) * MAX_SOFT_SHARE:
        return seen
    return {address: Health.HEALTHY if each is Health.DEGRADED else each for address, each in seen.items()}


def rule_of(pool: Pool) -> MirrorRule | None:
    """How a pool is mirrored; None where it is not."""
    mirror, outliers = pool.health.mirror, pool.traffic_policy.outlier_detection
    if mirror is None:
        return None
    return MirrorRule(
        after_s=mirror.after_s,
        clear_after_s=mirror.clear_after_s,
        max_share=mirror.max_percent / 100,
        others_share=0.0 if outliers is None else outliers.max_ejection_percent / 100,
    )


def _words(rows: list[dict[str, str]]) -> str:
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return ", ".join(f"{row['pool']}/{row['address']} {row['state']}" for row in rows[:SHOWN]) + more
