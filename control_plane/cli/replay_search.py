"""The part of `kvpilot replay` that searches: the highest rate within an SLO, or the fewest pods."""

import argparse
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

from control_plane.cli.playing import played, with_progress

if TYPE_CHECKING:
    from rich.console import Console

    from sim.virtual.search import RateLimit, Size
    from sim.virtual.study import Plan


def add_search_arguments(parser: argparse.ArgumentParser) -> None:
    """What is searched for is said by `--slo` alone, or by `--size`."""
    parser.add_argument(
        "--size",
        action="store_true",
        help="find the fewest pods that hold the SLO at each rate, per strategy (instead of the highest rate)",
    )


def check_search(args: argparse.Namespace) -> None:
    """Raises ValueError for words that ask for two different things."""
    if args.size and args.compare:
        raise ValueError("--size searches per strategy, --compare is about two policies: take one of them")


@dataclass(frozen=True, slots=True)
class Found:
    """What the searches found; None for what was not searched."""

    limits: "list[RateLimit] | None" = None
    sizes: "list[Size] | None" = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON values that a report has besides its own."""
        both = {"limits": self.limits, "sizes": self.sizes}
        return {name: [one.as_dict() for one in values] for name, values in both.items() if values is not None}

    def show(self, console: "Console", slo: str) -> None:
        """What a report shows below its tables."""
        from sim.virtual.search_report import rate_notes, rate_table, size_lines

        if self.limits is not None:
            console.print()
            console.print(rate_table(self.limits, slo))
            for line in rate_notes(self.limits):
                console.print(line)
        if self.sizes is not None:
            console.print()
            for line in size_lines(self.sizes, slo):
                console.print(line)


def search(args: argparse.Namespace, plan: "Plan") -> Found:
    """What the words ask for: sizes with `--size`, else rates with `--slo`, else nothing.

    Each rule's search is one job. Raises ValueError for a trace that has no pace.
    """
    from sim.virtual.search import highest_rate

    if args.size:
        pairs = list(product(plan.rates, plan.strategies))
        sizes = played(partial(_size, plan), pairs, args.jobs)
        return Found(sizes=list(with_progress(sizes, len(pairs), "sizing", lambda size: size.strategy)))
    if args.slo:
        limits = played(partial(highest_rate, plan), plan.strategies, args.jobs)
        return Found(limits=list(with_progress(limits, len(plan.strategies), "rates", lambda limit: limit.strategy)))
    return Found()


def _size(plan: "Plan", pair: tuple[float, str]) -> "Size":
    from sim.virtual.search import fewest_pods

    return fewest_pods(plan, *pair)
