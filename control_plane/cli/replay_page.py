"""`kvpilot replay … --html FILE`: where the page of a comparison goes."""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.virtual.study import Row


def add_page_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether there is a page."""
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page with plots: one file, nothing is fetched"
    )


def check_page(args: argparse.Namespace) -> None:
    """Raises ValueError when there can be no page: better now than after minutes of playing."""
    place: Path | None = args.html
    if place is None:
        return
    if args.compare:
        raise ValueError("--html shows strategies; it does not go with --compare")
    if place.is_dir() or not place.absolute().parent.is_dir():
        raise ValueError(f"{place}: " + ("this is a directory" if place.is_dir() else "there is no such directory"))


def bins(place: Path | None) -> int:
    """How many bins the time series of a run have: none when nobody is going to look."""
    from sim.virtual.series import BINS

    return 0 if place is None else BINS


def write_page(place: Path, words: Sequence[str], head: Sequence[str], rows: "Sequence[Row]", slo: str) -> int:
    """Writes the page; 1 when the file is refused. `words` are the command line's, without the program's name."""
    from sim.virtual.html_report import Report, page

    text = page(Report(command=shlex.join(("kvpilot", *words)), head=head, rows=rows, slo=slo))
    try:
        place.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        print(f"kvpilot replay: {place}: {error.strerror}", file=sys.stderr)
        return 1
    return 0
