"""Requests: the shapes of each API, the prefix property of the prompt, and who is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_proc.core.request import (
    MAX_MODEL_CHARACTERS,
    MAX_SECOND_READING_BYTES,
    MEDIA_TOKENS,
    MOST_TOKENS,
    BadRequest,
    ParsedRequest,
    RequestFacts,
    Unpickable,
    parse_request,
)

CHAT = "/v1/chat/completions"


def read(body: Any, path: str = CHAT, **facts: Any) -> ParsedRequest | Unpickable | BadRequest:
    """What becomes of a body, given as JSON values or as bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_request(RequestFacts(body=data, path=path, **facts))


def parsed(body: Any, path: str = CHAT, **facts: Any) -> ParsedRequest:
    """The same, for a body that must be understood."""
    request = read(body, path, **facts)
    assert isinstance(request, ParsedRequest), request
    return request


def prompt(body: Any, path: str = CHAT) -> bytes:
    """The canonical bytes of the prompt."""
    return b"".join(parsed({"model": "m", **body}, path).prompt_parts)


def said(*texts: str) -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    return [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(texts)]


def test_reads_a_chat() -> None:
    """Model, stream flag, limit, session and prompt of a chat."""
    request = parsed({"model": "m", "messages": said("hi"), "stream": True, "max_tokens": 7}, session="s")
    assert request == ParsedRequest(
        kind="chat",
        model="m",
        stream=True,
        max_tokens=7,
        prompt_parts=(b"\0muser", b"\0t", b"hi"),
        session="s",
        salt="",
    )


@pytest.mark.parametrize(
    ("path", "body", "kind", "limit"),
    [
        (CHAT + "?x=1", {"messages": [], "max_completion_tokens": 3, "max_tokens": 9}, "chat", 3),
        ("/v1/completions", {"prompt": "hi", "max_tokens": 4}, "completion", 4),
        ("/v1/embeddings", {"input": "hi"}, "embedding", None),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 5}, "responses", 5),
        ("/v1/messages", {"messages": said("hi"), "max_tokens": 6}, "messages", 6),
    ],
)
def test_knows_the_kinds(path: str, body: dict[str, Any], kind: str, limit: int | None) -> None:
    """Each path has its kind and its own name for the limit of tokens."""
    request = parsed({"model": "m", **body}, path)
    assert (request.kind, request.max_tokens) == (kind, limit)


@pytest.mark.parametrize(
    ("asked", "limit"),
    [("0", 0), ("-1", None), ("-" + "9" * 400, None), ("1" + "0" * 400, MOST_TOKENS), (str(1 << 64), MOST_TOKENS)],
)
def test_bounds_of_no_size(asked: str, limit: int | None) -> None:
    """A negative one is none, as llama.cpp has it; one beyond all contexts is cut, so that it fits into a float."""
    request = read(b'{"model": "m", "prompt": "hi", "max_tokens": %s}' % asked.encode(), "/v1/completions")
    assert isinstance(request, ParsedRequest)
    assert request.max_tokens == limit


def test_reads_the_cache_salt() -> None:
    """vLLM's cache_salt comes through."""
    assert parsed({"model": "m", "messages": [], "cache_salt": "tenant"}).salt == "tenant"


@pytest.mark.parametrize(
    ("same", "as_this"),
    [
        ({"messages": said("hi")}, {"messages": [{"content": [{"text": "hi", "type": "text"}], "role": "user"}]}),
        ({"messages": said("hi")}, {"messages": [{"content": ["hi"], "role": "user"}], "temperature": 0.5}),
        ({"messages": [{"role": "user"}]}, {"messages": [{"role": "user", "content": None}]}),
    ],
)
def test_one_prompt_in_two_shapes(same: dict[str, Any], as_this: dict[str, Any]) -> None:
    """What the engine sees alike has the same bytes."""
    assert prompt(same) == prompt(as_this)


def test_responses_short_form_is_a_user_message() -> None:
    """A string as input is one user message, behind the instructions."""
    path = "/v1/responses"
    assert prompt({"input": "hi"}, path) == prompt({"input": said("hi")}, path)
    assert prompt({"input": "hi", "instructions": "be brief"}, path).startswith(b"\0tbe brief")


