"""Bodies of every API become jobs, and bad ones are explained."""

import json
from typing import Any

import pytest

from sim import bodies, tokens
from sim.bodies import BadBodyError, Job


def read(reader: bodies.Reader, **fields: Any) -> Job:
    """Read a body of model `m`."""
    return reader(json.dumps({"model": "m", **fields}).encode())


def turn(role: str, content: Any) -> dict[str, Any]:
    """One message."""
    return {"role": role, "content": content}


def blocks(job: Job) -> tuple[int, ...]:
    """Hashes of blocks of one token, the finest there are."""
    return tokens.chain(job.model, job.prompt, 1)


def common(one: Job, other: Job) -> int:
    """Tokens that two prompts share from their beginning."""
    pairs = zip(blocks(one), blocks(other), strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(blocks(one)), len(blocks(other))))


def test_a_conversation_begins_like_its_first_turns() -> None:
    """The prompt of a later turn starts with the whole earlier prompt and the answer to it."""
    first = read(bodies.chat, messages=[turn("system", "be brief"), turn("user", "question one")])
    words = tokens.answer("m", first.prompt, 5)
    later = read(
        bodies.chat,
        messages=[
            turn("system", "be brief"),
            turn("user", "question one"),
            turn("assistant", "".join(words)),
            turn("user", "question two"),
        ],
    )
    assert common(first, later) == len(blocks(first))
    assert blocks(later)[: len(blocks(first)) + 5] == tokens.chain(
        "m", first.prompt + tokens.encode(["".join(words)]), 1
    )


def test_roles_matter() -> None:
    """The same words from another role are another prompt."""
    assert (
        common(read(bodies.chat, messages=[turn("user", "x")]), read(bodies.chat, messages=[turn("system", "x")])) < 3
    )


def test_a_list_of_text_parts_is_its_text() -> None:
    """Both ways to write a text message are one prompt; other parts count as their JSON."""
    plain = read(bodies.chat, messages=[turn("user", "hello")])
    parts = read(bodies.chat, messages=[turn("user", [{"type": "text", "text": "hello"}])])
    image = read(bodies.chat, messages=[turn("user", [{"type": "image_url", "image_url": {"url": "data:x"}}])])
    assert plain.prompt == parts.prompt
    assert tokens.count(image.prompt) > 10


def test_tools_come_first() -> None:
    """Requests with the same tools share them, whatever is asked."""
    tools = [{"type": "function", "function": {"name": "f" * 80}}]
    one = read(bodies.chat, tools=tools, messages=[turn("user", "a")])
    other = read(bodies.chat, tools=tools, messages=[turn("user", "b")])
    assert common(one, other) > 20


def test_a_null_content_with_tool_calls_is_a_message() -> None:
    """An assistant that only called a tool said something, too."""
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    without = read(bodies.chat, messages=[turn("assistant", None)])
    assert tokens.count(
        read(bodies.chat, messages=[{**turn("assistant", None), "tool_calls": calls}]).prompt
    ) > tokens.count(without.prompt)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (16, False)),
        ({"max_tokens": 3}, (3, True)),
        ({"max_completion_tokens": 4}, (4, True)),
        ({"max_tokens": 3, "max_completion_tokens": 4}, (4, True)),
        ({"max_tokens": None}, (16, False)),
    ],
)
def test_length_of_a_chat_answer(fields: dict[str, Any], expected: tuple[int, bool]) -> None:
    """Both names of the limit are obeyed, the newer one first; without one there are 16 tokens."""
    job = read(bodies.chat, messages=[turn("user", "x")], **fields)
    assert (job.output_tokens, job.is_limited) == expected


def test_stream_options() -> None:
    """Usage in a stream comes only if it is asked for."""
    messages = [turn("user", "x")]
    assert not read(bodies.chat, messages=messages).stream
    assert read(bodies.chat, messages=messages, stream=True, stream_options={"include_usage": True}).include_usage
    assert not read(bodies.chat, messages=messages, stream=True, stream_options=None).include_usage


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("abcdefgh", 2), (["abcdefgh"], 2), ([1, 2, 3], 3), ([[1, 2, 3]], 3)],
)
def test_forms_of_a_completion_prompt(prompt: Any, expected: int) -> None:
    """Text, one text in a list, token ids, and one list of token ids."""
    assert tokens.count(read(bodies.completion, prompt=prompt).prompt) == expected


def test_responses_input_as_text_or_items() -> None:
    """A bare text is a user's message; instructions come first."""
    text = read(bodies.responses, input="hello", instructions="be brief", max_output_tokens=7)
    items = read(bodies.responses, input=[turn("system", "be brief"), turn("user", "hello")])
    assert text.prompt == items.prompt
    assert (text.output_tokens, text.is_limited) == (7, True)


def test_messages_system_comes_first() -> None:
    """Anthropic's `system` field is the system message."""
    job = read(bodies.messages, max_tokens=9, system="be brief", messages=[turn("user", "hello")])
    chat = read(bodies.chat, messages=[turn("system", "be brief"), turn("user", "hello")])
    assert job.prompt == chat.prompt


def test_embeddings_count_their_inputs() -> None:
    """All texts are computed together; format and size are kept."""
    job = read(bodies.embeddings, input=["abcd", "efgh"], encoding_format="base64", dimensions=3)
    assert (job.inputs, tokens.count(job.prompt), job.dimensions, job.as_base64) == (2, 2, 3, True)


@pytest.mark.parametrize(
    ("reader", "body", "reason"),
    [
        (bodies.chat, b"{", "truncated"),
        (bodies.chat, b"[]", "Expected `object`"),
        (bodies.chat, b'{"model": "\x80"}', "utf-8"),
        (bodies.chat, b'{"messages": []}', "`model`"),
        (bodies.chat, b'{"model": "m"}', "`messages`"),
        (bodies.chat, b'{"model": "m", "messages": []}', "empty"),
        (bodies.chat, b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 0}', "at least 1"),
        (bodies.completion, b'{"model": "m", "prompt": ""}', "empty"),
        (bodies.completion, b'{"model": "m", "prompt": ["a", "b"]}', "exactly one"),
        (bodies.completion, b'{"model": "m", "prompt": ["a", 1]}', "mixed"),
        (bodies.completion, b'{"model": "m", "prompt": [-1]}', "token ids"),
        (bodies.messages, b'{"model": "m", "messages": [{"role": "user"}]}', "`max_tokens`"),
        (bodies.messages, b'{"model": "m", "messages": [], "max_tokens": 1}', "empty"),
        (bodies.embeddings, b'{"model": "m", "input": []}', "empty"),
        (bodies.embeddings, b'{"model": "m", "input": "x", "dimensions": 0}', "dimensions"),
    ],
)
def test_bad_bodies_are_explained(reader: bodies.Reader, body: bytes, reason: str) -> None:
    """What cannot be served is refused with a reason that names the fault."""
    with pytest.raises(BadBodyError, match=reason):
        reader(body)
