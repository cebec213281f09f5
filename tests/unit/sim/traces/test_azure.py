"""The Azure format: what a line becomes, and which lines are refused."""

import pytest

from sim.traces.azure import rows
from sim.traces.rows import Row, TraceError

HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
GOOD = "2023-11-16 18:15:46.6805900,130,44"


def read(*lines: str) -> list[Row]:
    """Rows of some lines below the header."""
    return list(rows([HEADER, *lines], "t.csv"))


def test_a_line_becomes_a_request() -> None:
    """Times are kept to the microsecond, UTC; 130 tokens have two whole blocks of 64."""
    (row,) = read(GOOD)
    assert row.at_us == 1_700_158_546_680_590
    assert (row.request.prompt_tokens, row.request.output_tokens, len(row.request.blocks)) == (130, 44, 2)


def test_no_block_is_shared() -> None:
    """The format tells nothing about prefixes, so equal lengths are not equal prompts."""
    first, second = read(GOOD, GOOD)
    assert not set(first.request.blocks) & set(second.request.blocks)


def test_time_zones_are_understood() -> None:
    """The traces of 2024 write their offset."""
    first, second = read("2024-05-10 00:00:00,9,1", "2024-05-10 01:00:00.5+01:00,9,1")
    assert second.at_us - first.at_us == 500_000


def test_no_answer_counts_as_one_token() -> None:
    """A request that was given up keeps its prompt's load."""
    assert read("2024-05-10 00:00:00,9,0")[0].request.output_tokens == 1


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("2023-11-16 18:15:46,1", "3 columns are wanted, 2 are here"),
        ("yesterday,1,1", "TIMESTAMP must be a date and a time, not 'yesterday'"),
        ("1869-01-01 00:00:00,1,1", "TIMESTAMP"),
        ("2023-11-16 18:15:46,0,1", "ContextTokens must be between"),
        ("2023-11-16 18:15:46,1.5,1", "ContextTokens must be a whole number, not '1.5'"),
        ("2023-11-16 18:15:46,1,-1", "GeneratedTokens must be a whole number"),
        (f"2023-11-16 18:15:46,1,{'9' * 5000}", "GeneratedTokens must be a whole number"),
    ],
)
def test_bad_lines_are_located(line: str, words: str) -> None:
    """The error names the file and the line, and says what is wrong."""
    with pytest.raises(TraceError, match=words) as caught:
        read(GOOD, line)
    assert str(caught.value).startswith("t.csv:3: ")


@pytest.mark.parametrize("lines", [[], ["", "a,b,c"], [GOOD]])
def test_header_is_required(lines: list[str]) -> None:
    """Without the three names in the first line the columns could be anything."""
    with pytest.raises(TraceError, match=f"the first line must be {HEADER}"):
        list(rows(lines, "t.csv"))