def test_responses_items_without_content_count() -> None:
    """Calls of functions and their results are part of the prompt."""
    items = [
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "output": "42"},
    ]
    text = prompt({"input": items}, "/v1/responses")
    assert b'"f"' in text
    assert b'"42"' in text


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses"])
def test_tools_come_first(path: str) -> None:
    """Different tools, different first bytes; the same tools in front of both prompts, the same start."""
    key = "input" if path == "/v1/responses" else "messages"
    with_tool = prompt({"tools": [{"name": "a"}], key: said("hi")}, path)
    assert with_tool.startswith(b'\0f[{"name": "a"}]')
    assert not prompt({"tools": [{"name": "b"}], key: said("hi")}, path).startswith(with_tool[:15])


def test_anthropic_system_comes_before_messages() -> None:
    """The system prompt, as text or as parts, is the start."""
    path = "/v1/messages"
    text = prompt({"system": "be brief", "messages": said("hi")}, path)
    assert text.startswith(b"\0tbe brief")
    assert text == prompt({"system": [{"type": "text", "text": "be brief"}], "messages": said("hi")}, path)


def test_anthropic_tool_parts_count() -> None:
    """Tool use and its result are part of the prompt."""
    parts = [
        {"type": "tool_use", "name": "search", "input": {"q": 1}},
        {"type": "tool_result", "content": [{"type": "text", "text": "found"}]},
    ]
    text = prompt({"messages": [{"role": "user", "content": parts}]}, "/v1/messages")
    assert b"search" in text
    assert b'{"q": 1}' in text
    assert b"found" in text


def test_assistant_calls_count() -> None:
    """Tool calls of an earlier turn are part of the prompt."""
    calls = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
    assert b'"id": "1"' in prompt({"messages": [{"role": "assistant", "tool_calls": calls}]})


@pytest.mark.parametrize("field", ["image_url", "source", "video_url", "audio_url", "input_audio", "file"])
def test_media_count_by_digest(field: str) -> None:
    """A picture counts as a fixed number of tokens, the same one the same bytes, another one other bytes."""

    def with_media(data: str) -> bytes:
        return prompt({"messages": [{"role": "user", "content": [{"type": field, field: {"data": data}}]}]})

    long = with_media("x" * 100_000)
    assert len(long) == len(b"\0muser\0i") + 4 * MEDIA_TOKENS
    assert long == with_media("x" * 100_000)
    assert long[:100] != with_media("y" * 100_000)[:100]


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
def test_prompts_of_text_and_tokens(path: str) -> None:
    """A text, several texts, token ids and several lists of them; a token is four bytes."""
    key = "prompt" if path == "/v1/completions" else "input"
    assert prompt({key: "hi"}, path) == prompt({key: ["hi"]}, path) == b"\0thi"
    assert prompt({key: [1, 2]}, path) == prompt({key: [[1, 2]]}, path) == b"\0k\1\0\0\0\2\0\0\0"
    assert prompt({key: ["a", "b"]}, path) == b"\0ta\0tb"
    assert prompt({key: None}, path) == b""
    assert prompt({key: []}, path) == b""


@given(st.lists(st.text(), min_size=1), st.integers(0))
def test_a_conversation_starts_with_its_past(texts: list[str], cut: int) -> None:
    """The bytes of the first turns are the first bytes of all turns."""
    earlier = said(*texts)[: cut % (len(texts) + 1)]
    assert prompt({"messages": said(*texts)}).startswith(prompt({"messages": earlier}))


@given(st.text(), st.text())
def test_a_longer_text_starts_with_the_shorter(text: str, more: str) -> None:
    """The same holds inside of one text."""
    assert prompt({"prompt": text + more}, "/v1/completions").startswith(prompt({"prompt": text}, "/v1/completions"))


_TEXTS = st.lists(st.text(alphabet="\0mtuser", max_size=6), max_size=4)


