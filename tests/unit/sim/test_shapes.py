"""Answers of each API, without HTTP around them."""

import base64
import json
import struct
from typing import Any

import pytest

from sim import shapes, tokens
from sim.bodies import Job
from sim.engine import Usage
from sim.shapes import Meta, Shape

USAGE = Usage(prompt_tokens=20, cached_tokens=16, output_tokens=2)
WORDS = ["ace ", "act."]


def meta(*, is_limited: bool = True, include_usage: bool = False) -> Meta:
    """An answer of two words."""
    job = Job("m", tokens.encode(["prompt"]), 2, is_limited, stream=True, include_usage=include_usage)
    return Meta("id-1", 1_700_000_000, job)


def events(shape: Shape) -> list[dict[str, Any]]:
    """The data of a whole stream, `[DONE]` left out."""
    sent = shape.first(Usage(20, 16, 0)) + shape.words(WORDS) + shape.last("".join(WORDS), USAGE)
    assert all(event.endswith(b"\n\n") and event.count(b"\n\n") == 1 for event in sent)
    lines = [event.decode().strip().splitlines() for event in sent]
    for line in lines:
        if line[0].startswith("event: "):
            assert json.loads(line[-1].removeprefix("data: "))["type"] == line[0].removeprefix("event: ")
    data = [line[-1].removeprefix("data: ") for line in lines]
    return [json.loads(text) for text in data if text != "[DONE]"]


def test_a_chat_stream_in_its_order() -> None:
    """Role, words, reason of the end, usage, each with the same id; only the last has usage and no choice."""
    chunks = events(shapes.Chat(meta(include_usage=True)))
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]
    assert [choice["delta"] for choice in choices] == [
        {"role": "assistant", "content": ""},
        {"content": "ace "},
        {"content": "act."},
        {},
    ]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "length"]
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["prompt_tokens_details"]) == ([], {"cached_tokens": 16})
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks} == {
        ("id-1", "chat.completion.chunk", "m")
    }


def test_usage_comes_only_when_asked_for() -> None:
    """Without stream_options the last chunk is the reason of the end."""
    assert all("usage" not in chunk for chunk in events(shapes.Chat(meta())))
    assert shapes.Chat(meta()).last("", USAGE)[-1] == b"data: [DONE]\n\n"


@pytest.mark.parametrize(("is_limited", "reason"), [(True, "length"), (False, "stop")])
def test_the_reason_of_the_end(is_limited: bool, reason: str) -> None:
    """A limit that the client set ends an answer by `length`, no limit by `stop`."""
    for shape in (shapes.Chat(meta(is_limited=is_limited)), shapes.Completion(meta(is_limited=is_limited))):
        assert shape.whole("x", USAGE)["choices"][0]["finish_reason"] == reason


def test_a_completion_stream() -> None:
    """Text chunks without a role, the same object name as the whole answer."""
    chunks = events(shapes.Completion(meta()))
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["ace ", "act.", ""]
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}


def test_responses_events_are_numbered() -> None:
    """Events count from 0 without gaps and end with the same response as the whole answer."""
    chunks = events(shapes.Responses(meta(is_limited=False)))
    assert [chunk["sequence_number"] for chunk in chunks] == list(range(len(chunks)))
    assert chunks[-1]["type"] == "response.completed"
    assert chunks[-1]["response"] == shapes.Responses(meta(is_limited=False)).whole("ace act.", USAGE)


def test_a_limited_response_is_incomplete() -> None:
    """The Responses API calls an answer that reached the limit incomplete, and says why."""
    whole = shapes.Responses(meta()).whole("ace act.", USAGE)
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})


def test_messages_count_cached_tokens_apart() -> None:
    """Anthropic's input_tokens are those that were not read from the cache."""
    whole = shapes.Messages(meta()).whole("ace act.", USAGE)
    assert (whole["usage"]["input_tokens"], whole["usage"]["cache_read_input_tokens"]) == (4, 16)
    chunks = events(shapes.Messages(meta()))
    assert chunks[0]["message"]["usage"]["cache_read_input_tokens"] == 16
    assert (chunks[-2]["delta"]["stop_reason"], chunks[-2]["usage"]) == ("max_tokens", {"output_tokens": 2})


def test_embeddings_in_both_formats() -> None:
    """Floats and base64 hold the same vector; each input has its own."""
    encoded = tokens.encode(["a", "b"])
    plain = shapes.embeddings(Job("m", encoded, 1, False, inputs=2, dimensions=3), USAGE)["data"]
    packed = shapes.embeddings(Job("m", encoded, 1, False, inputs=2, dimensions=3, as_base64=True), USAGE)["data"]
    assert plain[0]["embedding"] != plain[1]["embedding"]
    assert all(-1 <= number <= 1 for row in plain for number in row["embedding"])
    unpacked = struct.unpack("<3f", base64.b64decode(packed[1]["embedding"]))
    assert unpacked == pytest.approx(plain[1]["embedding"], abs=1e-6)
