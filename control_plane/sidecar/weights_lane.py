"""Has weights follow what endpoints serve (`control_plane.fleet.weights`): asks who measures, tells who obeys.

Measured is by the picker beside it, where there is one, and by all Envoys that report (LRS); one of the two is enough.
What is learned goes to Envoys over EDS and to the picker's strategies the same way, as the weights of the fleet that is
served. What is kept of it for a restart: `control_plane.sidecar.kept_weights`.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from control_plane.compile import cluster_name
from control_plane.fleet.speeds import Observed
from control_plane.fleet.weights import ENVOY, PICKER, WeightRule, Weights
from control_plane.policy.model import Policy, Pool
from control_plane.sidecar.endpoints_lane import EndpointsLane
from control_plane.xds.load_stats import EndpointWork
from control_plane.xds.load_stats_server import LoadStatsService
from ext_proc.core.served import Served
from ext_proc.service import PickerService

log = logging.getLogger("kvpilot")

SAMPLE_S: Final = 0.1
"""How often the picker is asked what is in flight: a request of 100 ms is seen once. 1,000 endpoints take 0.3 ms."""

SAMPLES_PER_LOOK: Final = 10
"""A look a second: changes of weights are as far apart, at least."""

MAX_PAUSE_S: Final = 1.0
"""A sample stands for no longer than this: after a pause nobody knows what was in flight meanwhile."""

NOTEWORTHY: Final = 1.5
"""A line in the log for an endpoint whose weight has changed by this factor since the last one; `/status` has all."""


@dataclass(slots=True)
class _Sampled:
    """What samples have seen of an endpoint since the last look. Mutable: the sums."""

    busy_s: float = 0.0
    seen: int = 0


@dataclass(slots=True)
class WeightsLane:
    """Mutable: what was sampled since the last look, and what the log was told; on one event loop."""

    weights: Weights
    endpoints: EndpointsLane
    policy: Callable[[], Policy]
    clock: Callable[[], float]
    picker: PickerService | None = None
    load_stats: LoadStatsService | None = None
    pushes: int = 0
    """How often weights were changed."""
    _served: Served = field(default_factory=Served)
    _sampled: dict[str, _Sampled] = field(default_factory=dict)
    _sampled_at: float | None = None
    _told: dict[tuple[str, str], float] = field(default_factory=dict)

    def attach(self) -> None:
        """From now on reports of Envoys are taken."""
        if self.load_stats is not None:
            self.load_stats.told = self.reported

    async def follow(self) -> None:
        """Samples and looks, until cancelled."""
        for turn in range(1, 2**63):
            await asyncio.sleep(SAMPLE_S)
            try:
                self.sample()
                if turn % SAMPLES_PER_LOOK == 0:
                    self.look()
            except Exception:  # the next look must still come
                log.exception("weights could not be adapted")

    def sample(self) -> None:
        """Notes what is in flight by the picker's own account."""
        if self.picker is None or not self._sampled:
            return
        now = self.clock()
        passed = 0.0 if self._sampled_at is None else min(MAX_PAUSE_S, max(0.0, now - self._sampled_at))
        self._sampled_at = now
        counts = self.picker.survey.in_flight(self._sampled)
        for sampled, count in zip(self._sampled.values(), counts, strict=True):
            sampled.busy_s += count * passed
            sampled.seen += count

    def look(self) -> None:
        """One look: what was measured is taken, and weights that move are told."""
        rules = {pool.name: rule for pool in self.policy().pools if (rule := rule_of(pool)) is not None}
        configured = {pool: self._configured(pool) for pool in rules}
        self._ask(configured)
        if not rules and self.weights.is_idle:
            return
        self._take_own(configured)
        changed = self.weights.look(self.clock(), {pool: (rule, configured[pool]) for pool, rule in rules.items()})
        self._watch(configured)
        if changed:
            self.pushes += 1
            self._log()
            self.endpoints.restated(changed)

    def reported(self, work: tuple[EndpointWork, ...]) -> None:
        """What Envoys have told."""
        pools = {cluster_name(pool.name): pool.name for pool in self.policy().pools}
        for each in work:
            pool = pools.get(each.cluster)
            if pool is not None:
                seen = Observed(each.succeeded, each.succeeded, each.failed, each.busy_s, each.seen)
                self.weights.take(pool, each.address, ENVOY, seen)

    def status(self) -> list[dict[str, Any]]:
        """JSON values: `Weights.rows`."""
        return self.weights.rows

    def _ask(self, pools: Mapping[str, Mapping[str, int]]) -> None:
        """Has others measure while it is wanted, and no longer."""
        if self.picker is not None:
            self.picker.watched = self._served.apply if pools else None
        if self.load_stats is not None:
            self.load_stats.want({cluster_name(pool) for pool in pools}, sum(map(len, pools.values())))

    def _configured(self, pool: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for endpoint in self.endpoints.taken.pools.get(pool, ()):
            found.setdefault(endpoint.address, endpoint.weight)
        return found

    def _take_own(self, configured: Mapping[str, Mapping[str, int]]) -> None:
        """An address of several pools is measured as a whole, and counts in each."""
        served = self._served.take()
        for pool, endpoints in configured.items():
            for address in endpoints:
                sampled, count = self._sampled.get(address), served.get(address)
                if sampled is not None and (sampled.seen or count):
                    done = (count.work, count.requests, count.failed) if count else (0.0, 0, 0)
                    self.weights.take(pool, address, PICKER, Observed(*done, sampled.busy_s, sampled.seen))

    def _watch(self, configured: Mapping[str, Mapping[str, int]]) -> None:
        """Who is sampled until the next look."""
        self._sampled = {address: _Sampled() for endpoints in configured.values() for address in endpoints}
        if not self._sampled:
            self._sampled_at = None

    def _log(self) -> None:
        rows = {(row["pool"], row["address"]): row for row in self.weights.rows}
        for key, row in rows.items():
            before = self._told.get(key, row["configured"])
            if max(row["weight"] / before, before / row["weight"]) >= NOTEWORTHY:
                self._told[key] = row["weight"]
                log.info("%s/%s weighs %g now, was %g: %s", *key, row["weight"], before, row["why"])
        for key in self._told.keys() - rows.keys():
            del self._told[key]


def rule_of(pool: Pool) -> WeightRule | None:
    """How the weights of a pool may move; None where they stay as they are."""
    adaptive = pool.traffic_policy.load_balancer.adaptive_weights
    if adaptive is None:
        return None
    return WeightRule(
        interval_s=adaptive.interval_s,
        step=adaptive.max_step / 100,
        minimum=adaptive.min_percent / 100,
        maximum=adaptive.max_percent / 100,
        half_life_s=adaptive.half_life_s,
    )
