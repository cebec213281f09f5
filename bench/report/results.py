"""Numbers of a report from what came of its cells. Pure.

A *spot* is what one number of a table stands for: the words and the load, all seeds together.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from typing import Any, Final

from bench.report.words import Cell, Group

FAIR_SHARE: Final = 0.05
"""Of the requests, how many the oracle has to answer within the SLO for a comparison of goodput to mean something."""


@dataclass(frozen=True, slots=True)
class Spot:
    """One rule at one load of one command, over the seeds; times in ms."""

    strategy: str
    kind: str
    load: str
    rows: tuple[Mapping[str, Any], ...]

    @property
    def ttft(self) -> float:
        """Mean time to first token."""
        return _mean(self.ttfts)

    @property
    def ttfts(self) -> tuple[float, ...]:
        """The same for each seed; endless where nobody got one."""
        return tuple(
            float("inf") if row["ttft_ms"]["mean"] is None else float(row["ttft_ms"]["mean"]) for row in self.rows
        )

    @property
    def goodput(self) -> float:
        """Requests per second within the SLO."""
        return _mean([float(row["goodput"]) for row in self.rows])

    @property
    def good_share(self) -> float:
        """Share of the requests within the SLO."""
        return _mean([float(row["good_share"]) for row in self.rows])

    @property
    def lost(self) -> int:
        """Requests that failed or were refused."""
        return sum(row["failed"] + row["shed"] for row in self.rows)


def spots(group: Group, found: Mapping[Cell, Mapping[str, Any]]) -> list[Spot]:
    """The spots of one command, in the order of loads and rules."""
    made = []
    for load in group.loads:
        for strategy in group.strategies:
            rows = tuple(found[group.cell(strategy, load, seed)] for seed in range(1, group.seeds + 1))
            made.append(Spot(strategy, rows[0]["kind"], load, rows))
    return made


@dataclass(frozen=True, slots=True)
class Relative:
    """One rule at one spot against the best published rule there; `by_seed` against the best one of each seed."""

    spot: Spot
    place: str
    share: float
    """Of the knee."""

    best: str
    ratio: float
    by_seed: tuple[float, ...]


def relatives(there: Sequence[Spot], place: str, share: float) -> list[Relative]:
    """All rules of one load of one place, against the best published one."""
    published = [spot for spot in there if spot.kind == "published"]
    best = min(published, key=lambda spot: spot.ttft)
    each = [min(spot.ttfts[seed] for spot in published) for seed in range(len(best.rows))]
    return [
        Relative(
            spot=spot,
            place=place,
            share=share,
            best=best.strategy,
            ratio=spot.ttft / best.ttft,
            by_seed=tuple(ttft / least for ttft, least in zip(spot.ttfts, each, strict=True)),
        )
        for spot in there
    ]


def geometric(values: Iterable[float]) -> float:
    """The geometric mean. Raises ValueError without a value, or for one that is not positive."""
    logs = [log(value) for value in values]
    if not logs:
        raise ValueError("there is no mean of nothing")
    return exp(fsum(logs) / len(logs))


def _mean(values: Sequence[float]) -> float:
    return fsum(values) / len(values)
