"""A comparison as one HTML file: nothing is fetched, nothing runs, and every plot has its numbers in a table beside it.

Pure: the same rows give the same bytes. Every word from outside (names of traces, the command line) is escaped.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from rich.table import Table

from sim.virtual.html_style import STYLE
from sim.virtual.plots import COLOURS, Axis, Curve, key, plot
from sim.virtual.report import Get, Line, lines, tables
from sim.virtual.series import PodLoad, Series
from sim.virtual.study import Row

# Of the lines with a colour so many are kept for our own strategies; the best of the others have the rest.
_OWN_COLOURS: Final = 4

MAX_PODS: Final = COLOURS
"""Pods drawn one by one; of larger fleets the least, the middle and the most loaded pod of each moment are."""

# What no other page may do to this one, and what it does not do itself: the browser holds us to it.
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

_WORD_COLUMNS: Final = 2
_QUANTILE: Final = re.compile(r"p\d+")

_NOT: Final = (
    "This is a model of engines, not engines: step times are computed from data sheets. Trust the order of rules and "
    "the size of large differences, not milliseconds.",
    "Left out: the time that a pick takes, the network between client and router, and Envoy's health checks.",
    "Other systems' rules are their published formulas with their default settings, written anew; their programs, "
    "versions and tuning are not measured here.",
    "One trace is one kind of traffic. A rule that is best here may lose on other traffic, or at another load.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the page shows. `head` are lines of a word and its text, as the table output has above the tables."""

    command: str
    head: Sequence[str]
    rows: Sequence[Row]
    slo: str


def page(report: Report) -> str:
    """The whole file."""
    found = lines(report.rows)
    colours = _colours(found)
    title = "kvpilot replay: " + report.head[0].partition(" ")[2].strip() if report.head else "kvpilot replay"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        "<h1>Routing rules on one trace</h1>",
        f"<p>Made by <code>{escape(report.command)}</code></p>",
        *_head(report.head),
        *_results(report),
        *_latency(found, colours),
        *_over_time(found, colours),
        "<h2>What this is not</h2>",
        "<ul>",
        *(f"<li>{escape(text)}</li>" for text in _NOT),
        "</ul>",
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(parts) + "\n"


def _head(head: Sequence[str]) -> Iterator[str]:
    yield "<dl>"
    for line in head:
        word, _, text = line.partition(" ")
        yield f"<dt>{escape(word)}</dt><dd>{escape(text.strip())}</dd>"
    yield "</dl>"


# --- the numbers ------------------------------------------------------------------------------------------------------


def _results(report: Report) -> Iterator[str]:
    yield "<h2>Results</h2>"
    yield (
        '<p class="soft">Times to first token (TTFT), between tokens (TPOT) and of whole answers (e2e), least mean '
        "TTFT first. ÷ best: mean TTFT over that of the best published rule of the same table. load: what the trace "
        "takes at least over what the fleet can do. cached: share of the prompt tokens that came from a cache. "
        "uneven: prompt tokens computed by the busiest pod over the mean. Ours are bold.</p>"
    )
    for table in tables(report.rows, report.slo):
        yield from _rich(table)


def _rich(table: Table) -> Iterator[str]:
    """The console's table, so that both always show the same."""
    names, group = [], ""
    for column in table.columns:
        header = str(column.header)
        names.append(f"{group} {header}" if _QUANTILE.fullmatch(header) else header)
        group = group if _QUANTILE.fullmatch(header) else header
    cells = zip(*([str(cell) for cell in column.cells] for column in table.columns), strict=True)
    own = [bool(row.style) for row in table.rows]
    yield from _table(str(table.title), names, list(cells), own)


