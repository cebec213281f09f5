"""A recording: lines that the trace reader takes, ids that tell nothing, bounds that hold."""

import json
from typing import Any

import pytest

from ext_proc import recording as module
from ext_proc.core.events import RequestEnded, StreamEnded
from ext_proc.recording import KEY_BYTES, LOG_PATIENCE_S, START_OUTPUT_TOKENS, Question, Recording
from sim.traces.recording import Recording as Reader
from sim.traces.rows import assemble
from sim.traces.trace import Trace

KEY = bytes(range(KEY_BYTES))
OTHER_KEY = bytes(reversed(range(KEY_BYTES)))


def new(key: bytes = KEY, **options: Any) -> Recording:
    """A recording that began at 100 s."""
    return Recording("t", key, started_at=100.0, **options)


def question(decision: str = "a", at: float = 100.5, **changes: Any) -> Question:
    """A chat of 150 tokens, two blocks of which are whole."""
    told: dict[str, Any] = {
        "pool": "chat",
        "model": "llama",
        "kind": "chat",
        "stream": True,
        "tokens": 150,
        "max_tokens": None,
        "blocks": (11, 12),
    }
    return Question(decision_id=decision, at=at, **(told | changes))


def ended(decision: str = "a", *, tokens: int | None = 7, status: int = 200, aborted: bool = False) -> RequestEnded:
    """The access log's record of an end."""
    return RequestEnded(
        decision_id=decision, at=101.0, status=status, completion_tokens=tokens, aborted=aborted, served="10.0.0.1:1"
    )


def lines(recording: Recording) -> list[dict[str, Any]]:
    """What has come, without the header."""
    found = [json.loads(line) for line in recording.take().splitlines()]
    return [line for line in found if "kvpilot_trace" not in line]


def trace_of(recording: Recording) -> Trace:
    """All of it as a replay reads it."""
    recording.finish()
    reader = Reader(recording.take().decode().splitlines(), "t.jsonl")
    return assemble(reader.name, reader.block_tokens, reader.rows())


def test_a_request_is_written_when_it_ends() -> None:
    """Nothing before; then its time since the beginning, lengths and labels, and nothing that was not told."""
    recording = new()
    recording.picked(question(stream=False))
    assert lines(recording) == []
    recording.apply(ended())
    (line,) = lines(recording)
    assert {key: line[key] for key in line if key != "blocks"} == {
        "at": 0.5,
        "prompt": 150,
        "output": 7,
        "model": "llama",
        "pool": "chat",
        "stream": False,
    }
    recording.apply(ended())
    assert lines(recording) == []


def test_the_reader_takes_it_and_finds_the_same_sharing() -> None:
    """Prompts that begin alike do so in the trace, as far as they do."""
    recording = new()
    for number, blocks in enumerate([(11, 12), (11, 12, 13), (11, 20), (30,)]):
        recording.picked(question(str(number), 100.0 + number, blocks=blocks, tokens=64 * len(blocks) + 10))
        recording.apply(ended(str(number)))
    trace = trace_of(recording)
    assert (trace.name, trace.block_tokens, len(trace)) == ("t", 64, 4)
    assert list(trace.shared_tokens()) == [0, 128, 64, 0]
    assert [request.pool for request in trace.requests] == ["chat"] * 4


def test_ids_and_labels_tell_nothing_outside_of_their_recording() -> None:
    """Other keys, other ids; neither the picker's own hashes nor a session's or user's name are anywhere."""
    found = []
    for key in (KEY, OTHER_KEY):
        recording = new(key)
        recording.picked(question(session="alice", user="bob@example.org"))
        recording.apply(ended())
        found += lines(recording)
    one, two = found
    assert not {11, 12} & {*one["blocks"], *two["blocks"]}
    for name in ("blocks", "session", "tenant"):
        assert one[name] != two[name]
    assert "alice" not in str(found)
    assert "bob" not in str(found)
    assert one["session"] != one["tenant"]


def test_ids_are_the_keyed_hash_that_is_documented() -> None:
    """BLAKE2b with the key, eight bytes each way, little-endian."""
    from hashlib import blake2b

    recording = new()
    recording.picked(question(blocks=(11,)))
    recording.apply(ended())
    digest = blake2b((11).to_bytes(8, "little"), digest_size=8, key=KEY, person=b"block").digest()
    assert lines(recording)[0]["blocks"] == [int.from_bytes(digest, "little")]


