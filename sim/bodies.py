"""Request bodies of the OpenAI and Anthropic APIs: JSON to one `Job` for the engine.

Pure. Only what decides tokens, length and the shape of the answer is read; every other field is accepted and ignored,
as an engine ignores most of them. Conversations are rendered with a role marker before and an end marker behind each
message, and the marker of the answer last, so equal first messages are equal first tokens.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from sim import tokens

DEFAULT_OUTPUT_TOKENS = 16
"""Length of an answer when the request sets no limit (vLLM's default for completions)."""

_END = "<|end|>"


class BadBodyError(ValueError):
    """The body cannot be understood; the message says why."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one HTTP request asks of the engine."""

    model: str
    prompt: bytes
    """Encoded tokens, see `sim.tokens`."""

    output_tokens: int
    is_limited: bool
    """The client set the length, so the answer ends because of it (`length`) and not by itself (`stop`)."""

    stream: bool = False
    include_usage: bool = False
    inputs: int = 1
    """Texts to embed."""

    dimensions: int | None = None
    as_base64: bool = False


_Inputs = str | list[str | int | list[int]]
"""A text, a list of texts, the token ids of one text, or a list of such lists."""


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Message(msgspec.Struct):
    role: str
    content: Any = None
    tool_calls: Any = None


class _Generate(msgspec.Struct):
    model: str
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    tools: Any = None
    max_tokens: int | None = None


class _Chat(_Generate, kw_only=True):
    messages: list[_Message]
    max_completion_tokens: int | None = None


class _Completion(_Generate, kw_only=True):
    prompt: _Inputs


class _Tokenize(msgspec.Struct):
    messages: Any = None


class _Responses(_Generate, kw_only=True):
    input: str | list[dict[str, Any]]
    instructions: str | None = None
    max_output_tokens: int | None = None


class _Messages(_Generate, kw_only=True):
    max_tokens: int
    messages: list[_Message]
    system: Any = None


class _Embeddings(msgspec.Struct):
    model: str
    input: _Inputs
    dimensions: int | None = None
    encoding_format: str | None = None


Reader = Callable[[bytes], Job]
_Body = TypeVar("_Body")


def chat(body: bytes) -> Job:
    """`POST /v1/chat/completions`. Raises BadBodyError."""
    request = _decode(body, _Chat)
    if not request.messages:
        raise BadBodyError("messages must not be empty")
    segments = [*_tools(request.tools), *_conversation(request.messages)]
    return _job(request, segments, request.max_completion_tokens or request.max_tokens)


def completion(body: bytes) -> Job:
    """`POST /v1/completions`; one prompt, as text or as token ids. Raises BadBodyError."""
    request = _decode(body, _Completion)
    prompts = _encoded_inputs(request.prompt)
    if len(prompts) != 1:
        raise BadBodyError("a simulated pod completes exactly one prompt at a time")
    return _job(request, prompts[0], request.max_tokens)


def responses(body: bytes) -> Job:
    """`POST /v1/responses`. Raises BadBodyError."""
    request = _decode(body, _Responses)
    segments = _tools(request.tools)
    if request.instructions:
        segments += _message("system", request.instructions)
    items = [{"role": "user", "content": request.input}] if isinstance(request.input, str) else request.input
    for item in items:
        segments += _message(str(item.get("role") or item.get("type")), item.get("content", item))
    return _job(request, [*segments, "<|assistant|>"], request.max_output_tokens)


def messages(body: bytes) -> Job:
    """`POST /v1/messages` (Anthropic). Raises BadBodyError."""
    request = _decode(body, _Messages)
    if not request.messages:
        raise BadBodyError("messages must not be empty")
    segments = _tools(request.tools)
    if request.system:
        segments += _message("system", request.system)
    return _job(request, [*segments, *_conversation(request.messages)], request.max_tokens)


def tokenize(body: bytes) -> Job:
    """`POST /tokenize` (vLLM): what a conversation, or a prompt, would be computed as. Raises BadBodyError."""
    return chat(body) if _decode(body, _Tokenize).messages is not None else completion(body)


def embeddings(body: bytes) -> Job:
    """`POST /v1/embeddings`; all texts are computed as one prompt of their common length. Raises BadBodyError."""
    request = _decode(body, _Embeddings)
    inputs = _encoded_inputs(request.input)
    if not inputs:
        raise BadBodyError("input must not be empty")
    if request.dimensions is not None and request.dimensions < 1:
        raise BadBodyError("dimensions must be at least 1")
    return Job(
        model=request.model,
        prompt=_not_empty(b"".join(inputs)),
        output_tokens=1,
        is_limited=False,
        inputs=len(inputs),
        dimensions=request.dimensions,
        as_base64=request.encoding_format == "base64",
    )


def _decode(body: bytes, kind: type[_Body]) -> _Body:
    try:
        return msgspec.json.decode(body, type=kind)
    except (ValueError, RecursionError) as error:  # all of msgspec's are, and text that is not UTF-8
        raise BadBodyError(str(error)) from error


def _job(request: _Generate, prompt: Iterable[str] | bytes, limit: int | None) -> Job:
    if limit is not None and limit < 1:
        raise BadBodyError(f"max_tokens must be at least 1, got {limit}")
    options = request.stream_options
    return Job(
        model=request.model,
        prompt=_not_empty(prompt if isinstance(prompt, bytes) else tokens.encode(prompt)),
        output_tokens=DEFAULT_OUTPUT_TOKENS if limit is None else limit,
        is_limited=limit is not None,
        stream=bool(request.stream),
        include_usage=options is not None and bool(options.include_usage),
    )


def _not_empty(prompt: bytes) -> bytes:
    if not prompt:
        raise BadBodyError("the prompt is empty")
    return prompt


def _encoded_inputs(given: _Inputs) -> list[bytes]:
    if isinstance(given, str):
        return [tokens.encode([given])]
    ids = [item for item in given if isinstance(item, int)]
    if ids and len(ids) < len(given):
        raise BadBodyError("token ids and texts must not be mixed")
    try:
        if ids:
            return [tokens.encode_ids(ids)]
        return [tokens.encode([item]) if isinstance(item, str) else tokens.encode_ids(_ids(item)) for item in given]
    except ValueError as error:
        raise BadBodyError(str(error)) from error


def _ids(item: int | list[int]) -> list[int]:
    return item if isinstance(item, list) else [item]


def _conversation(given: list[_Message]) -> list[str]:
    segments: list[str] = []
    for message in given:
        segments += _message(message.role, message.content)
        if message.tool_calls:
            segments += [_json(message.tool_calls), _END]
    return [*segments, "<|assistant|>"]


def _message(role: str, content: Any) -> list[str]:
    return [f"<|{role}|>", *_texts(content), _END]


def _texts(content: Any) -> list[str]:
    """The text of a message: as it is, the text parts of a list, or JSON for everything that is no text."""
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return [_json(content)]
    return [
        part["text"] if isinstance(part, dict) and isinstance(part.get("text"), str) else _json(part)
        for part in content
    ]


def _tools(tools: Any) -> list[str]:
    """Tools come before the first message, as in the chat templates of most models."""
    return ["<|tools|>", _json(tools), _END] if tools else []


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
