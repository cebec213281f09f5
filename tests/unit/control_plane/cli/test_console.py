"""The console of reports."""

import io

import pytest
from rich.table import Table

from control_plane.cli.console import PLAIN_WIDTH, ReportConsole, report_console


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_leaves_is_no_failure() -> None:
    """What the command line ends quietly for is raised, instead of the program ended with 1."""
    with pytest.raises(BrokenPipeError):
        ReportConsole(file=Gone()).print("words")


def test_without_a_terminal_there_is_room() -> None:
    """Tables keep their lines whole in a file."""
    assert report_console().width == PLAIN_WIDTH


def test_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """A tenant may be called like a closing tag or an emoji: it is shown as it is, in lines and in tables."""
    table = Table("[b]")
    table.add_row("tenant: [/x]", "[red]:smile:")
    console = report_console()
    console.print("[/y] :smile:")
    console.print(table)
    out = capsys.readouterr().out
    assert all(name in out for name in ("[/x]", "[red]:smile:", "[/y] :smile:", "[b]"))
