"""Reads an inference request: what kind it is, its model, its limits, and the prompt as the engine will see it.

The prompt becomes *canonical bytes* with one property: requests whose prompts start the same way for the engine start
with the same bytes, so that a conversation's next turn begins with all of the turn before. Tools come first, as chat
templates put them, then messages in order. Nothing is tokenised.

    >>> parse_request(RequestFacts(path="/v1/completions", body=b'{"model": "m", "prompt": "Once upon"}'))
    ParsedRequest(kind='completion', model='m', ..., prompt_parts=(b'\\x00t', b'Once upon'), ...)

Shapes: OpenAI API reference (chat, completions, embeddings, responses) and Anthropic's (messages), as inference engines
serve them. What is unusual but might mean something to the engine is *unpickable*, never an error: the engine judges.
"""

import json
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
import xxhash
from msgspec import UNSET, Raw, Struct, UnsetType

from ext_proc.core.blocks import tokens_in
from ext_proc.core.counted import NOT_COUNTED, Counted
from ext_proc.core.decision import OpenAIError

Kind = Literal["chat", "completion", "embedding", "responses", "messages"]

KINDS: Final[dict[str, Kind]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completion",
    "/v1/embeddings": "embedding",
    "/v1/responses": "responses",
    "/v1/messages": "messages",
}

# Larger bodies that the fast decoder refuses are not read a second time: that would hold the event loop for
# milliseconds, and Envoy's own filter answers 400 to broken JSON of any size.
MAX_SECOND_READING_BYTES = 1 << 20

# Four times the longest name that a policy can have. Where it takes any model, thousands of decisions keep the name.
MAX_MODEL_CHARACTERS = 1_024

# A picture counts as this many tokens of prompt (LLaVA-1.5: 24 × 24 patches; others range from 85 to a few thousand).
# Its digest is repeated to that length, so that the same picture matches and its URL or base64 text does not count.
MEDIA_TOKENS = 576
_DIGEST_CHARS_PER_TOKEN = 4

# A bound on an answer is no more than this: the largest that an engine's 32 bits hold. JSON has numbers of any size.
MOST_TOKENS = (1 << 31) - 1

# Every marker is NUL and a letter; a NUL inside a text is doubled. So no text can look like a marker.
_MESSAGE = b"\0m"
_TEXT = b"\0t"
_JSON = b"\0j"
_MEDIA = b"\0i"
_TOKENS = b"\0k"
_TOOLS = b"\0f"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What Envoy told about one request; what it did not tell, or not yet, is empty.

    `route` and `cluster` are the choice that Envoy has already made.
    """

    body: bytes = b""
    path: str = ""
    method: str = "POST"
    route: str = ""
    cluster: str = ""
    session: str = ""
    content_type: str = ""
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Those that strategies ask for, by their names in lower case."""
    counted: Counted = NOT_COUNTED
    """The prompt's token ids: what Envoy does not tell, and was found out meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """One request. `model` is what the client wrote; `prompt_parts`, joined, are the canonical bytes of the prompt.

    `max_tokens` is 0 to `MOST_TOKENS`, None where the client bounds nothing. `salt` is vLLM's `cache_salt`: prompts
    with different salts share nothing in the engine's cache. `user` is who the client says the request is for, as in
    `user`, or Anthropic's `metadata.user_id`.
    """

    kind: Kind
    model: str
    stream: bool
    max_tokens: int | None
    prompt_parts: tuple[bytes, ...]
    session: str
    salt: str
    user: str = ""

    @property
    def prompt(self) -> bytes:
        """The parts joined, each time anew."""
        return b"".join(self.prompt_parts)

    @property
    def tokens(self) -> int:
        """About how many tokens the prompt has."""
        return tokens_in(self.size)

    @property
    def size(self) -> int:
        """Bytes of the prompt."""
        return sum(map(len, self.prompt_parts))


@dataclass(frozen=True, slots=True)
class Unpickable:
    """Not a request that the picker understands; Envoy and the engine deal with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class BadRequest:
    """No engine could answer this: it is refused here with status 400."""

    error: OpenAIError


class _Part(Struct):
    text: str | None = None
    image_url: Raw | UnsetType = UNSET
    source: Raw | UnsetType = UNSET
    video_url: Raw | UnsetType = UNSET
    audio_url: Raw | UnsetType = UNSET
    input_audio: Raw | UnsetType = UNSET
    file: Raw | UnsetType = UNSET
    name: Raw | UnsetType = UNSET
    input: Raw | UnsetType = UNSET
    content: Raw | UnsetType = UNSET