@given(_TEXTS, _TEXTS)
def test_no_text_forges_a_marker(one: list[str], other: list[str]) -> None:
    """Different conversations have different bytes, whatever NULs and letters their texts are made of."""
    assert (prompt({"messages": said(*one)}) == prompt({"messages": said(*other)})) == (one == other)


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "invalid_json", None),
        (b"{", "invalid_json", None),
        (b"hello", "invalid_json", None),
        (b'{"model": "m"} x', "invalid_json", None),
        (b"[1]", "invalid_json", None),
        (b'"m"', "invalid_json", None),
        (b"\xff\xfe\xfa", "invalid_json", None),
        (b'{"model": "\xff"}', "invalid_json", None),
        (b"{}", "missing_required_parameter", "model"),
        (b'{"model": ""}', "missing_required_parameter", "model"),
        (b'{"model": null, "messages": 5}', "missing_required_parameter", "model"),
        (b'{"messages": 5}', "missing_required_parameter", "model"),
        (b'{"model": 5}', None, "model"),
    ],
)
def test_refuses_what_no_engine_could_answer(body: bytes, code: str | None, param: str | None) -> None:
    """No JSON, no object, no model: refused, and the error says which, as OpenAI's do."""
    request = read(body)
    assert isinstance(request, BadRequest)
    assert request.error.type == "invalid_request_error"
    assert (request.error.code, request.error.param) == (code, param)
    assert set(request.error.as_dict()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"model": "m", "messages": 5}', "types"),
        (b'{"model": "m", "messages": [], "max_tokens": "5"}', "types"),
        (b'{"model": "m", "messages": [], "top_p": NaN}', "unusual"),
        (b'{"model": "m", "messages": [{"content": "\\ud800"}]}', "unusual"),
        ('{"model": "m"}'.encode("utf-16"), "unusual"),
        (b'{"model": "m", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "unreadable"),
        (b'{"model": "m", "messages": 5, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "unreadable"),
        (b'{"model": "m", "x": "' + b"x" * MAX_SECOND_READING_BYTES, "unreadable"),
    ],
)
def test_leaves_the_unusual_to_the_engine(body: bytes, reason: str) -> None:
    """What an engine might accept, or should refuse in its own words, is not refused here."""
    request = read(body)
    assert isinstance(request, Unpickable)
    assert reason in request.reason


def test_leaves_token_ids_out_of_range_to_the_engine() -> None:
    """Negative or huge token ids are the engine's to refuse."""
    for tokens in ([-1], [1 << 40], [[1 << 32]]):
        assert isinstance(read({"model": "m", "prompt": tokens}, "/v1/completions"), Unpickable)


def test_leaves_other_paths_and_methods_alone() -> None:
    """Only POSTs to the five paths are read."""
    assert isinstance(read({"model": "m"}, "/v1/models"), Unpickable)
    assert isinstance(read({"model": "m"}, method="GET"), Unpickable)


@given(st.binary(max_size=200))
def test_never_raises(body: bytes) -> None:
    """Whatever the bytes, there is an answer."""
    assert isinstance(read(body), ParsedRequest | Unpickable | BadRequest)


@pytest.mark.parametrize(
    ("path", "body", "user"),
    [
        (CHAT, {"messages": [], "user": "u-1"}, "u-1"),
        ("/v1/completions", {"prompt": "hi", "user": "über"}, "über"),
        ("/v1/messages", {"messages": [], "metadata": {"user_id": "u-2"}}, "u-2"),
        ("/v1/messages", {"messages": [], "metadata": {}}, ""),
        ("/v1/messages", {"messages": [], "metadata": [1]}, ""),
        (CHAT, {"messages": [], "user": None}, ""),
        (CHAT, {"messages": [], "user": 7}, ""),
        (CHAT, {"messages": [], "user": {"id": "u"}}, ""),
        (CHAT, {"messages": []}, ""),
    ],
)
def test_knows_the_user(path: str, body: dict[str, Any], user: str) -> None:
    """As each API has it; anything else there is no user, and no reason to refuse."""
    assert parsed({"model": "m", **body}, path).user == user


def test_a_model_has_a_name_of_some_length() -> None:
    """Where the policy takes any model, its name is a client's words, and decisions keep it."""
    assert parsed({"model": "m" * MAX_MODEL_CHARACTERS, "prompt": "a"}, "/v1/completions").model
    request = read({"model": "m" * (MAX_MODEL_CHARACTERS + 1), "prompt": "a"}, "/v1/completions")
    assert isinstance(request, BadRequest)
    assert (request.error.param, request.error.message) == ("model", "the model's name has more than 1,024 characters")
