"""Line plots as SVG text, made by ourselves: no library, no script, nothing fetched.

Pure: the same values give the same bytes. Colours come from the page's style sheet (`c0` … `c7`, `cx`), so that a plot
follows its light or dark scheme. All text is escaped here.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, inf, log10
from typing import Final

COLOURS: Final = 8
"""Lines that have a colour and a dash of their own; more could not be told apart. Others are grey."""

WIDTH: Final = 720
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 12, 44
_TICKS: Final = 5
_TICKS_ACROSS: Final = 8

# Points are marked where there are so few that a line alone would hide where they are.
_MARKED: Final = 12

Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line. `colour` is 0 … COLOURS - 1, None: grey. A point without a value breaks it. `heavy` lines stand out."""

    name: str
    points: tuple[Point, ...]
    colour: int | None = None
    heavy: bool = False

    @property
    def classes(self) -> str:
        """Its classes in the style sheet."""
        return ("cx" if self.colour is None else f"c{self.colour}") + (" heavy" if self.heavy else "")


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis: its words, and how its values are written and spread.

    `least` and `most` are what the axis shows at the least; a logarithmic one (vertical
    only) shows its values alone, all above 0.
    """

    label: str
    log: bool = False
    percent: bool = False
    least: float = inf
    most: float = -inf

    def text(self, value: float) -> str:
        """A tick's words."""
        return f"{value:.0%}" if self.percent else f"{value:,.10g}"


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values from `low` to `high`, to places from `start` to `end`."""

    axis: Axis
    ticks: tuple[float, ...]
    low: float
    high: float
    start: float
    end: float

    def place(self, value: float) -> float:
        """Where a value is; below the least of a logarithmic axis there is nothing."""
        first, last = self.low, self.high
        if self.axis.log:
            share = (log10(max(value, first)) - log10(first)) / (log10(last) - log10(first))
        else:
            share = (value - first) / (last - first)
        return self.start + share * (self.end - self.start)


def plot(name: str, title: str, description: str, axes: tuple[Axis, Axis], curves: Sequence[Curve]) -> str:
    """An SVG element. `name` is unique in the page: the ids of its title and description begin with it."""
    shown = [(at, value) for curve in curves for at, value in curve.points if value is not None]
    x, y = _across(axes[0], (at for at, _ in shown)), _upwards(axes[1], (value for _, value in shown))
    name = escape(name)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{name}-t {name}-d">',
        f'<title id="{name}-t">{escape(title)}</title>',
        f'<desc id="{name}-d">{escape(description)}</desc>',
        *_grid(x, y),
        # Grey ones first, heavy ones last: what matters lies on top.
        *(_curve(curve, x, y) for curve in sorted(curves, key=lambda curve: (curve.colour is not None, curve.heavy))),
        "</svg>",
    ]
    return "\n".join(parts)


def key(curve: Curve) -> str:
    """A piece of the line, for a legend; the name stands beside it."""
    line = f'<path class="{curve.classes}" d="M0 6H28"/>'
    return f'<svg class="key" viewBox="0 0 28 12" aria-hidden="true">{line}</svg>'


def linear_ticks(least: float, most: float, count: int = _TICKS) -> tuple[float, ...]:
    """About `count` round numbers, the first at or below the least, the last at or above the most."""
    if most <= least:
        most = least + 1.0
    rough = (most - least) / count
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = floor(least / step + 1e-9), ceil(most / step - 1e-9)
    return tuple(round(n * step, 10) for n in range(first, last + 1))


def log_ticks(least: float, most: float) -> tuple[float, ...]:
    """Ones, twos and fives from below the least to above the most; only ones where there would be too many."""
    first, last = floor(log10(least)), ceil(log10(most))
    factors = (1, 2, 5) if last - first <= 3 else (1,)
    found = [round(factor * 10.0**power, 10) for power in range(first, last + 1) for factor in factors]
    low = max((tick for tick in found if tick <= least), default=found[0])
    high = min((tick for tick in found if tick >= most and tick > low), default=found[-1])
    return tuple(tick for tick in found if low <= tick <= high)


def _across(axis: Axis, values: Iterable[float]) -> _Scale:
    """The horizontal scale ends where the values do: an empty edge would look like missing ones."""
    found = list(values)
    low, high = min([*found, axis.least]), max([*found, axis.most])
    if not low < high < inf:
        low, high = 0.0, 1.0
    ticks = tuple(tick for tick in linear_ticks(low, high, _TICKS_ACROSS) if low <= tick <= high)
    return _Scale(axis, ticks, low, high, _LEFT, WIDTH - _RIGHT)


def _upwards(axis: Axis, values: Iterable[float]) -> _Scale:
    """The vertical scale ends at round numbers, so that no line touches the frame without need."""
    found = [value for value in values if not axis.log or value > 0]
    if axis.log:
        ticks = log_ticks(min(found, default=1.0), max(found, default=10.0))
    else:
        least, most = min([*found, axis.least]), max([*found, axis.most])
        ticks = linear_ticks(least, most) if least <= most else linear_ticks(0.0, 1.0)
    return _Scale(axis, ticks, ticks[0], ticks[-1], HEIGHT - _BOTTOM, _TOP)


def _grid(x: _Scale, y: _Scale) -> Iterator[str]:
    for tick in y.ticks:
        at = y.place(tick)
        yield f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>'
        yield f'<text class="tick end" x="{_LEFT - 8}" y="{at + 4:.1f}">{escape(y.axis.text(tick))}</text>'
    for tick in x.ticks:
        at = x.place(tick)
        yield f'<path class="grid" d="M{at:.1f} {_TOP}V{HEIGHT - _BOTTOM}"/>'
        yield f'<text class="tick mid" x="{at:.1f}" y="{HEIGHT - _BOTTOM + 18}">{escape(x.axis.text(tick))}</text>'
    centre = (_LEFT + WIDTH - _RIGHT) / 2
    yield f'<text class="axis mid" x="{centre:.1f}" y="{HEIGHT - 6}">{escape(x.axis.label)}</text>'
    middle = (HEIGHT - _BOTTOM + _TOP) / 2
    yield (f'<text class="axis mid" transform="translate(14 {middle:.1f}) rotate(-90)">{escape(y.axis.label)}</text>')


def _curve(curve: Curve, x: _Scale, y: _Scale) -> str:
    path, drawn = [], False
    marks = []
    marked = len(curve.points) <= _MARKED
    for at, value in curve.points:
        if value is None:
            drawn = False
            continue
        left, top = x.place(at), y.place(value)
        path.append(f"{'L' if drawn else 'M'}{left:.1f} {top:.1f}")
        if marked:
            marks.append(f'<circle cx="{left:.1f}" cy="{top:.1f}" r="3"/>')
        drawn = True
    shape = f'<path d="{"".join(path)}"/>' if path else ""
    return f'<g class="{curve.classes}"><title>{escape(curve.name)}</title>{shape}{"".join(marks)}</g>'
