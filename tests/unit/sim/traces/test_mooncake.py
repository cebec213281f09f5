"""The Mooncake format: what a line becomes, and which lines are refused."""

import json

import pytest

from sim.traces.mooncake import rows
from sim.traces.rows import Row, TraceError

GOOD = {"timestamp": 1500, "input_length": 1200, "output_length": 52, "hash_ids": [0, 7, 8]}


def read(*lines: dict[str, object]) -> list[Row]:
    """Rows of some lines."""
    return list(rows([json.dumps(line) for line in lines], "t.jsonl"))


def test_a_line_becomes_a_request() -> None:
    """Milliseconds become microseconds, the id of the partial block is dropped."""
    (row,) = read(GOOD)
    found = row.request
    assert (row.at_us, found.prompt_tokens, found.output_tokens, len(found.blocks)) == (1_500_000, 1200, 52, 2)
    assert (found.session, found.answer_blocks) == ("", ())


def test_a_whole_last_block_is_kept() -> None:
    """1,024 tokens are two whole blocks."""
    (row,) = read(GOOD | {"input_length": 1024, "hash_ids": [0, 1]})
    assert row.request.blocks == (0, 1)


def test_ids_stay_when_numbered_by_appearance() -> None:
    """The ids of the published traces come out as they went in."""
    found = read(GOOD | {"hash_ids": [0, 1, 2]}, GOOD | {"hash_ids": [0, 3, 4]}, GOOD | {"hash_ids": [0, 1, 5]})
    assert [row.request.blocks for row in found] == [(0, 1), (0, 3), (0, 1)]


def test_an_id_behind_another_predecessor_is_another_block() -> None:
    """Sources that hash blocks without their predecessors do not get hits that no engine would have."""
    found = read(GOOD | {"hash_ids": [1, 2]}, GOOD | {"hash_ids": [5, 2]})
    assert not set(found[0].request.blocks) & set(found[1].request.blocks)


def test_no_answer_counts_as_one_token() -> None:
    """A request that was given up keeps its prompt's load."""
    assert read(GOOD | {"output_length": 0})[0].request.output_tokens == 1


def test_fractions_of_milliseconds() -> None:
    """Finer clocks than the published one are read."""
    assert read(GOOD | {"timestamp": 0.5})[0].at_us == 500


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[1]", "must be a JSON object"),
        ("[" * 100_000, "recursion|not JSON"),
        ('{"timestamp": 1}', "input_length is missing"),
        (json.dumps(GOOD | {"input_length": 0}), "input_length must be between"),
        (json.dumps(GOOD | {"input_length": "9"}), "input_length must be a whole number"),
        (json.dumps(GOOD | {"output_length": -1}), "output_length must be between"),
        (json.dumps(GOOD | {"timestamp": -1}), "timestamp"),
        (json.dumps(GOOD | {"timestamp": 1e300}), "timestamp"),
        (json.dumps(GOOD | {"timestamp": "now"}), "timestamp"),
        (json.dumps(GOOD | {"hash_ids": None}), "hash_ids must be a list"),
        (json.dumps(GOOD | {"hash_ids": [1, 2, 3, 4]}), "1,200 tokens are 3 blocks of 512, hash_ids has 4"),
    ],
)
def test_bad_lines_are_located(line: str, words: str) -> None:
    """The error names the file and the line, and says what is wrong."""
    with pytest.raises(TraceError, match=words) as caught:
        list(rows([json.dumps(GOOD), "", line], "t.jsonl"))
    assert str(caught.value).startswith("t.jsonl:3: ")