class _Message(Struct):
    role: str = ""
    content: str | list[_Part | str] | None = None
    name: Raw | UnsetType = UNSET
    tool_calls: Raw | UnsetType = UNSET
    function_call: Raw | UnsetType = UNSET
    arguments: Raw | UnsetType = UNSET
    output: Raw | UnsetType = UNSET


class _Common(Struct):
    model: str | None = None
    stream: bool | None = None
    cache_salt: str | None = None
    max_tokens: int | None = None
    user: Raw | UnsetType = UNSET


_Ids = list[str | int | list[int]]


class _Chat(_Common):
    messages: list[_Message] = []
    tools: Raw | UnsetType = UNSET
    functions: Raw | UnsetType = UNSET
    max_completion_tokens: int | None = None


class _Completion(_Common):
    prompt: str | _Ids | None = None


class _Embedding(_Common):
    input: str | _Ids | None = None


class _Responses(_Common):
    input: str | list[_Message] | None = None
    instructions: str | None = None
    tools: Raw | UnsetType = UNSET
    max_output_tokens: int | None = None


class _Messages(_Common):
    system: str | list[_Part | str] | None = None
    messages: list[_Message] = []
    tools: Raw | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET


class _Metadata(Struct):
    user_id: Raw | UnsetType = UNSET


class _Outline(Struct):
    model: Raw | UnsetType = UNSET


_Body = _Chat | _Completion | _Embedding | _Responses | _Messages

_DECODERS: Final[dict[Kind, "msgspec.json.Decoder[_Body]"]] = {
    "chat": msgspec.json.Decoder(_Chat),
    "completion": msgspec.json.Decoder(_Completion),
    "embedding": msgspec.json.Decoder(_Embedding),
    "responses": msgspec.json.Decoder(_Responses),
    "messages": msgspec.json.Decoder(_Messages),
}
_METADATA: Final = msgspec.json.Decoder(_Metadata)
_OUTLINE: Final = msgspec.json.Decoder(_Outline)


