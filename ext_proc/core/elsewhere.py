"""A request as it is for another pool or another model, and which ways are open to it. Pure."""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from typing import Any, Final

from ext_proc.core.alias import Asked, replace_model
from ext_proc.core.canned import canned
from ext_proc.core.counted import NOT_COUNTED
from ext_proc.core.decision import Answer, Canned, Degraded, Level, Rejected, Unpicked
from ext_proc.core.detours import Detours, Rank, Seen
from ext_proc.core.features import offers_tools, without_features
from ext_proc.core.fleet import Fleet
from ext_proc.core.places import is_any_free
from ext_proc.core.pool import Pool
from ext_proc.core.request import ParsedRequest, parse_request
from ext_proc.core.settings import DegradationSettings, PickerSettings, WaySettings
from ext_proc.core.token_sizes import TokenSizes
from ext_proc.core.wanted import Asking

PredictedMs = Callable[[Asking], float | None]
"""When a request's first token would come, in ms; None where nobody knows."""

UPLOAD_S = 1.0
"""For so long after Envoys have the route to a pool to which nobody was led before it is not used: an Envoy keeps the
routes that it had when a request began, and the picker hears of that at the end of its body. Without the route a
request would come to its own pool, with the name of another model."""

ROUTES_S = 2.0
"""The same from an edit on, where nobody knows what Envoys have: one takes a push within some milliseconds, a busy one
may need a second."""

_ALWAYS = -math.inf
_EMBEDDING: Final = "embedding"
"""Another model's vectors mean nothing beside those that a client has kept."""

_OFF = "off"
_SKIP = "skip"


def open_ways(settings: DegradationSettings, asking: Asking, pools: Mapping[str, Pool]) -> tuple[WaySettings, ...]:
    """The ways to other pools than Envoy's that this request may go; `pools` are by cluster."""
    facts = asking.facts
    ways = settings.route_ways.get(facts.route, settings.ways)
    ways = tuple(way for way in ways if way.cluster != facts.cluster and way.cluster in pools)
    if asking.request.kind == _EMBEDDING:
        ways = tuple(way for way in ways if way.is_same)
    if any(way.tools == _SKIP for way in ways) and offers_tools(facts.body):
        ways = tuple(way for way in ways if way.tools != _SKIP)
    return ways


def led(asking: Asking, way: WaySettings, why: str, pool: Pool, settings: PickerSettings, sizes: TokenSizes) -> Asking:
    """The request for `pool`, with the name of its model there and without the features that it does not offer."""
    facts, request = asking.facts, asking.request
    engine_model = settings.engine_models.get(way.model, way.model)
    tools_off = way.tools == _OFF
    body, lost = without_features(facts.body, request.kind, tools_off=tools_off, max_tokens=way.max_tokens)
    if lost:
        again = parse_request(replace(facts, body=body))
        request = again if isinstance(again, ParsedRequest) else request
    if engine_model != request.model:
        body = replace_model(body, engine_model)
    # Tokens were counted for another model, or with the tools.
    counted = facts.counted if way.is_same and not lost else NOT_COUNTED
    size = request.size
    return Asking(
        request=request,
        headers=asking.headers,
        asked=Asked(asking.asked.model, engine_model),
        body=None if body is facts.body else body,
        timeout_s=pool.settings.request_timeout_s,
        tokens=counted.tokens if counted.is_exact else sizes.tokens(engine_model, size),
        size=size,
        counted=counted,
        base_model=pool.settings.base_model,
        facts=replace(facts, body=body, cluster=way.cluster),
        degraded=Degraded(
            level=Level.POOL if way.is_same else Level.MODEL,
            model=asking.asked.model,
            why=why,
            to=way.pool if way.is_same else way.model,
            pool=way.pool,
            cluster=way.cluster,
            features=lost,
        ),
        origin=asking,
    )


def _unknown(_: Asking) -> None:
    """When a first token would come."""


