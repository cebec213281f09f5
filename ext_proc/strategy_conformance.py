"""What every strategy must keep, as one check that a package with a strategy of its own can run in its tests.

    from ext_proc.strategy_conformance import check

    def test_it_is_a_strategy():
        check(lambda: Cheapest({"price": {"h100": 3}}))

Fleets of 1 to 1,000 endpoints are made that are idle, busy, unevenly weighted, never scraped, scraped long ago, full,
and failing; the strategy ranks them all, for requests with and without a session. See docs/strategies.md.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ext_proc.core.events import AttemptEnded, FirstToken, Picked, RequestEnded, Scraped
from ext_proc.core.fleet import Fleet
from ext_proc.core.record import MAX_CANDIDATES
from ext_proc.core.settings import EndpointSettings
from ext_proc.core.slots import FloatArray, IntArray
from ext_proc.core.strategies.view import NO_REQUEST, Prompt, Ranking, Remembering, Request, Strategy, View

SIZES = (1, 2, 3, MAX_CANDIDATES, MAX_CANDIDATES + 1, 64, 1_000)
"""Endpoints: the bounds of a ranking, of the arrays' first capacity, and a large pool."""

SEEDS = (0, 1)

PICKS = 4
"""Rankings in a row on one small fleet, so that what a strategy remembers is seen, too; on a large one 1."""

LATE_S = 1_000.0
"""A moment at which every number of the start is old."""


_LABELLED = {
    "10.0.0.0:8000": EndpointSettings(
        address="10.0.0.0:8000", region="r", zone="z", labels={"gpu": "h100"}, weight=300, priority=1
    )
}
"""What a policy says about one endpoint; it says nothing of the others."""


class NotConformingError(AssertionError):
    """A strategy that breaks one of the rules; the text says which, and on what fleet."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fleet at one moment, in words and as a view."""

    name: str
    view: View


def check(make: Callable[[], Strategy]) -> None:
    """Raises NotConformingError if the strategy that `make` gives breaks a rule on one of the fleets.

    - Its order has distinct positions of the view, as many as there are up to `MAX_CANDIDATES`.
    - Costs and terms are finite numbers, one for each endpoint; the reason is a text that names the best.
    - The same view, memory and seed give the same ranking: `rank` remembers nothing.
    - Ranking and `picked` change nothing in the view, nor in the fleet behind it.
    """
    for case in cases():
        for seed in SEEDS:
            _check(make, case, seed)


def cases() -> Iterator[Case]:
    """All fleets, moments and requests that are checked."""
    asking = Request(
        kind="chat", model="m", tokens=500, max_tokens=10, session="s", user="u", headers={"x-a": "b", "cookie": "c=d"}
    )
    for size in SIZES:
        for name, fleet, weights in _fleets(size):
            slots = np.array([fleet.slots.acquire(address) for address in _addresses(size)], dtype=np.int64)
            for now, request in ((0.0, NO_REQUEST), (0.0, asking), (LATE_S, NO_REQUEST)):
                view = View(slots, weights, fleet, now, size * 7, 1_000.0, _prompt(size), request, _LABELLED)
                asked = "with" if request is asking else "without"
                yield Case(f"{size:,} endpoints, {name}, at {now:g} s, {asked} a session", view)
            if size > 1:
                half = View(slots[::2], weights[::2], fleet, 0.0, 0, 1.0, _prompt(len(slots[::2])))
                yield Case(f"every second of {size:,} endpoints, {name}", half)


def _check(make: Callable[[], Strategy], case: Case, seed: int) -> None:
    first, second = make(), make()
    before = _state(case.view)
    one, other = random.Random(seed), random.Random(seed)
    for _ in range(PICKS if len(case.view.slots) <= MAX_CANDIDATES else 1):
        again = random.Random()
        again.setstate(one.getstate())
        ranking = first.rank(case.view, one)
        _check_ranking(ranking, case)
        _require(_equal(ranking, first.rank(case.view, again)), case, "the same seed gave two rankings")
        _require(_equal(ranking, second.rank(case.view, other)), case, "two objects gave two rankings")
        for strategy in (first, second):
            if isinstance(strategy, Remembering):
                strategy.picked(case.view, int(ranking.order[0]))
        _require(all(map(np.array_equal, before, _state(case.view))), case, "the view or its fleet was changed")