def parse_request(facts: RequestFacts) -> ParsedRequest | Unpickable | BadRequest:
    """Reads one request; never raises, whatever the body holds."""
    kind = KINDS.get(facts.path.partition("?")[0])
    if kind is None:
        return Unpickable("not an inference path")
    if facts.method != "POST":
        return Unpickable("not a POST")
    try:
        body = _DECODERS[kind].decode(facts.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _judge(facts.body, error)
    if not body.model:
        return BadRequest(_missing_model())
    if len(body.model) > MAX_MODEL_CHARACTERS:
        message = f"the model's name has more than {MAX_MODEL_CHARACTERS:,} characters"
        return BadRequest(_invalid(message, param="model"))
    try:
        parts = _prompt(body)
    except OverflowError:
        return Unpickable("token ids out of range")
    return ParsedRequest(
        kind=kind,
        model=body.model,
        stream=bool(body.stream),
        max_tokens=_max_tokens(body),
        prompt_parts=parts,
        session=facts.session,
        salt=body.cache_salt or "",
        user=_user(body),
    )


def _judge(body: bytes, error: Exception) -> Unpickable | BadRequest:
    """Why the fast decoder refused: not JSON, no object, no model, or only something that the engine should see."""
    if isinstance(error, msgspec.ValidationError):
        return _judge_shape(body)
    if isinstance(error, RecursionError) or len(body) > MAX_SECOND_READING_BYTES:
        return Unpickable("unreadable body")
    try:
        # Engines take NaN, lone surrogates and other encodings, which strict decoders refuse.
        json.loads(body)
    except (ValueError, RecursionError):
        return BadRequest(_invalid("the body of the request is not valid JSON", code="invalid_json"))
    return Unpickable("unusual JSON")


def _judge_shape(body: bytes) -> Unpickable | BadRequest:
    try:
        model = _OUTLINE.decode(body).model
    except msgspec.ValidationError:
        return BadRequest(_invalid("the body of the request must be a JSON object", code="invalid_json"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Unpickable("unreadable body")
    if isinstance(model, UnsetType) or bytes(model) in (b"null", b'""'):
        return BadRequest(_missing_model())
    if not bytes(model).startswith(b'"'):
        return BadRequest(_invalid("the model must be a string", param="model"))
    return Unpickable("fields of unexpected types")


def _missing_model() -> OpenAIError:
    return _invalid("the request names no model", code="missing_required_parameter", param="model")


def _invalid(message: str, code: str | None = None, param: str | None = None) -> OpenAIError:
    return OpenAIError(message=message, type="invalid_request_error", code=code, param=param)


def _user(body: _Body) -> str:
    """Whatever a client writes there, it is no reason to refuse: what is no text is no user."""
    named = body.user
    try:
        if isinstance(body, _Messages) and not isinstance(body.metadata, UnsetType):
            named = _METADATA.decode(body.metadata).user_id
        found = "" if isinstance(named, UnsetType) else msgspec.json.decode(named)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    return found if isinstance(found, str) else ""


def _max_tokens(body: _Body) -> int | None:
    """llama.cpp takes a negative bound for none; other engines refuse it."""
    found = body.max_output_tokens if isinstance(body, _Responses) else body.max_tokens
    if isinstance(body, _Chat) and body.max_completion_tokens is not None:
        found = body.max_completion_tokens
    return None if found is None or found < 0 else min(found, MOST_TOKENS)


def _prompt(body: _Body) -> tuple[bytes, ...]:
    out: list[bytes] = []
    match body:
        case _Chat():
            _add_json(out, _TOOLS, body.tools)
            _add_json(out, _TOOLS, body.functions)
            _add_messages(out, body.messages)
        case _Completion():
            _add_prompt(out, body.prompt)
        case _Embedding():
            _add_prompt(out, body.input)
        case _Responses():
            _add_json(out, _TOOLS, body.tools)
            _add_content(out, body.instructions)
            if isinstance(body.input, str):
                out.append(_MESSAGE + b"user")  # the short form of one user message
                _add_text(out, body.input)
            else:
                _add_messages(out, body.input or ())
        case _Messages():
            _add_json(out, _TOOLS, body.tools)
            _add_content(out, body.system)
            _add_messages(out, body.messages)
    return tuple(out)


def _add_messages(out: list[bytes], messages: Sequence[_Message]) -> None:
    for message in messages:
        out.append(_MESSAGE + _escaped(message.role))
        _add_json(out, _JSON, message.name)
        _add_content(out, message.content)
        _add_json(out, _JSON, message.tool_calls)
        _add_json(out, _JSON, message.function_call)
        _add_json(out, _JSON, message.arguments)
        _add_json(out, _JSON, message.output)


def _add_content(out: list[bytes], content: str | Sequence[_Part | str] | None) -> None:
    if content is None:
        return
    if isinstance(content, str):
        _add_text(out, content)
        return
    for part in content:
        if isinstance(part, str):
            _add_text(out, part)
        else:
            _add_part(out, part)


def _add_part(out: list[bytes], part: _Part) -> None:
    if part.text is not None:
        _add_text(out, part.text)
        return
    for media in (part.image_url, part.source, part.video_url, part.audio_url, part.input_audio, part.file):
        if not isinstance(media, UnsetType):
            digest = xxhash.xxh3_128_hexdigest(media).encode()
            out.append(_MEDIA + digest * (MEDIA_TOKENS * _DIGEST_CHARS_PER_TOKEN // len(digest)))
    for value in (part.name, part.input, part.content):
        _add_json(out, _JSON, value)


def _add_prompt(out: list[bytes], prompt: str | _Ids | None) -> None:
    if prompt is None:
        return
    if isinstance(prompt, str):
        _add_text(out, prompt)
        return
    if prompt and isinstance(prompt[0], int):
        _add_tokens(out, [token for token in prompt if isinstance(token, int)])
        return
    for item in prompt:
        if isinstance(item, str):
            _add_text(out, item)
        elif isinstance(item, list):
            _add_tokens(out, item)


def _add_tokens(out: list[bytes], tokens: list[int]) -> None:
    # Four bytes a token, as text is estimated, so that both count alike.
    out.append(_TOKENS)
    out.append(array("I", tokens).tobytes())


def _add_text(out: list[bytes], text: str) -> None:
    out.append(_TEXT)
    out.append(_escaped(text))


def _escaped(text: str) -> bytes:
    data = text.encode()
    return data.replace(b"\0", b"\0\0") if b"\0" in data else data


def _add_json(out: list[bytes], marker: bytes, value: Raw | UnsetType) -> None:
    if not isinstance(value, UnsetType):
        out.append(marker)
        out.append(bytes(value))
