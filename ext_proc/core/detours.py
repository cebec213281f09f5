"""Where a request goes when the pool that Envoy chose cannot serve it: degradation. Pure.

A model's ways (`DegradationSettings`) are looked at in order: other pools of the model itself, then other models. The
first that somebody is well in, has a place free and can keep the first-token limit is taken. Where there is none, the
first with a place; then the first at all, in whose queue the request waits, by the priorities of that pool. Where
nobody is anywhere, there is a text of the policy, or an error. What is not the pool of Envoy's route is labelled.

Nobody is ever led away from a pool that is well: that was not found unavailable within `recover_after_s`, has a place,
and keeps the limit. A pool that comes back gets nothing but trials until it has been well for that long, so that a pod
that comes and goes does not move all requests each time. Places and limits are looked at request by request: what a
pool can take, it gets.

A pool is *unavailable* when it has no endpoint, or when requests or probes have found each of them broken, requests at
least one of them: what only probes find of everybody is rather about the probes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from ext_proc.core.decision import Degraded
from ext_proc.core.settings import DegradationSettings, WaySettings

RECOVERY_MARGIN: Final = 0.8
"""Of the limit, for requests to a pool that has just missed it: at the limit itself half of them would go each way."""

LEAST_TRY_S: Final = 5.0
"""A pool of which too much is expected gets one request so often at most, whatever `recoverAfter` is: nobody would see
that it is quicker than is believed if all its requests went elsewhere."""

LEAST_OPEN_S: Final = 3.0
"""For so long after a degraded request its model counts as degraded at least, so that a short `recoverAfter` does not
make one trouble many."""


@dataclass(frozen=True, slots=True)
class Seen:
    """How a pool is at one moment: whether somebody is there, whether one who is out is due to be tried by a request,
    and whether it has a place."""

    is_usable: bool
    is_trial_due: bool = False
    is_free: bool = True


class Rank(IntEnum):
    """How good a pool is for a request."""

    WELL = 0
    ANY = 1
    """Somebody is there and has a place, but it has just come back, or is too slow."""
    FULL = 2
    NONE = 3


@dataclass(frozen=True, slots=True)
class Taken:
    """Which of the ways, None for the pool of Envoy's route; and what was wrong with that."""

    way: WaySettings | None
    rank: Rank
    why: str


@dataclass(slots=True)
class _Trouble:
    """A pool that was found unavailable. Mutable: since when it is well again."""

    recover_after_s: float
    well_since: float | None = None


@dataclass(slots=True)
class _Open:
    """A model whose requests are degraded. Mutable: all, by each of them."""

    cluster: str
    pool: str
    last: float
    why: str
    label: str
    keep_s: float
    requests: int = 0