class Elsewhere:
    """Who looks after degraded models. Mutable: its detours; the picker is the only writer.

    `pools` are by cluster; whoever asks has checked that the settings have the request's model.
    """

    def __init__(self, fleet: Fleet, sizes: TokenSizes) -> None:
        self._fleet = fleet
        self._sizes = sizes
        self._detours = Detours()
        self._settings = PickerSettings(version="")
        self._pools: Mapping[str, Pool] = {}
        self._known_from: dict[str, float] = {}  # cluster → since when requests may be led there; others may not

    def apply_settings(self, settings: PickerSettings, pools: Mapping[str, Pool], now: float | None = None) -> None:
        """What holds from `now` on; None: from the beginning."""
        self._settings, self._pools = settings, pools
        self._detours.configure(settings.degradations, frozenset(pools))
        known = _ALWAYS if now is None else now + (ROUTES_S if settings.led_to is None else UPLOAD_S)
        self._known_from = {
            way.cluster: self._known_from.get(way.cluster, known)
            for degradation in settings.degradations.values()
            for way in degradation.every_way
            if settings.led_to is None or way.cluster in settings.led_to
        }

    def has(self, asking: Asking) -> bool:
        """Whether a request may be answered otherwise than it was asked."""
        return asking.asked.model in self._settings.degradations

    def where(self, asking: Asking, predicted_ms: PredictedMs, now: float) -> Asking | None:
        """The request as it is to be served, where it is to be served; None where nobody can.

        `asking` is as Envoy gave it.
        """
        settings = self._settings.degradations[asking.asked.model]

        def seen(cluster: str) -> Seen:
            return self._seen(cluster, now)

        def expected(way: WaySettings | None) -> float | None:
            return predicted_ms(asking if way is None else self._led(asking, way, ""))

        ways = self._ways(settings, asking)
        taken = self._detours.take(settings, asking.facts.cluster, ways, seen, expected, now)
        if taken.way is not None and taken.rank is not Rank.NONE:
            return self._led(asking, taken.way, taken.why)
        if taken.rank is Rank.FULL:
            model = asking.asked.model
            return replace(asking, degraded=Degraded(level=Level.LATER, model=model, why=taken.why))
        if taken.rank is not Rank.NONE:
            return asking
        # Somebody may be there after all; where there is an answer of the policy's own, that is better than to try.
        pool = self._pools.get(asking.facts.cluster)
        is_worth_a_try = settings.answer is None and pool is not None and len(pool.levels.slots) > 0
        return asking if is_worth_a_try else None

    def group(self, asking: Asking) -> Hashable | None:
        """The same for all who can be served elsewhere at the same moments; None where they never can."""
        if not self.has(asking):
            return None
        first, settings = asking.origin or asking, self._settings.degradations[asking.asked.model]
        clusters = tuple(way.cluster for way in self._ways(settings, first))
        triggers = (settings.on_unavailable, settings.on_saturation, settings.answer is None)
        return first.facts.cluster, clusters, triggers

    def may_leave(self, asking: Asking, now: float) -> bool:
        """Whether a request that waits can be served at once, here or elsewhere; as soon as that is so for one of a
        `group`, it is for all."""
        # Without predictions, which are each request's own: they say where it goes, not whether.
        return self.again(asking, _unknown, now) is not None

    def again(self, asking: Asking, predicted_ms: PredictedMs, now: float) -> Asking | None:
        """Where a request that waits, or did in vain, can be served at once; None: nowhere."""
        found = self.where(asking.origin or asking, predicted_ms, now)
        if found is None or (found.degraded is not None and found.degraded.level is Level.LATER):
            return None
        return found if self._seen(found.facts.cluster, now).is_free else None

    def is_lost(self, asking: Asking, now: float) -> bool:
        """Whether nobody is left in the pool that a request wants a place in."""
        return not self._seen(asking.facts.cluster, now).is_usable

    def instead(self, asking: Asking, refused: Rejected, wall: float) -> Rejected | Canned:
        """What a client is told that nobody can serve: the policy's text, or the refusal, which says what it is."""
        settings = self._settings.degradations.get(asking.asked.model)
        if settings is None:
            return refused
        model, why = asking.asked.model, refused.error.code or "refused"
        if settings.answer is not None:
            found = canned(settings.answer, asking.request, model, why, wall, refused.retry_after_s)
            if found is not None:
                return found
        return replace(refused, degraded=Degraded(level=Level.REFUSED, model=model, why=why))

    def note(self, answer: Answer, asking: Asking, now: float) -> None:
        """Remembers that a request was degraded, if it was."""
        degraded = None if isinstance(answer, Unpicked) else answer.degraded
        settings = self._settings.degradations.get(asking.asked.model)
        if degraded is not None and settings is not None:
            cluster = (asking.origin or asking).facts.cluster
            pool = self._pools.get(cluster)
            name = "" if pool is None else pool.settings.name
            self._detours.note(degraded, cluster, name, settings.recover_after_s, now)

    def look(self, now: float) -> None:
        """To be called about once a second."""
        self._detours.look(lambda cluster: self._seen(cluster, now), now)

    def open(self) -> list[dict[str, Any]]:
        """`Detours.open`."""
        return self._detours.open()

    def _ways(self, settings: DegradationSettings, asking: Asking) -> list[WaySettings]:
        """Those that are open to a request, and to which its Envoy has routes."""
        ways = open_ways(settings, asking, self._pools)
        return [way for way in ways if self._known_from.get(way.cluster, math.inf) <= asking.came_at]

    def _led(self, asking: Asking, way: WaySettings, why: str) -> Asking:
        return led(asking, way, why, self._pools[way.cluster], self._settings, self._sizes)

    def _seen(self, cluster: str, now: float) -> Seen:
        pool = self._pools.get(cluster)
        if pool is None or not len(pool.levels.slots):
            return Seen(is_usable=False)
        health, slots = self._fleet.health, pool.levels.slots
        is_free = is_any_free(pool.settings.admission, self._fleet, pool.levels, now)
        if not health.is_lost(slots):
            return Seen(is_usable=True, is_free=is_free)
        return Seen(False, health.is_trial_due(slots, now), is_free)
