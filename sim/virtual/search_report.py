"""What searches found, for eyes: a table of rates, and a sentence for each rule about pods. Pure."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Table

from sim.virtual.search import MOST_LOAD, MOST_PODS, RateLimit, Size


def rate_table(limits: Sequence[RateLimit], slo: str) -> Table:
    """One line for each rule, who holds most first; `÷ best` is relative to the best published rule."""
    best = max((found.rate for found in limits if found.kind == "published" and found.rate), default=None)
    table = Table(
        title=f"highest rate with P90 TTFT and mean TPOT within {slo}",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("strategy")
    table.add_column("kind")
    for name in ("rate ×", "÷ best", "requests/s", "load", "p90 TTFT ms", "TPOT ms", "fails at ×", "runs"):
        table.add_column(name, justify="right")
    for found in sorted(limits, key=lambda found: -(found.rate or 0.0)):
        table.add_row(*_cells(found, best), style="bold" if found.kind == "product" else None)
    return table


def rate_notes(limits: Sequence[RateLimit]) -> list[str]:
    """What has to be said of such a table."""
    if any((found.load or 0.0) > 1 for found in limits):
        return ["a load above 1 cannot last: the trace ends before the queues show it; take more requests"]
    return []


def size_lines(sizes: Sequence[Size], slo: str) -> list[str]:
    """For each rate what it is about, then a sentence for each rule, the fewest pods first."""
    lines = []
    for rate in dict.fromkeys(size.rate for size in sizes):
        lines.append(f"pods for P90 TTFT and mean TPOT within {slo} at rate × {rate:g}:")
        there = [size for size in sizes if size.rate == rate]
        lines += [_sentence(size) for size in sorted(there, key=lambda size: size.pods or MOST_PODS + 1)]
    return lines


def _cells(found: RateLimit, best: float | None) -> list[str]:
    fails_at = f"{found.fails_at:.4g}" if found.fails_at is not None else f"no load to {MOST_LOAD:g}"
    head = [found.strategy, found.kind]
    if found.rate is None or found.load is None or found.requests_per_s is None or found.measured is None:
        return [*head, "none", "–", "–", "–", "–", "–", fails_at, str(found.runs)]
    return [
        *head,
        f"{found.rate:.4g}",
        "–" if best is None else f"{found.rate / best:.2f}",
        f"{found.requests_per_s:.2f}",
        f"{found.load:.2f}",
        f"{found.measured.p90_ttft_s * 1e3:,.0f}",
        f"{found.measured.tpot_s * 1e3:.1f}",
        fails_at,
        str(found.runs),
    ]


def _sentence(size: Size) -> str:
    if size.pods is None:
        return f"{size.strategy} does not hold it with {MOST_PODS} pods"
    return f"{size.strategy} needs {size.pods} {'pod' if size.pods == 1 else 'pods'}"
