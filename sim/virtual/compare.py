"""Two policies on the same traffic: what differs, how sure that is, and for whom.

    found = compare([Pair(1, old.outcomes, new.outcomes)], rng=random.Random(1))
    found.measures["ttft_mean_ms"].verdict  # "better", or what else `Verdict` has

Pure. Runs are pairs: the same trace, the same seed. Within a pair requests are: a time counts where both policies gave
it, so that the same requests stand on both sides; what was lost has a measure of its own.

The interval is a bootstrap over stretches of time. Requests are not independent of each other: those that come at the
same time wait in the same queues, and turns of one conversation follow each other. So each trace is cut into
`STRETCHES` stretches with equally many requests, or into fewer where a stretch would be shorter than a request takes in
the mean: it would begin with the requests in flight of the one before. Whole stretches, with both policies' results in
them, are drawn with repetition, `RESAMPLES` times. The interval holds the middle 95 % of the differences that come of
it, made wider as Student's t is wider than the normal distribution, since the stretches are few. Where all seeds had
the same trace they get the same draw: another seed is then no other traffic. So the interval is about other traffic of
this kind, not about another run of this trace.

A rule can fall into one of two states by the chance of a whole run, of which no stretch knows anything. So a verdict
also needs `sim.virtual.estimate.AGREEING` seeds.
"""

import random
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Final

from sim.ranks import nearest_rank
from sim.virtual.estimate import STRETCHES, Estimate, interval
from sim.virtual.metrics import CHAT, Slo
from sim.virtual.outcome import Outcome

RESAMPLES: Final = 1_000
"""Enough for the ends of a 95 % interval: 25 draws lie beyond each."""

MOST_GROUPS: Final = 12
"""Models or tenants shown by name, those with the most requests; the others are one group."""

OTHERS: Final = "(all others)"

LENGTHS: Final = (1_000, 4_000, 16_000, 64_000)
"""Where classes of prompt lengths begin, in tokens: a question, a chat, a document, a book."""

# Of one request: what is summed, and over what; None: it has no such number.
_Part = tuple[float, float] | None
_Get = Callable[[Outcome, Slo], _Part]

# Microseconds and hundredths of a percent, as in the report of one run.
_MS_DIGITS: Final = 3
_SHARE_DIGITS: Final = 4

