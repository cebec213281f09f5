"""The console of reports."""

import io

import pytest

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
