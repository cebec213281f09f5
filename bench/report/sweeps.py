"""One thing is varied, everything else stays: a table for each. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from bench.report.markdown import code, number, table
from bench.report.results import Spot, spots
from bench.report.tables import OURS, Found, Knees, has_all
from bench.report.words import Group, Knee, Place

SWEEP_SEEDS: Final = 2
"""Fewer than in the proof: what a column changes is larger than what a seed does, and there are many columns."""

_SHARE: Final = re.compile(r"(\d+)%")


@dataclass(frozen=True, slots=True)
class Point:
    """One column. In `words` a percentage stands for so much of the trace's time, in seconds."""

    label: str
    words: str = ""
    requests: int | None = None
    """Instead of the place's own number."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Columns of one table, at a share of each place's knee; the one without words is what they are compared with."""

    name: str
    places: tuple[Place, ...]
    points: tuple[Point, ...]
    strategies: tuple[str, ...]
    share: float = 0.85
    seeds: int = SWEEP_SEEDS
    pace: str = "--load"
    """`--rate` where the column changes what a load is."""

    def groups(self, knees: Knees) -> list[Group]:
        """A command for each place and point."""
        return [self._group(p, knees[p], point) for p in self.places if p in knees for point in self.points]

    def blocks(self, knees: Knees, found: Found) -> dict[str, str]:
        """Mean TTFT in ms, by place and rule."""
        points = [
            point
            for point in self.points
            if any(p in knees and has_all(self._group(p, knees[p], point), found) for p in self.places)
        ]
        rows, says, commands = [], [], []
        for place in self.places:
            if place not in knees:
                continue
            columns = [
                spots(group, found) if has_all(group, found) else []
                for group in (self._group(place, knees[place], point) for point in points)
            ]
            for row, strategy in enumerate(self.strategies):
                numbers = [_cell(column[row]) if column else "–" for column in columns]
                rows.append([place.name, f"**`{strategy}`**" if strategy == OURS else f"`{strategy}`", *numbers])
            says.append(f"{place.name}: {self._said(points, columns)}")
            commands += [g.command for p in points if has_all(g := self._group(place, knees[place], p), found)]
        head = ("mean TTFT, ms", "rule", *(point.label for point in points))
        return {
            self.name: "\n\n".join(
                (table(head, rows, words=2), "\n".join(f"- {line}" for line in says), code(commands))
            )
        }

    def _said(self, points: Sequence[Point], columns: Sequence[Sequence[Spot]]) -> str:
        base = next((column for point, column in zip(points, columns, strict=True) if not point.words), None)
        texts = []
        for point, column in zip(points, columns, strict=True):
            if not column:
                continue
            ours = next(spot for spot in column if spot.strategy == OURS)
            published = [spot for spot in column if spot.kind == "published"]
            text = f"{point.label}"
            if base is not None and point.words:
                usual = next(spot for spot in base if spot.strategy == OURS)
                text += f" × {ours.ttft / usual.ttft:.2f}"
            if published:
                best = min(published, key=lambda spot: spot.ttft)
                text += f" ({ours.ttft / best.ttft:.2f} of `{best.strategy}`)"
            texts.append(text)
        return f"`{OURS}` " + ", ".join(texts) + "."

    def _group(self, place: Place, knee: Knee, point: Point) -> Group:
        span = knee.span_s(place, self.share)
        words = tuple(
            _SHARE.sub(lambda found: f"{span * int(found[1]) / 100:.0f}", word) for word in point.words.split()
        )
        own = place.words
        if point.requests is not None:
            own = tuple(
                str(point.requests) if before == "--requests" else word for before, word in pairwise(("", *own))
            )
        pace = knee.load_word(self.share) if self.pace == "--load" else knee.rate_word(self.share)
        return Group((*own, *words), self.strategies, (pace,), self.pace, self.seeds)


def _cell(spot: Spot) -> str:
    return number(spot.ttft) + (f" ({spot.lost:,} lost)" if spot.lost else "")