# Of each unit of drawing (a stretch): the sums of the old, of the new, and what they are over (old, new).
_Sums = dict[int, tuple[float, float, float, float]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One seed: the outcomes of both policies, request by request. Raises ValueError for different requests."""

    seed: int
    old: tuple[Outcome, ...]
    new: tuple[Outcome, ...]

    def __post_init__(self) -> None:
        """Refuse what is no pair."""
        if [(o.at_s, o.prompt_tokens) for o in self.old] != [(n.at_s, n.prompt_tokens) for n in self.new]:
            raise ValueError(f"seed {self.seed}: the two runs did not have the same requests")


@dataclass(frozen=True, slots=True)
class Group:
    """Some of the requests: those of a model, of a tenant, or with prompts of a class of lengths."""

    by: str
    name: str
    requests: int
    measures: dict[str, Estimate]


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that differs at one rate, over all requests and for whom."""

    requests: int
    seeds: tuple[int, ...]
    measures: dict[str, Estimate]
    groups: tuple[Group, ...]


def compare(pairs: Sequence[Pair], *, rng: random.Random, is_same_trace: bool = False, slo: Slo = CHAT) -> Comparison:
    """Compares. `is_same_trace`: all seeds replayed the same requests. Raises ValueError without any request."""
    if not any(pair.old for pair in pairs):
        raise ValueError("there is nothing to compare: no request")
    counts = [_stretches(pair) for pair in pairs]
    if is_same_trace:
        counts = [min(counts)] * len(pairs)
    rows = list(_rows(pairs, counts, is_same_trace))
    draws = _draws(counts[:1] if is_same_trace else counts, rng)
    measures = {m.name: _mean(m, rows, draws, slo, len(pairs)) for m in MEANS}
    measures |= {m.name: _p90(m, rows, draws, slo, len(pairs)) for m in P90S}
    return Comparison(
        requests=len(rows),
        seeds=tuple(pair.seed for pair in pairs),
        measures={name: measures[name] for name in NAMES},
        groups=tuple(_groups(rows, draws, slo, len(pairs))),
    )


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of a run: the sum of a part of each request over the sum of another (1: it is a mean)."""

    name: str
    get: _Get
    scale: float
    digits: int
    is_less_better: bool = True


def _ttft(outcome: Outcome, _: Slo) -> _Part:
    return None if outcome.ttft_s is None else (outcome.ttft_s, 1.0)


def _tpot(outcome: Outcome, _: Slo) -> _Part:
    return None if (tpot_s := outcome.tpot_s) is None else (tpot_s, 1.0)


def _e2e(outcome: Outcome, _: Slo) -> _Part:
    return None if outcome.e2e_s is None else (outcome.e2e_s, 1.0)


def _cached(outcome: Outcome, _: Slo) -> _Part:
    return None if outcome.ttft_s is None else (outcome.cached_tokens, outcome.prompt_tokens)


def _good(outcome: Outcome, slo: Slo) -> _Part:
    return float(slo.holds(outcome)), 1.0


def _lost(outcome: Outcome, _: Slo) -> _Part:
    return float(outcome.is_lost), 1.0


P90S: Final = (
    Measure("ttft_p90_ms", _ttft, 1e3, _MS_DIGITS),
    Measure("tpot_p90_ms", _tpot, 1e3, _MS_DIGITS),
    Measure("e2e_p90_ms", _e2e, 1e3, _MS_DIGITS),
)
MEANS: Final = (
    Measure("ttft_mean_ms", _ttft, 1e3, _MS_DIGITS),
    Measure("tpot_mean_ms", _tpot, 1e3, _MS_DIGITS),
    Measure("e2e_mean_ms", _e2e, 1e3, _MS_DIGITS),
    Measure("cached_share", _cached, 1.0, _SHARE_DIGITS, is_less_better=False),
    Measure("good_share", _good, 1.0, _SHARE_DIGITS, is_less_better=False),
    Measure("lost_share", _lost, 1.0, _SHARE_DIGITS),
)
NAMES: Final = (
    "ttft_mean_ms", "ttft_p90_ms", "tpot_mean_ms", "tpot_p90_ms", "e2e_mean_ms", "e2e_p90_ms",
    "cached_share", "good_share", "lost_share",
)  # fmt: skip
"""All measures, in the order of reports. `lost_share`: failed, shed or given up."""

OF_GROUPS: Final = ("ttft_mean_ms", "e2e_mean_ms", "cached_share", "lost_share")
"""What is compared for each group: fewer have to do, and there are fewer to differ by chance."""


# --- what is drawn ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """One request on both sides; `unit` is the stretch with which it is drawn, `place` its pair."""

    old: Outcome
    new: Outcome
    unit: int
    place: int


def _stretches(pair: Pair) -> int:
    """Into how many a trace is cut: each lasts at least as long as an answered request takes in the mean."""
    taken = [o.e2e_s for o in (*pair.old, *pair.new) if o.e2e_s is not None]
    most = min(STRETCHES, len(pair.old))
    lasts = pair.old[-1].at_s if pair.old else 0.0
    mean = fsum(taken) / len(taken) if taken else 0.0
    return max(1, min(most, int(lasts / mean))) if mean else most


def _rows(pairs: Sequence[Pair], counts: Sequence[int], is_same_trace: bool) -> Iterator[_Row]:
    for place, (pair, stretches) in enumerate(zip(pairs, counts, strict=True)):
        first = 0 if is_same_trace else place * STRETCHES
        for number, (old, new) in enumerate(zip(pair.old, pair.new, strict=True)):
            yield _Row(old, new, first + number * stretches // len(pair.old), place)


def _draws(counts: Sequence[int], rng: random.Random) -> list[list[int]]:
    """How often each unit is there, for each resample: of every trace as many stretches as it has."""
    draws = []
    for _ in range(RESAMPLES):
        weights = [0] * (STRETCHES * len(counts))
        for place, count in enumerate(counts):
            for unit in rng.choices(range(count), k=count):
                weights[place * STRETCHES + unit] += 1
        draws.append(weights)
    return draws


def _mean(measure: Measure, rows: Sequence[_Row], draws: list[list[int]], slo: Slo, seeds: int) -> Estimate:
    parts = list(_parts(measure, rows, slo))
    sums = _sums(parts)
    found = []
    for weights in draws:
        old = new = over_old = over_new = 0.0
        for unit, (old_part, new_part, old_over, new_over) in sums.items():
            weight = weights[unit]
            old += weight * old_part
            new += weight * new_part
            over_old += weight * old_over
            over_new += weight * new_over
        if over_old and over_new:
            found.append(new / over_new - old / over_old)
    by_seed = [_ratios([part for part in parts if part[0].place == place]) for place in range(seeds)]
    return _estimate(measure, _ratios(parts), found, sums, by_seed)


def _p90(measure: Measure, rows: Sequence[_Row], draws: list[list[int]], slo: Slo, seeds: int) -> Estimate:
    parts = list(_parts(measure, rows, slo))
    # From the top down: the place of p90 is then only a tenth of the way.
    old = sorted(((value[0], row.unit) for row, value, _ in parts), reverse=True)
    new = sorted(((value[0], row.unit) for row, _, value in parts), reverse=True)
    sizes: dict[int, int] = {}
    for row, _, _ in parts:
        sizes[row.unit] = sizes.get(row.unit, 0) + 1
    found = []
    for weights in draws:
        count = sum(weights[unit] * size for unit, size in sizes.items())
        if count:
            found.append(_from_top(new, weights, count) - _from_top(old, weights, count))
    by_seed = [_p90s([part for part in parts if part[0].place == place]) for place in range(seeds)]
    return _estimate(measure, _p90s(parts), found, sizes, by_seed)


def _from_top(ordered: Sequence[tuple[float, int]], weights: Sequence[int], count: int) -> float:
    """The value at the place ⌈0.9·n⌉ from below of `count` values, each there as often as its unit."""
    left = count // 10 + 1
    for value, unit in ordered:
        left -= weights[unit]
        if left <= 0:
            return value
    raise AssertionError("fewer values than were counted")


_Parts = tuple[_Row, tuple[float, float], tuple[float, float]]


def _parts(measure: Measure, rows: Sequence[_Row], slo: Slo) -> Iterator[_Parts]:
    """The requests that have the number on both sides."""
    for row in rows:
        old, new = measure.get(row.old, slo), measure.get(row.new, slo)
        if old is not None and new is not None:
            yield row, old, new


def _sums(parts: Sequence[_Parts]) -> _Sums:
    units: dict[int, list[_Parts]] = {}
    for part in parts:
        units.setdefault(part[0].unit, []).append(part)
    return {unit: _summed(found) for unit, found in units.items()}


def _summed(parts: Sequence[_Parts]) -> tuple[float, float, float, float]:
    return (
        fsum(old[0] for _, old, _ in parts),
        fsum(new[0] for _, _, new in parts),
        fsum(old[1] for _, old, _ in parts),
        fsum(new[1] for _, _, new in parts),
    )


def _ratios(parts: Sequence[_Parts]) -> tuple[float, float] | None:
    """The number of the old and of the new."""
    old, new, over_old, over_new = _summed(parts)
    return (old / over_old, new / over_new) if over_old and over_new else None


def _p90s(parts: Sequence[_Parts]) -> tuple[float, float] | None:
    if not parts:
        return None
    olds, news = sorted(old[0] for _, old, _ in parts), sorted(new[0] for _, _, new in parts)
    return nearest_rank(olds, 90), nearest_rank(news, 90)


def _estimate(
    measure: Measure,
    both: tuple[float, float] | None,
    found: list[float],
    units: Collection[int],
    by_seed: Sequence[tuple[float, float] | None],
) -> Estimate:
    def told(value: float) -> float:
        return round(value * measure.scale, measure.digits) + 0.0  # + 0.0: no negative zero

    if both is None:
        return Estimate(None, None, None, None, None, measure.is_less_better, (None,) * len(by_seed))
    difference = both[1] - both[0]
    ends = interval(difference, found, units)
    return Estimate(
        old=told(both[0]),
        new=told(both[1]),
        difference=told(difference),
        low=told(ends[0]) if ends else None,
        high=told(ends[1]) if ends else None,
        is_less_better=measure.is_less_better,
        by_seed=tuple(None if seed is None else told(seed[1] - seed[0]) for seed in by_seed),
    )


# --- for whom ---------------------------------------------------------------------------------------------------------


def _groups(rows: Sequence[_Row], draws: list[list[int]], slo: Slo, seeds: int) -> Iterator[Group]:
    """Models and tenants where there are several, then classes of prompt lengths."""
    parts = (
        ("model", _by_name(rows, lambda outcome: outcome.model)),
        ("tenant", _by_name(rows, lambda outcome: outcome.tenant)),
        ("prompt", _by_length(rows)),
    )
    measures = [measure for measure in MEANS if measure.name in OF_GROUPS]
    for by, found in parts:
        for name, some in found.items() if len(found) > 1 else ():
            yield Group(by, name, len(some), {m.name: _mean(m, some, draws, slo, seeds) for m in measures})


def _by_name(rows: Sequence[_Row], get: Callable[[Outcome], str]) -> dict[str, list[_Row]]:
    """Those with the most requests first, the smaller ones together."""
    found: dict[str, list[_Row]] = {}
    for row in rows:
        found.setdefault(get(row.old) or "(none)", []).append(row)
    ordered = sorted(found, key=lambda name: (-len(found[name]), name))
    shown = {name: found[name] for name in ordered[:MOST_GROUPS]}
    rest = [row for name in ordered[MOST_GROUPS:] for row in found[name]]
    return {**shown, OTHERS: rest} if rest else shown


def _by_length(rows: Sequence[_Row]) -> dict[str, list[_Row]]:
    found: dict[int, list[_Row]] = {}
    for row in rows:
        found.setdefault(sum(row.old.prompt_tokens >= bound for bound in LENGTHS), []).append(row)
    return {_length(number): found[number] for number in sorted(found)}


def _length(number: int) -> str:
    """The name of a class of lengths, in tokens."""
    if number == len(LENGTHS):
        return f"{LENGTHS[-1]:,} or more"
    return f"{LENGTHS[number - 1]:,} to {LENGTHS[number] - 1:,}" if number else f"under {LENGTHS[0]:,}"