def _table(
    caption: str,
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    own: Sequence[bool] = (),
    words: int = _WORD_COLUMNS,
) -> Iterator[str]:
    """A table whose first column names its rows; the first `words` columns are words, the others numbers."""
    yield f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(caption)}">'
    yield f"<table><caption>{escape(caption)}</caption>"
    heads = (f'<th scope="col"{_word(n, words)}>{escape(name)}</th>' for n, name in enumerate(names))
    yield f"<thead><tr>{''.join(heads)}</tr></thead>"
    yield "<tbody>"
    for number, row in enumerate(rows):
        cells = [f"<td{_word(n, words)}>{escape(cell)}</td>" for n, cell in enumerate(row) if n]
        ours = ' class="own"' if own and own[number] else ""
        yield f'<tr{ours}><th scope="row">{escape(row[0])}</th>{"".join(cells)}</tr>'
    yield "</tbody></table></div>"


def _word(column: int, words: int) -> str:
    return ' class="word"' if column < words else ""


# --- latency against load ---------------------------------------------------------------------------------------------


def _latency(found: Sequence[Line], colours: dict[str, int]) -> Iterator[str]:
    yield "<h2>Latency against load</h2>"
    if len({line.rate for line in found}) < 2:
        yield "<p>There is one rate only; with several (<code>--rate</code> or <code>--load</code>) a plot is here.</p>"
        return
    for name, words, get in (("mean", "Mean time", _mean_ttft), ("p99", "99th percentile of the time", _p99_ttft)):
        yield from _against_load(found, colours, name, f"{words} to first token against load", get)


def _against_load(found: Sequence[Line], colours: dict[str, int], name: str, title: str, get: Get) -> Iterator[str]:
    points: dict[str, list[tuple[float, float | None]]] = {}
    for line in found:
        points.setdefault(line.strategy, []).append((line.mean(_load) or 0.0, line.mean(get)))
    curves = _curves(found, colours, {strategy: tuple(places) for strategy, places in points.items()})
    axes = Axis("load"), Axis("ms, logarithmic", log=True)
    text = "A line for each rule; lower is better, and where a line bends up its rule begins to fall behind."
    loads = [f"load {line_load:.2f}" for line_load, _ in curves[0].points]
    cells = [[curve.name, *("–" if ms is None else f"{ms:,.0f}" for _, ms in curve.points)] for curve in curves]
    yield from _figure(f"latency-{name}", title, text, axes, curves)
    yield from _folded("The numbers", _table(f"{title}, ms", ["strategy", *loads], cells, words=1))


# --- over time --------------------------------------------------------------------------------------------------------


def _over_time(found: Sequence[Line], colours: dict[str, int]) -> Iterator[str]:
    """The run with a time series of each rule: there is one at most."""
    timed = {row.strategy: row for line in found for row in line.rows if row.series is not None and row.series.cached}
    if not timed:
        yield "<h2>Over time</h2>"
        yield "<p>All requests arrive at once, so there is no time to plot over.</p>"
        return
    first = next(iter(timed.values()))
    which = f"rate × {first.rate:g}, load {first.load:.2f}, seed {first.seed}"
    series = {name: row.series for name, row in timed.items() if row.series is not None}
    yield "<h2>Hits over time</h2>"
    yield from _hits(found, colours, series, which)
    yield "<h2>Load of each pod over time</h2>"
    yield (
        f"<p>Requests in flight to each pod ({escape(which)}), in the mean of each moment. Lines close together are an "
        "even load. The scale of each plot is its own: mind its numbers.</p>"
    )
    for strategy, one in series.items():
        yield from _folded(strategy, _pods(strategy, one, which), opened=strategy in colours)


def _hits(found: Sequence[Line], colours: dict[str, int], series: dict[str, Series], which: str) -> Iterator[str]:
    points = {name: tuple(zip(_times(one), one.cached, strict=True)) for name, one in series.items()}
    curves = _curves(found, colours, points)
    title = f"Cached share of prompt tokens over time ({which})"
    text = "By the time of arrival. A cold fleet begins at the left; a dip is new content, or caches lost or too small."
    axes = Axis("seconds", least=0.0), Axis("cached", percent=True, least=0.0, most=1.0)
    yield from _figure("hits", title, text, axes, curves)
    rows = [
        [f"{at:,.1f}", *("–" if (share := curve.points[n][1]) is None else f"{share:.1%}" for curve in curves)]
        for n, (at, _) in enumerate(curves[0].points)
    ]
    yield from _folded("The numbers", _table(title, ["seconds", *(curve.name for curve in curves)], rows, words=0))


