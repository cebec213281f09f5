"""Weights of endpoints, learned from what they turn out to serve. Pure.

    weights = Weights()
    weights.take("chat", "10.0.0.1:8000", PICKER, Observed(done=12.0, requests=12, failed=0, busy_s=9.1, seen=91))
    changed = weights.look(now, {"chat": (WeightRule(), {"10.0.0.1:8000": 100, ...})})
    weights.shown(fleet)                                     # `Endpoint.weight` says it
    weights.restore(weights.kept(), rules, now, away_s)      # for a restart (`control_plane.fleet.kept_weights`)

Weights in proportion to speeds (`control_plane.fleet.speeds`) settle where all endpoints have equally many requests in
flight. Around that fixed point the loop has the gain −ρ ÷ (1 − ρ) at utilization ρ (M/M/1: speed = s − λ, so its slope
grows with the queue): jumping to the measured proportion would swing ever wider from half load on. Against that:

- *Measure after acting*: of what was measured under earlier weights no more than `KEPT` requests are believed after a
  change, and no change follows before requests of the last one can have ended. The loop has hardly any delay then.
- *Gain by sign*: an endpoint goes part of the way to its target; the part is halved whenever the direction turns, and
  grows again while it does not (Rprop, Riedmiller and Braun 1993).
- *Bounded steps*, a *floor* and a *ceiling* relative to the configured weight, and a *dead band*.

Measurements lose half of their weight in `half_life_s`, so that an endpoint that gets nothing drifts back to what is
configured. The sum of a pool's weights stays that of the configured ones.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from control_plane.fleet import speeds
from control_plane.fleet.model import Endpoint, Fleet
from control_plane.fleet.speeds import Known, Observed

PICKER: Final = "picker"
"""Measured by the picker: it knows the sizes of requests, and how they ended."""

ENVOY: Final = "envoy"
"""Told by Envoys (LRS): all of their requests, picked or not."""

SOURCES: Final = (PICKER, ENVOY)

COVERED: Final = 0.8
"""The picker's measurements count while they cover so much of what Envoys tell: they have tokens and see refusals.
Below, most requests came without a pick, and what is known of the rest may not be like them."""

KEPT: Final = 20.0
"""Requests of before a change that are still believed after it: few where there are thousands, and all where there is
so little traffic that the load, and with it the loop's gain, is low."""

GAIN: Final = 0.5
"""The largest part of the way to the target that one look goes."""

LEAST_GAIN: Final = 0.05
"""Keeps a loop that has settled able to move; stable up to a utilization of about 0.95 by itself."""

SLOWER: Final = 0.5
QUICKER: Final = 1.3
"""Factors on the gain when the direction turns, and when it does not (Rprop's own are 0.5 and 1.2)."""

DEAD_BAND: Final = 0.05
"""A target so near is where the endpoint is already: two hundred requests cannot be told apart more finely."""

NEWS: Final = 0.03
"""Envoys are told when some weight has moved by so much since they were told last, or by half a step."""

RESIDENCES: Final = 2.0
"""A change is waited for so many mean residence times: then most of what is in flight came under the new weights."""

MAX_SETTLE_S: Final = 60.0
"""And not longer: requests that take minutes are measured across changes, which only costs some overshoot."""

SCALE: Final = 100
"""Weights are whole numbers: those of a pool are multiplied so that the smallest configured one is at least this, and
one percent of it can be said. Only proportions count."""

RESTORED: Final = "as it was before a restart"

TOO_QUICK: Final = "answers too quickly to have served"


