"""What the picker found out about endpoints, as Envoys are told of it: with hysteresis and a bound. Pure.

    mirror = Mirror()
    changed = mirror.look(now, {"chat": (MirrorRule(), {"10.0.0.1:8000": Health.UNHEALTHY, ...})})
    mirror.shown(fleet)                                         # `Endpoint.inferred` says it

It serves requests without a pick: the picker names whom it likes, of any health, and Envoy obeys (`override_host` does
not look at health). So what is mirrored here takes no evidence away from the picker, and the picker's half-open tries
go on: the mirror follows and never leads. Three things keep it from amplifying anything:

- *Hysteresis*: an endpoint is shown worse after it was worse for `after_s` without a break, and better only after it
  was better for `clear_after_s`.
- *A maximum share* is shown as UNHEALTHY, those first that were so first; the others are DEGRADED, which Envoy uses
  when the healthy ones do not suffice. Room is left for what Envoy's own outlier detection may take.
- *Panic*: of a pool that is out as a whole nobody is shown so, as the picker uses all of it. Envoy's own panic is
  switched off (`control_plane.compile.clusters`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from control_plane.fleet.model import Endpoint, Fleet, Health

Key = tuple[str, str]
"""Pool and address."""

SEVERITY = (Health.HEALTHY, Health.DEGRADED, Health.UNHEALTHY)
"""What the picker may find, from good to bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorRule:
    """How one pool is mirrored. Shares are 0 to 1; `others_share` is what Envoy may eject by itself."""

    after_s: float = 2.0
    clear_after_s: float = 5.0
    max_share: float = 0.5
    others_share: float = 0.0

    def most(self, count: int) -> int:
        """How many of `count` endpoints may be UNHEALTHY, so that one is left whatever Envoy ejects."""
        return max(0, min(int(count * self.max_share), count - 1 - math.ceil(count * self.others_share)))


@dataclass(slots=True)
class _Flag:
    """Whether something is shown. Mutable: `turning_at` is since when it is not what is seen; written by `see`."""

    is_on: bool = False
    turning_at: float | None = None
    on_at: float = math.inf

    def see(self, seen: bool, now: float, rule: MirrorRule) -> None:
        if seen == self.is_on:
            self.turning_at = None
            return
        if self.turning_at is None:
            self.turning_at = now
        if now - self.turning_at >= (rule.clear_after_s if self.is_on else rule.after_s):
            # In the order in which it began, not in which it was noticed.
            self.on_at = math.inf if self.is_on else self.turning_at
            self.is_on, self.turning_at = seen, None

    @property
    def is_idle(self) -> bool:
        return not self.is_on and self.turning_at is None


@dataclass(slots=True)
class _Shadow:
    """One endpoint in trouble: at least degraded, and unhealthy. Mutable: the flags."""

    degraded: _Flag = field(default_factory=_Flag)
    unhealthy: _Flag = field(default_factory=_Flag)

    @property
    def is_idle(self) -> bool:
        return self.degraded.is_idle and self.unhealthy.is_idle


class Mirror:
    """Mutable: the endpoints in trouble, and what is shown of them; `look` writes."""

    def __init__(self) -> None:
        self._shadows: dict[Key, _Shadow] = {}
        self._shown: dict[Key, Health] = {}

    def look(self, now: float, pools: Mapping[str, tuple[MirrorRule, Mapping[str, Health]]]) -> frozenset[str]:
        """Takes how the endpoints of each pool are for the picker; gives the pools that are shown otherwise now.

        A pool that is missing, and an endpoint that is missing in its pool, is not mirrored. `now` is monotonic.
        """
        shown: dict[Key, Health] = {}
        for pool, (rule, seen) in pools.items():
            self._see(pool, rule, seen, now)
            shown.update(self._of_pool(pool, rule, seen))
        for key in [key for key in self._shadows if key[0] not in pools or key[1] not in pools[key[0]][1]]:
            del self._shadows[key]
        changed = frozenset(
            key[0] for key in shown.keys() | self._shown.keys() if shown.get(key) != self._shown.get(key)
        )
        self._shown = shown
        return changed

    def shown(self, fleet: Fleet) -> Fleet:
        """`fleet` with what is shown of its endpoints."""
        if not self._shown:
            return fleet
        pools = {pool for pool, _ in self._shown}
        return fleet.with_changed(pools, self._inferred)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is shown, and nothing is about to be."""
        return not self._shadows and not self._shown

    @property
    def rows(self) -> list[dict[str, str]]:
        """JSON values: who is shown as what."""
        return [
            {"pool": pool, "address": address, "state": health.value}
            for (pool, address), health in sorted(self._shown.items())
        ]

    def _see(self, pool: str, rule: MirrorRule, seen: Mapping[str, Health], now: float) -> None:
        for address, health in seen.items():
            key = (pool, address)
            if health is Health.HEALTHY and key not in self._shadows:
                continue
            shadow = self._shadows.setdefault(key, _Shadow())
            shadow.degraded.see(health is not Health.HEALTHY, now, rule)
            shadow.unhealthy.see(health is Health.UNHEALTHY, now, rule)
            if shadow.is_idle:
                del self._shadows[key]

    def _of_pool(self, pool: str, rule: MirrorRule, seen: Mapping[str, Health]) -> dict[Key, Health]:
        if all(health is Health.UNHEALTHY for health in seen.values()):
            return {}
        here = {key: shadow for key in ((pool, address) for address in seen) if (shadow := self._shadows.get(key))}
        out = sorted(
            (key for key, each in here.items() if each.unhealthy.is_on), key=lambda key: here[key].unhealthy.on_at
        )
        return {
            **{key: Health.DEGRADED for key, each in here.items() if each.degraded.is_on or each.unhealthy.is_on},
            **dict.fromkeys(out[: rule.most(len(seen))], Health.UNHEALTHY),
        }

    def _inferred(self, endpoint: Endpoint) -> Endpoint:
        health = self._shown.get((endpoint.pool, endpoint.address))
        return endpoint if health is None else replace(endpoint, inferred=health)
