"""Answers with a text of the policy, in the shape that the client waits for. Pure.

Shapes: OpenAI's API reference (chat completions and completions, plain and streamed) and Server-Sent Events (WHATWG
HTML). What has no text for an answer (embeddings), or a shape of its own that nobody reads as one (responses,
messages), gets none.
"""

from typing import Any, Final

import msgspec

from ext_proc.core.decision import Canned, Degraded, Level, OpenAIError
from ext_proc.core.request import ParsedRequest
from ext_proc.core.settings import CannedSettings
from ext_proc.core.wanted import NO_ENDPOINT_RETRY_AFTER_S

_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"
_SHAPES: Final = {"chat": "chat.completion", "completion": "text_completion"}
_ID: Final = "kvpilot-canned"


def canned(
    settings: CannedSettings, request: ParsedRequest, model: str, why: str, created: float, retry_after_s: int | None
) -> Canned | None:
    """The answer to a request for `model`, at `created` in Unix seconds; None for a kind of request without one."""
    degraded = Degraded(level=Level.ANSWER, model=model, why=why)
    if settings.status >= 400:
        error = OpenAIError(message=settings.text, type="service_unavailable", code="degraded")
        return Canned(
            status=settings.status,
            body=msgspec.json.encode(error.as_dict()),
            content_type=_JSON,
            degraded=degraded,
            retry_after_s=retry_after_s or NO_ENDPOINT_RETRY_AFTER_S,
        )
    shape = _SHAPES.get(request.kind)
    if shape is None:
        return None
    head = {"id": _ID, "object": shape, "created": int(created), "model": model}
    is_chat = request.kind == "chat"
    if request.stream:
        return Canned(
            status=settings.status,
            body=_streamed(head, settings.text, is_chat),
            content_type=_EVENTS,
            degraded=degraded,
        )
    said: dict[str, Any] = {"message": {"role": "assistant", "content": settings.text}} if is_chat else {}
    choice = said or {"text": settings.text}
    body = {
        **head,
        "choices": [{"index": 0, **choice, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    return Canned(status=settings.status, body=msgspec.json.encode(body), content_type=_JSON, degraded=degraded)


def _streamed(head: dict[str, Any], text: str, is_chat: bool) -> bytes:
    if is_chat:
        head = {**head, "object": "chat.completion.chunk"}
        first: dict[str, Any] = {"delta": {"role": "assistant", "content": text}}
        last: dict[str, Any] = {"delta": {}}
    else:
        first, last = {"text": text}, {"text": ""}
    chunks = [
        {**head, "choices": [{"index": 0, **first, "logprobs": None, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, **last, "logprobs": None, "finish_reason": "stop"}]},
    ]
    events = [b"data: " + msgspec.json.encode(chunk) for chunk in chunks]
    return b"\n\n".join([*events, b"data: [DONE]", b""])
