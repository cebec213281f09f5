"""Conversations of the OpenAI Responses API and Anthropic's Messages API as the chats that vLLM makes of them. Pure.

    as_chat("messages", body, engine="vllm")     # the body of a chat, or Untold

By the rules of vLLM's `construct_input_messages` and of its Anthropic front end, as far as all its versions agree: what
was said, in text. Tools and their answers, thoughts, media, and what refers to an earlier response differ between
versions, or are known to the engine alone; other engines have rules of their own.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from ext_proc.tokens.asked import Untold

CONVERTING: Final = ("vllm", "custom")
"""Engines whose rules are known; one of the user's own is asked as vLLM."""

_ROLES: Final = ("user", "assistant", "system", "developer")

# Whose presence makes other prompts than what was said.
_MORE: Final = {
    "responses": (
        "tools",
        "previous_response_id",
        "previous_input_messages",
        "conversation",
        "prompt",
        "reasoning",
        "chat_template_kwargs",
    ),
    "messages": ("tools", "thinking", "chat_template_kwargs", "output_config"),
}

_MAX_WORD: Final = 40
"""The longest names of parts and items have some thirty characters."""

_BILLING: Final = "x-anthropic-billing-header"
"""Of one client, in system prompts; later versions of vLLM leave it out."""


def as_chat(kind: Literal["responses", "messages"], body: Mapping[str, Any], engine: str) -> Mapping[str, Any] | Untold:
    """The chat that the engine makes of a body that was read; never raises."""
    if engine not in CONVERTING:
        return Untold(f"the {kind} API of {engine} is not rendered here")
    more = next((name for name in _MORE[kind] if body.get(name)), None)
    if more is not None:
        return Untold(f"the {kind} API is not rendered here with `{more}`")
    try:
        messages = list(_of_responses(body) if kind == "responses" else _of_messages(body))
    except _NotSaidError as error:
        return Untold(f"the {kind} API is not rendered here with {error}")
    except (AttributeError, KeyError, TypeError):
        return Untold("its fields are of unexpected types")
    return {"messages": messages}


class _NotSaidError(Exception):
    """It has more than what was said; the text says what."""


def _of_responses(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if body.get("instructions"):
        yield {"role": "system", "content": _text(body["instructions"])}
    given = body["input"]
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    for item in given:
        if item.get("type", "message") != "message":
            raise _NotSaidError(_named(item["type"]))
        if item.get("status") in ("in_progress", "incomplete"):
            raise _NotSaidError("an answer to be continued")
        content = item["content"]
        if not isinstance(content, str):
            content = [_part(part, ("input_text", "output_text", "text")) for part in content]
        yield {"role": _role(item["role"]), "content": content}


def _of_messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    system = body.get("system")
    if system:
        if not isinstance(system, str):
            system = "".join(_part(part, ("text",))["text"] for part in system)
        if _BILLING in system:
            raise _NotSaidError("a billing header")
        yield {"role": "system", "content": system}
    for message in body["messages"]:
        role, content = _role(message["role"]), message["content"]
        if role not in ("user", "assistant"):
            raise _NotSaidError(f"the role `{role}`")
        if not isinstance(content, str):
            content = [part for part in (_part(each, ("text",)) for each in content) if part["text"]]
            if not content:
                continue
            if len(content) == 1:
                content = content[0]["text"]
        yield {"role": role, "content": content}


def _part(part: Mapping[str, Any], types: tuple[str, ...]) -> dict[str, str]:
    if part["type"] not in types:
        raise _NotSaidError(_named(part["type"]))
    return {"type": "text", "text": _text(part["text"])}


def _named(kind: Any) -> str:
    """A client's word, which decisions keep."""
    return f"`{kind[:_MAX_WORD]}`" if isinstance(kind, str) else "a type that is no text"


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _role(value: Any) -> str:
    if value not in _ROLES:
        raise _NotSaidError("another role")
    return str(value)
