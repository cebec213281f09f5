"""Tables and markers."""

import pytest

from bench.report.markdown import code, filled, number, table

DOCUMENT = "before\n<!-- report:one -->\nold\n<!-- /report -->\nbetween\n<!-- report:two -->\n<!-- /report -->\n"


def test_a_table() -> None:
    """Words to the left, numbers to the right."""
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| --- | ---: |\n| x | 1 |"


def test_code() -> None:
    """A line for each command."""
    assert code(["a", "b"]) == "```\na\nb\n```"


def test_numbers() -> None:
    """Whole from ten on, and a dash for what never came."""
    assert [number(9.94), number(1234.5), number(float("inf"))] == ["9.9", "1,234", "–"]


def test_blocks_replace_what_is_between_their_markers() -> None:
    """And nothing else; twice is once; backslashes are text."""
    once = filled(DOCUMENT, {"one": "new \\1", "two": "second"})

    assert once == DOCUMENT.replace("old", "new \\1").replace("two -->\n", "two -->\nsecond\n")
    assert filled(once, {"one": "new \\1", "two": "second"}) == once


def test_a_block_without_its_place() -> None:
    """Is an error that names it."""
    with pytest.raises(ValueError, match="report:three"):
        filled(DOCUMENT, {"three": "x"})