def _pods(strategy: str, one: Series, which: str) -> Iterator[str]:
    pods = one.pods if len(one.pods) <= MAX_PODS else _ordered(one.pods)
    times = _times(one)
    curves = [
        Curve(pod.address, tuple(zip(times, pod.in_flight, strict=True)), colour) for colour, pod in enumerate(pods)
    ]
    title = f"{strategy}: requests in flight over time ({which})"
    axes = Axis("seconds", least=0.0), Axis("requests in flight", least=0.0)
    yield from _figure(f"pods-{strategy}", title, "A line for each pod.", axes, curves)
    rows = [
        [pod.address, f"{sum(pod.in_flight) / len(pod.in_flight):,.2f}", f"{max(pod.in_flight):,.2f}"] for pod in pods
    ]
    yield from _table(f"{strategy}: requests in flight", ["pod", "mean", "most in a bin"], rows, words=1)


def _ordered(pods: Sequence[PodLoad]) -> tuple[PodLoad, ...]:
    """The least, the middle and the most of each moment."""
    moments = [sorted(loads) for loads in zip(*(pod.in_flight for pod in pods), strict=True)]
    places = (("least loaded", 0), ("middle", len(pods) // 2), ("most loaded", -1))
    return tuple(PodLoad(f"{name} of {len(pods)}", tuple(m[place] for m in moments)) for name, place in places)


def _times(one: Series) -> list[float]:
    """The middle of each bin."""
    return [round((n + 0.5) * one.step_s, 3) for n in range(len(one.cached))]


# --- parts of the page ------------------------------------------------------------------------------------------------


def _figure(name: str, title: str, text: str, axes: tuple[Axis, Axis], curves: Sequence[Curve]) -> Iterator[str]:
    grey = [curve.name for curve in curves if curve.colour is None]
    yield f"<h3>{escape(title)}</h3>"
    yield f"<figure>{plot(name, title, text, axes, curves)}"
    yield '<ul class="legend">'
    for curve in curves:
        if curve.colour is not None:
            yield f"<li>{key(curve)}{escape(curve.name)}</li>"
    if grey:
        yield f"<li>{key(Curve('', ()))}{escape(', '.join(grey))}</li>"
    yield "</ul>"
    yield f"<figcaption>{escape(text)}</figcaption></figure>"


def _folded(summary: str, inside: Iterator[str], opened: bool = False) -> Iterator[str]:
    yield f"<details{' open' if opened else ''}><summary>{escape(summary)}</summary>"
    yield from inside
    yield "</details>"


def _curves(
    found: Sequence[Line], colours: dict[str, int], points: dict[str, tuple[tuple[float, float | None], ...]]
) -> list[Curve]:
    own = {line.strategy for line in found if line.kind == "product"}
    coloured = [*(name for name in colours if name in points), *(name for name in points if name not in colours)]
    return [Curve(name, points[name], colours.get(name), name in own) for name in coloured]


def _colours(found: Sequence[Line]) -> dict[str, int]:
    """The best at the highest rate have a colour, some kept for our own; the same one in every plot."""
    most = max((line.rate for line in found), default=0.0)
    ranked = [line for line in found if line.rate == most]
    own = [line for line in ranked if line.kind == "product"][:_OWN_COLOURS]
    others = [line for line in ranked if line.kind != "product"][: COLOURS - len(own)]
    chosen = {line.strategy for line in (*own, *others)}
    return {line.strategy: n for n, line in enumerate(line for line in ranked if line.strategy in chosen)}


def _mean_ttft(row: Row) -> float | None:
    return row.summary.ttft_ms.mean


def _p99_ttft(row: Row) -> float | None:
    return row.summary.ttft_ms.p99


def _load(row: Row) -> float:
    return row.load