def _check_ranking(ranking: Ranking, case: Case) -> None:
    count = len(case.view.slots)
    order = ranking.order.tolist()
    _require(len(order) == min(count, MAX_CANDIDATES), case, f"{len(order)} positions are ordered")
    _require(len(set(order)) == len(order), case, "a position is there twice")
    _require(all(isinstance(each, int) and 0 <= each < count for each in order), case, "a position is not of the view")
    for name, column in {"cost": ranking.cost, **ranking.terms}.items():
        _require(len(column) == count, case, f"`{name}` has {len(column)} values")
        _require(bool(np.isfinite(column).all()), case, f"`{name}` has values that are not finite")
    _require(case.view.address(order[0]) in ranking.reason, case, "the reason does not name the best")


def _require(holds: bool, case: Case, broken: str) -> None:
    if not holds:
        raise NotConformingError(f"{broken} ({case.name})")


def _equal(one: Ranking, other: Ranking) -> bool:
    return (
        one.reason == other.reason
        and np.array_equal(one.order, other.order)
        and np.array_equal(one.cost, other.cost)
        and one.terms.keys() == other.terms.keys()
        and all(np.array_equal(column, other.terms[name]) for name, column in one.terms.items())
    )


def _state(view: View) -> list[FloatArray | IntArray]:
    """Copies of all arrays that a strategy sees."""
    fleet = view.fleet
    in_flight = fleet.ledger.in_flight[view.slots]
    seen: list[FloatArray | IntArray] = [
        view.slots,
        view.weights,
        in_flight,
        fleet.ledger.queued_tokens,
        fleet.ledger.decoding,
    ]
    seen += [
        *fleet.gauges.estimated(view.slots, in_flight, view.now),
        *fleet.memory.estimated(view.slots, in_flight, 0),
    ]
    seen += [fleet.latencies.seconds(view.slots, view.now), fleet.latencies.error_rate(view.slots, view.now)]
    if view.prompt is not None:
        seen += [view.prompt.uncached, view.prompt.charged]
    return [each.copy() for each in seen]


# --- fleets -----------------------------------------------------------------------------------------------------------


def _fleets(size: int) -> Iterator[tuple[str, Fleet, FloatArray]]:
    equal = np.full(size, 100.0)
    uneven = np.array([1.0 + 1_000.0 * (n % 3) for n in range(size)])
    yield "idle", _fleet(size), equal
    yield "idle with uneven weights", _fleet(size), uneven
    busy = _fleet(size)
    _send(busy, size)
    yield "busy and never scraped", busy, equal
    scraped = _fleet(size)
    _send(scraped, size)
    for n, address in enumerate(_addresses(size)):
        usage = (n % 10) / 10 if n % 4 else None
        running, waiting = n % 50, n % 7 * 5
        scraped.apply(
            Scraped(
                address=address, at=0.0, running=running, waiting=waiting, kv_usage=usage, kv_tokens=10_000 * (n % 3)
            ),
            None,
        )
    yield "busy and scraped", scraped, uneven
    full = _fleet(size)
    for address in _addresses(size):
        full.apply(Scraped(address=address, at=0.0, running=10**6, waiting=10**6, kv_usage=math.nan, kv_tokens=1), None)
        full.apply(Scraped(address=address, at=0.0, running=10**6, waiting=10**6, kv_usage=1.5, kv_tokens=1), None)
    yield "full", full, equal
    failing = _fleet(size)
    for n, address in enumerate(_addresses(size)):
        if n % 2:
            failed = AttemptEnded(decision_id="d", address=address, at=0.0, status=500)
            failing.apply(failed, None)
        else:
            ended = RequestEnded(decision_id="d", at=0.0, status=200, served=address, duration_ms=1e3 * n)
            failing.apply(ended, None)
    yield "half of it failing, half slow", failing, uneven


def _send(fleet: Fleet, size: int) -> None:
    """Requests in flight: more on some, some of them with their first token."""
    for n, address in enumerate(_addresses(size)):
        for k in range(n % 4):
            name = f"{n}-{k}"
            fleet.apply(
                Picked(
                    decision_id=name,
                    at=0.0,
                    address=address,
                    uncached_tokens=100 * n,
                    prompt_tokens=100 * n,
                    max_age_s=9,
                ),
                None,
            )
            if k == 0:
                fleet.apply(FirstToken(decision_id=name, address=address, at=0.0, ttft_ms=50.0), None)


def _fleet(size: int) -> Fleet:
    fleet = Fleet()
    fleet.want(set(_addresses(size)))
    return fleet


def _addresses(size: int) -> list[str]:
    return [f"10.0.{n // 250}.{n % 250}:8000" for n in range(size)]


def _prompt(size: int) -> Prompt:
    uncached = np.array([1 + 64 * (n % 8) for n in range(size)], dtype=np.int64)
    return Prompt(500, uncached, uncached.astype(np.float64))