class Kept(NamedTuple):
    """What was learned of an endpoint: the factor on its configured weight, and by what."""

    pool: str
    address: str
    configured: int
    factor: float
    sums: Known
    """By source, of the measurements that are believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightRule:
    """How the weights of one pool may move. `minimum`, `maximum` are parts of the configured weight, `step` is the
    largest part by which one changes at once, `interval_s` the least time between two changes."""

    interval_s: float = 5.0
    step: float = 0.2
    minimum: float = 0.1
    maximum: float = 4.0
    half_life_s: float = 30.0


@dataclass(slots=True)
class _Tally:
    """Forgetting sums of one source. Mutable: all; written by `add`, `scale`, `keep`."""

    sums: Observed = field(default_factory=Observed)

    def add(self, seen: Observed) -> None:
        # Written out: an Envoy tells of each of its endpoints each second.
        done, requests, failed, busy_s, times = self.sums
        self.sums = Observed(
            done + seen.done, requests + seen.requests, failed + seen.failed, busy_s + seen.busy_s, times + seen.seen
        )

    def scale(self, factor: float) -> None:
        done, requests, failed, busy_s, times = self.sums
        self.sums = Observed(done * factor, requests * factor, failed * factor, busy_s * factor, times * factor)

    def keep(self, most: float) -> None:
        """No more than so many requests."""
        if self.count > most:
            self.scale(most / self.count)

    @property
    def count(self) -> float:
        return self.sums.requests + self.sums.failed


@dataclass(slots=True)
class _Learned:
    """One endpoint. Mutable: all. `factor` is on the configured weight; `told` is the one that is shown."""

    factor: float = 1.0
    told: float = 1.0
    gain: float = GAIN
    direction: int = 0
    why: str = ""
    tallies: dict[str, _Tally] = field(default_factory=lambda: {source: _Tally() for source in SOURCES})


@dataclass(slots=True)
class _Pool:
    """Mutable: the endpoints, when they were looked at, and when they may change again."""

    endpoints: dict[str, _Learned] = field(default_factory=dict)
    configured: Mapping[str, int] = field(default_factory=dict)
    source: str = ""
    looked_at: float | None = None
    changes_at: float = -math.inf


class Weights:
    """Mutable: what was learned, by pool and address, and what is shown of it; `take` and `look` write."""

    def __init__(self) -> None:
        self._pools: dict[str, _Pool] = {}
        # Pool → endpoints, and these as they are shown: the fleet is asked for more often than it changes.
        self._shown: dict[str, tuple[tuple[Endpoint, ...], tuple[Endpoint, ...]]] = {}

    def take(self, pool: str, address: str, source: str, seen: Observed) -> None:
        """What a source has seen of an endpoint since it told last; of a pool that is not looked at it is dropped."""
        known = self._pools.get(pool)
        learned = known.endpoints.get(address) if known else None
        if learned is not None and all(math.isfinite(number) and number >= 0 for number in seen):
            learned.tallies[source].add(seen)

    def look(self, now: float, pools: Mapping[str, tuple[WeightRule, Mapping[str, int]]]) -> frozenset[str]:
        """Moves what may be moved; gives the pools that are shown otherwise now.

        `pools` has rule and configured weights of those that learn; of others everything is forgotten. `now` is
        monotonic seconds.
        """
        gone = [name for name in self._pools if name not in pools]
        changed = {name for name in gone if _is_shown(self._pools.pop(name))}
        for name, (rule, configured) in pools.items():
            pool = self._pools.setdefault(name, _Pool())
            before = {address: learned.told for address, learned in pool.endpoints.items() if learned.told != 1.0}
            _furnish(pool, configured)
            _age(pool, now, rule.half_life_s)
            if now >= pool.changes_at:
                _move(pool, rule, now)
            after = {address: learned.told for address, learned in pool.endpoints.items() if learned.told != 1.0}
            if before != after:
                changed.add(name)
        for name in changed:
            self._shown.pop(name, None)
        return frozenset(changed)

    def kept(self) -> tuple[Kept, ...]:
        """What a restart should know: of pools in which anything was learned."""
        return tuple(
            Kept(
                name,
                address,
                pool.configured[address],
                learned.told,
                {source: tally.sums for source, tally in learned.tallies.items()},
            )
            for name, pool in self._pools.items()
            if _is_shown(pool)
            for address, learned in pool.endpoints.items()
        )

    def restore(self, kept: Iterable[Kept], rules: Mapping[str, WeightRule], now: float, away_s: float) -> None:
        """Puts back, before the first look, what was learned `away_s` ago of pools that still learn.

        What was measured has faded since as it always does.
        """
        for each in kept:
            rule = rules.get(each.pool)
            if rule is None:
                continue
            pool = self._pools.setdefault(each.pool, _Pool(looked_at=now - away_s, changes_at=now + rule.interval_s))
            factor = min(rule.maximum, max(rule.minimum, each.factor))
            learned = _Learned(factor, factor, why=RESTORED)
            for source in SOURCES:
                learned.tallies[source].sums = each.sums.get(source, Observed())
                learned.tallies[source].keep(KEPT)
            pool.endpoints[each.address] = learned
            pool.configured = {**pool.configured, each.address: each.configured}

    def shown(self, fleet: Fleet) -> Fleet:
        """`fleet` with the weights that were learned."""
        if not any(map(_is_shown, self._pools.values())):
            return fleet
        return Fleet(pools={name: self._weighted(name, endpoints) for name, endpoints in fleet.pools.items()})

    def factor(self, pool: str, address: str) -> float:
        """What the configured weight of an endpoint is multiplied by."""
        return self._pools[pool].endpoints[address].told

    @property
    def is_idle(self) -> bool:
        """Whether nothing is learned."""
        return not self._pools

    @property
    def rows(self) -> list[dict[str, Any]]:
        """JSON values: each endpoint that learns, what its weight is now in the scale of the configured one, and why
        it moved last."""
        return [
            {
                "pool": name,
                "address": address,
                "configured": pool.configured[address],
                "weight": round(learned.told * pool.configured[address], 1),
                "source": pool.source,
                "why": learned.why,
            }
            for name, pool in sorted(self._pools.items())
            for address, learned in sorted(pool.endpoints.items())
        ]

    def _weighted(self, name: str, endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
        pool = self._pools.get(name)
        if pool is None or not _is_shown(pool):
            return endpoints
        known, shown = self._shown.get(name, ((), ()))
        if known is not endpoints:
            scale = -(-SCALE // min(each.weight for each in endpoints)) if endpoints else 1
            shown = tuple(_with_weight(each, _learned_of(each, pool), scale) for each in endpoints)
            self._shown[name] = endpoints, shown
        return shown


def _with_weight(endpoint: Endpoint, learned: _Learned | None, scale: int) -> Endpoint:
    factor = 1.0 if learned is None else learned.told
    return replace(endpoint, weight=max(1, round(endpoint.weight * scale * factor)))


def _learned_of(endpoint: Endpoint, pool: _Pool) -> _Learned | None:
    """What was learned of it; nothing of one that is configured otherwise now, which begins anew at the next look."""
    is_the_same = pool.configured.get(endpoint.address) == endpoint.weight
    return pool.endpoints.get(endpoint.address) if is_the_same else None


def _is_shown(pool: _Pool) -> bool:
    return any(learned.told != 1.0 for learned in pool.endpoints.values())


def _furnish(pool: _Pool, configured: Mapping[str, int]) -> None:
    """Endpoints come with their configured weight; who has another one now begins anew."""
    pool.endpoints = {
        address: learned
        if (learned := pool.endpoints.get(address)) is not None and pool.configured.get(address) == weight
        else _Learned()
        for address, weight in configured.items()
    }
    pool.configured = dict(configured)


def _age(pool: _Pool, now: float, half_life_s: float) -> None:
    if pool.looked_at is not None:
        kept = 2.0 ** (-max(0.0, now - pool.looked_at) / half_life_s)
        for tally in _tallies(pool):
            tally.scale(kept)
    pool.looked_at = now


def _tallies(pool: _Pool) -> Iterator[_Tally]:
    return (tally for learned in pool.endpoints.values() for tally in learned.tallies.values())


def _move(pool: _Pool, rule: WeightRule, now: float) -> None:
    """One look at a pool that may change."""
    pool.source = _source(pool)
    sums = {address: learned.tallies[pool.source].sums for address, learned in pool.endpoints.items()}
    refusing = speeds.refusing(sums, pool.configured) if pool.source == ENVOY else frozenset()
    believed = {
        address: Observed(failed=seen.failed) if address in refusing else seen for address, seen in sums.items()
    }
    targets = speeds.targets(believed, pool.configured)
    for address, learned in pool.endpoints.items():
        target = targets[address] / pool.configured[address]
        if address not in refusing:
            _step(learned, target, rule, speeds.why(sums[address]))
            continue
        _step(learned, min(target, learned.factor), rule, TOO_QUICK)
        learned.why = TOO_QUICK  # where it stays as well
    pool.changes_at = now + rule.interval_s
    news = min(NEWS, rule.step / 2)
    if all(abs(math.log(each.factor / each.told)) < news for each in pool.endpoints.values()):
        return
    for learned in pool.endpoints.values():
        learned.told = learned.factor
    for tally in _tallies(pool):
        tally.keep(KEPT)
    pool.changes_at = now + max(rule.interval_s, _settle_s(sums.values()))


def _source(pool: _Pool) -> str:
    """Whose measurements count."""
    counts = {source: sum(each.tallies[source].count for each in pool.endpoints.values()) for source in SOURCES}
    return PICKER if counts[PICKER] and counts[PICKER] >= COVERED * counts[ENVOY] else ENVOY


def _step(learned: _Learned, target: float, rule: WeightRule, why: str) -> None:
    """Moves a factor towards its target, within its bounds and those of one step from what is shown."""
    aim = min(rule.maximum, max(rule.minimum, target))
    way = math.log(aim / learned.factor)
    if abs(way) >= DEAD_BAND:
        direction = 1 if way > 0 else -1
        if learned.direction:
            turned = direction != learned.direction
            learned.gain = min(GAIN, max(LEAST_GAIN, learned.gain * (SLOWER if turned else QUICKER)))
        learned.direction = direction
        learned.factor *= math.exp(learned.gain * way)
        learned.why = why
    elif max(abs(math.log(aim)), abs(math.log(learned.factor))) < DEAD_BAND:
        learned.factor = 1.0  # as configured: there is nothing to tell
    least, most = learned.told * (1.0 - rule.step), learned.told * (1.0 + rule.step)
    learned.factor = min(rule.maximum, most, max(rule.minimum, least, learned.factor))


def _settle_s(sums: Iterable[Observed]) -> float:
    every = tuple(sums)
    requests = sum(seen.requests for seen in every)
    return min(MAX_SETTLE_S, RESIDENCES * sum(seen.busy_s for seen in every) / requests) if requests >= 1 else 0.0