@pytest.mark.parametrize(
    ("changes", "output", "is_guessed"),
    [
        ({}, START_OUTPUT_TOKENS, True),
        ({"max_tokens": 20}, 20, True),
        ({"max_tokens": -5}, 1, True),
        ({"max_tokens": 1}, 1, False),
        ({"kind": "embedding"}, 1, False),
    ],
)
def test_a_length_that_nobody_told(changes: dict[str, Any], output: int, is_guessed: bool) -> None:
    """It is guessed, within the request's own limit, and marked; what can only be one token is no guess."""
    recording = new()
    recording.picked(question(**changes))
    recording.apply(ended(tokens=None))
    (line,) = lines(recording)
    assert (line["output"], line.get("guessed", False)) == (output, is_guessed)


def test_guesses_learn() -> None:
    """The mean of what was told so far; a client that went away told nothing of how long the answer would have been."""
    recording = new()
    for decision, tokens in (("a", 10), ("b", 30)):
        recording.picked(question(decision))
        recording.apply(ended(decision, tokens=tokens))
    recording.picked(question("c"))
    recording.apply(ended("c", tokens=2, aborted=True))
    assert lines(recording)[-1]["output"] == 20


@pytest.mark.parametrize(("status", "is_kept"), [(200, True), (404, False), (429, True), (503, True), (0, True)])
def test_what_an_engine_refused_is_no_load(status: int, is_kept: bool) -> None:
    """A wrong request is left out; one that found no place was wanted all the same."""
    recording = new(requests=1)
    recording.picked(question())
    recording.apply(ended(tokens=None, status=status))
    assert len(lines(recording)) == int(is_kept)
    assert recording.is_done is is_kept


def test_the_log_is_not_waited_for_forever() -> None:
    """A request whose stream has ended is written without a record after a while; one that runs is waited for."""
    recording = new()
    for decision in ("a", "b"):
        recording.picked(question(decision))
    recording.apply(StreamEnded(decision_id="a", at=200.0))
    recording.apply(StreamEnded(decision_id="b", at=200.0, closed_by_us=True))
    recording.tick(200.0 + LOG_PATIENCE_S)
    assert lines(recording) == []
    recording.tick(201.0 + LOG_PATIENCE_S)
    assert [line["guessed"] for line in lines(recording)] == [True]


def test_who_came_before_the_beginning() -> None:
    """A request that had waited for its place is there from the first instant on: times do not begin below 0."""
    recording = new()
    recording.picked(question(at=99.0))
    recording.apply(ended())
    assert lines(recording)[0]["at"] == 0.0


def test_limits_of_what_is_asked_for() -> None:
    """One pool, so many requests; then those in flight are waited for, and `finish` does not even that."""
    recording = new(pool="chat", requests=2)
    assert not recording.wants("other")
    for decision in ("a", "b", "c"):
        recording.picked(question(decision))
    recording.picked(question("d", pool="other"))
    assert (recording.taken, recording.is_taking, recording.is_done) == (2, False, False)
    recording.apply(ended("a"))
    recording.finish()
    assert recording.is_done
    assert len(lines(recording)) == 2


def test_what_nobody_fetches_is_dropped_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer is bounded; the reader is told where how many are missing."""
    monkeypatch.setattr(module, "MAX_WAITING_BYTES", 400)
    recording = new()
    for number in range(10):
        recording.picked(question(str(number)))
        recording.apply(ended(str(number)))
    kept = recording.take()
    assert len(kept) < 400 + 50
    recording.picked(question("last"))
    recording.apply(ended("last"))
    rest = recording.take()
    reader = Reader((kept + rest).decode().splitlines(), "t.jsonl")
    rows = list(reader.rows())
    assert reader.missing == recording.dropped > 0
    assert len(rows) + reader.missing == 11


def test_what_is_open_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any log records the oldest requests are written with a guess."""
    monkeypatch.setattr(module, "MAX_OPEN", 3)
    recording = new()
    for number in range(5):
        recording.picked(question(str(number)))
    assert len(lines(recording)) == 2
    assert recording.status() == {"pool": "", "requests": 5, "in_flight": 3, "dropped": 0}


def test_a_models_name_may_be_anything() -> None:
    """Where the policy takes any model, what a client wrote cannot make the file unreadable."""
    recording = new()
    recording.picked(question(model="\x1b[2J" + "x" * 500))
    recording.apply(ended())
    assert trace_of(recording).requests[0].model == "?[2J" + "x" * 252
