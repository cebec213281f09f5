"""The console that reports are shown on. Imported where a report is printed, since rich takes its time to load."""

import sys
from typing import NoReturn

from rich.console import Console

PLAIN_WIDTH = 160
"""Without a terminal rich assumes 80 columns, too few for the tables."""


class ReportConsole(Console):
    """Standard output. `| head` has what it wanted: rich would end the program with 1, the command line with 0."""

    def on_broken_pipe(self) -> NoReturn:
        """Leaves it to `control_plane.cli.main`, as for all that is printed."""
        raise BrokenPipeError


def report_console() -> ReportConsole:
    """A console as wide as the terminal, or as a report needs."""
    return ReportConsole(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