class Detours:
    """Mutable: pools in trouble by cluster, models that are degraded; all methods but `open` write."""

    def __init__(self) -> None:
        self._troubles: dict[str, _Trouble] = {}
        self._late: dict[str, float] = {}  # cluster → when a request to it last missed its limit
        self._tried: dict[str, float] = {}  # cluster that misses it → when one was last sent there all the same
        self._open: dict[str, _Open] = {}

    def configure(self, degradations: Mapping[str, DegradationSettings], clusters: frozenset[str]) -> None:
        """Forgets models and pools that are no more."""
        self._troubles = {key: each for key, each in self._troubles.items() if key in clusters and degradations}
        self._late = {key: at for key, at in self._late.items() if key in clusters and degradations}
        self._tried = {key: at for key, at in self._tried.items() if key in clusters and degradations}
        self._open = {model: each for model, each in self._open.items() if model in degradations}

    def take(
        self,
        settings: DegradationSettings,
        cluster: str,
        ways: Sequence[WaySettings],
        see: Callable[[str], Seen],
        predicted_ms: Callable[[WaySettings | None], float | None],
        now: float,
    ) -> Taken:
        """Where a request goes to which Envoy gave `cluster`. `ways` are those that are for it, and other pools."""
        own, why = self._own(settings, cluster, see(cluster), predicted_ms, now)
        best = Taken(None, own, why)
        for way in ways:
            if best.rank is Rank.WELL:
                break
            rank, _ = self._rank(settings, way, way.cluster, see(way.cluster), predicted_ms, now)
            if rank < best.rank:
                best = Taken(way, rank, why)
        return best

    def _own(
        self,
        settings: DegradationSettings,
        cluster: str,
        seen: Seen,
        predicted_ms: Callable[[WaySettings | None], float | None],
        now: float,
    ) -> tuple[Rank, str]:
        """As `_rank`, by the triggers that there are."""
        if not settings.on_unavailable:
            seen = Seen(is_usable=True, is_free=seen.is_free)
        if not settings.on_saturation:
            seen = Seen(seen.is_usable, seen.is_trial_due, is_free=True)
        return self._rank(settings, None, cluster, seen, predicted_ms, now)

    def _rank(
        self,
        settings: DegradationSettings,
        way: WaySettings | None,
        cluster: str,
        seen: Seen,
        predicted_ms: Callable[[WaySettings | None], float | None],
        now: float,
    ) -> tuple[Rank, str]:
        is_settled = self._settled(cluster, seen.is_usable, now, settings.recover_after_s)
        if not seen.is_usable:
            # One request finds out whether somebody who was left alone is back.
            return (Rank.WELL, "") if seen.is_trial_due and seen.is_free else (Rank.NONE, "nobody there may be named")
        if not seen.is_free:
            return Rank.FULL, "it has no place free"
        if not is_settled:
            return Rank.ANY, f"it was unavailable less than {settings.recover_after_s:g} s ago"
        if settings.slo_ms is None:
            return Rank.WELL, ""
        why = self._misses(settings, way, cluster, predicted_ms, now)
        is_tried = way is None and self._is_tried(cluster, now, settings.recover_after_s, is_late=bool(why))
        return (Rank.ANY, why) if why and not is_tried else (Rank.WELL, "")

    def _settled(self, cluster: str, is_usable: bool, now: float, recover_after_s: float) -> bool:
        """Whether a pool has been well for long enough."""
        trouble = self._troubles.get(cluster)
        if not is_usable:
            if trouble is None:
                self._troubles[cluster] = _Trouble(recover_after_s)
            else:
                trouble.well_since = None
            return False
        if trouble is None:
            return True
        if trouble.well_since is None:
            trouble.well_since = now
        if now - trouble.well_since < trouble.recover_after_s:
            return False
        del self._troubles[cluster]
        return True

    def _misses(
        self,
        settings: DegradationSettings,
        way: WaySettings | None,
        cluster: str,
        predicted_ms: Callable[[WaySettings | None], float | None],
        now: float,
    ) -> str:
        """Why the limit would not be kept; empty where it would, or nobody knows."""
        assert settings.slo_ms is not None, "asked for by the caller"
        expected = predicted_ms(way)
        if expected is None:
            return ""
        was_late = now - self._late.get(cluster, -settings.recover_after_s) < settings.recover_after_s
        if expected <= settings.slo_ms * (RECOVERY_MARGIN if was_late else 1.0):
            return ""
        if expected > settings.slo_ms:
            self._late[cluster] = now
        return f"its first token would come after {expected:,.0f} ms, not within {settings.slo_ms:,.0f} ms"

    def _is_tried(self, cluster: str, now: float, recover_after_s: float, *, is_late: bool) -> bool:
        """Whether this request finds out if a pool is really as late as is expected of it."""
        if not is_late:
            self._tried.pop(cluster, None)
            return False
        if now - self._tried.setdefault(cluster, now) < max(LEAST_TRY_S, recover_after_s):
            return False
        self._tried[cluster] = now
        return True

    def look(self, see: Callable[[str], Seen], now: float) -> None:
        """Whether pools in trouble are well again, and what is over; to be called about once a second."""
        for cluster, trouble in list(self._troubles.items()):
            self._settled(cluster, see(cluster).is_usable, now, trouble.recover_after_s)
        self._open = {
            model: each
            for model, each in self._open.items()
            if each.cluster in self._troubles or now - each.last <= each.keep_s
        }

    def note(self, degraded: Degraded, cluster: str, pool: str, keep_s: float, now: float) -> None:
        """A request to which Envoy gave `cluster`, the pool of that name, was degraded."""
        known = self._open.get(degraded.model)
        if known is None:
            known = self._open[degraded.model] = _Open(
                cluster, pool, now, degraded.why, degraded.label, max(LEAST_OPEN_S, keep_s)
            )
        known.last, known.why, known.label = now, degraded.why, degraded.label
        known.requests += 1

    def open(self) -> list[dict[str, Any]]:
        """JSON values: the models whose requests are degraded, how the latest one was, and why."""
        return [
            {"model": model, "pool": each.pool, "label": each.label, "why": each.why, "requests": each.requests}
            for model, each in self._open.items()
        ]
