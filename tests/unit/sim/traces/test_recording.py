"""Our own format: what is written is what is read, and bad lines are located."""

import json
from dataclasses import replace

import pytest

from sim.traces.generate import KINDS, generate
from sim.traces.recording import Recording, lines_of
from sim.traces.rows import TraceError, assemble
from sim.traces.trace import Trace, TraceRequest

HEADER = '{"kvpilot_trace": 1, "name": "t", "block_tokens": 64}'
GOOD = {"at": 1.5, "prompt": 150, "output": 4, "blocks": [1, 2]}


def read(lines: list[str]) -> Trace:
    """The trace in some lines."""
    recording = Recording(lines, "t.jsonl")
    return assemble(recording.name, recording.block_tokens, recording.rows())


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read(kind: str) -> None:
    """Any generated trace survives the way through the format."""
    trace = generate(kind, seed=3, requests=60)
    assert read(list(lines_of(trace))) == trace


def test_labels_survive() -> None:
    """Every key that is not usual is written, in any script."""
    labelled = TraceRequest(0.0, (5,), 64, 1, "s", "Büro", "模型", stream=False, answer_blocks=(2**64 - 1,))
    trace = Trace("t", 64, (labelled,))
    lines = list(lines_of(trace))
    assert read(lines) == trace
    assert lines[1] == (
        '{"at":0.0,"prompt":64,"output":1,"blocks":[5],"answer":[18446744073709551615],'
        '"session":"s","tenant":"Büro","model":"模型","stream":false}'
    )


def test_only_three_keys_are_required() -> None:
    """What is left out is unknown, empty, or streamed."""
    trace = read([HEADER, '{"at": 3, "prompt": 9, "output": 2}'])
    assert trace.requests == (TraceRequest(0.0, (), 9, 2),)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"kvpilot_trace": 2, "block_tokens": 64}', "version 2 of the format is unknown, 1 is known"),
        ('{"name": "t", "block_tokens": 64}', "version None"),
        ('{"kvpilot_trace": 1, "name": "t"}', "block_tokens must be a whole number"),
        ('{"kvpilot_trace": 1, "block_tokens": 0}', "block_tokens must be between"),
        ('{"kvpilot_trace": 1, "blocks": 64}', "unknown key 'blocks'; known here: kvpilot_trace, name"),
        ('{"kvpilot_trace": 1, "block_tokens": 64, "name": 5}', "name must be a text"),
    ],
)
def test_bad_headers_are_refused(header: str, words: str) -> None:
    """The header says version and block size, or nothing is read."""
    with pytest.raises(TraceError, match=words):
        Recording([header], "t.jsonl")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        (json.dumps(GOOD | {"promt": 1}), "unknown key 'promt'"),
        (json.dumps({"prompt": 1, "output": 1}), "at must be a number of seconds"),
        (json.dumps(GOOD | {"at": -1}), "at must be a number of seconds"),
        (json.dumps(GOOD | {"at": True}), "at must be a number of seconds"),
        ('{"at": NaN, "prompt": 1, "output": 1}', "at must be a number of seconds"),
        (json.dumps(GOOD | {"prompt": 0}), "prompt must be between"),
        (json.dumps(GOOD | {"output": 0}), "output must be between"),
        (json.dumps(GOOD | {"prompt": 127}), "127 tokens have 1 whole blocks of 64, blocks has 2"),
        (json.dumps(GOOD | {"blocks": 5}), "blocks must be a list"),
        (json.dumps(GOOD | {"answer": [-1]}), "an id in answer"),
        (json.dumps(GOOD | {"blocks": [2, 1]}), "block 2 had another block before it"),
        (json.dumps(GOOD | {"blocks": [3, 3]}), "block 3 had another block before it"),
        (json.dumps(GOOD | {"stream": "no"}), "stream must be true or false"),
        (json.dumps(GOOD | {"guessed": 1}), "guessed must be true or false"),
        (json.dumps(GOOD | {"dropped": 1}), "dropped stands alone"),
        (json.dumps({"dropped": 0}), "dropped must be between"),
        (json.dumps(GOOD | {"tenant": "x" * 300}), "tenant must be a text of at most 256"),
        (json.dumps(GOOD | {"tenant": "\x1b[2J"}), "tenant must be without control characters"),
        (json.dumps(GOOD | {"model": "\ud800"}), "model must be without control characters"),
    ],
)
def test_bad_lines_are_located(line: str, words: str) -> None:
    """The error names the file and the line, and says what is wrong."""
    with pytest.raises(TraceError, match=words) as caught:
        read([HEADER, json.dumps(GOOD), line])
    assert str(caught.value).startswith("t.jsonl:3: ")


def test_what_a_recording_lost_and_guessed() -> None:
    """Lines about lost requests are summed up; a guessed length is read as any other; both survive a copy."""
    lines = [HEADER, '{"dropped": 2}', json.dumps(GOOD | {"guessed": True, "pool": "chat"}), '{"dropped": 3}']
    recording = Recording(lines, "t.jsonl")
    found = assemble(recording.name, recording.block_tokens, recording.rows())
    assert recording.missing == 5
    assert found.requests == (TraceRequest(0.0, (1, 2), 150, 4, pool="chat"),)
    copy = list(lines_of(replace(found, missing=5)))
    assert copy[1] == '{"dropped":5}'
    assert read(copy) == found
