"""What a request asks an engine to compute, as the engine itself would put it before its tokenizer. Pure.

    asked_for("chat", body, engine="vllm", takes_parts=False)   # Chat(…), Plain(…), Ids(…) or Untold(…)

The rules are those of vLLM's and SGLang's OpenAI front ends: contents of several text parts become one text or stay a
list, as the template wants it; the arguments of tool calls are values and no longer JSON; tools have their fields in
the order of the engine's own type. What only the engine can know is `Untold`, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from ext_proc.core.request import Kind

SGLANG: Final = "sglang"
LLAMACPP: Final = "llamacpp"
ASKABLE: Final = ("vllm", SGLANG, LLAMACPP, "custom")
"""Engines that can be asked for tokens; one of the user's own as vLLM."""

_BETWEEN_PARTS: Final = {SGLANG: " "}
"""What the texts of several parts are joined by; a line break unless said otherwise."""

# Of the body, passed on to the template where they are given.
_TO_TEMPLATE: Final = ("documents", "reasoning_effort")

_OF_MESSAGES: Final = ("name", "tool_call_id", "reasoning", "reasoning_content")

# At vLLM only these roles have them.
_OF_ROLE: Final = {"tool_call_id": "tool", "reasoning": "assistant", "reasoning_content": "assistant"}

_TEXT_PARTS: Final = {"text": "text", "input_text": "text"}
"""Types of parts, and where their text is."""

_VLLM_TEXT_PARTS: Final = {**_TEXT_PARTS, "output_text": "text", "refusal": "refusal", "thinking": "thinking"}

_REASONING: Final = ("reasoning", "reasoning_content")
"""Two names of what a model thought; vLLM tells its templates both, whichever the client used."""

_MEDIA: Final = "it has images or other media"


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation: the variables of a chat template. `continued` is the text that the answer goes on from."""

    variables: Mapping[str, Any]
    continued: str | None = None
    has_special_tokens: bool = False
    """Whether the engine adds its tokens of beginning and end to what the template makes."""


@dataclass(frozen=True, slots=True)
class Plain:
    """A text, to which the engine adds its tokens of beginning and end, unless `has_special_tokens` is False."""

    text: str
    has_special_tokens: bool = True


@dataclass(frozen=True, slots=True)
class Ids:
    """Token ids, by the client itself."""

    ids: list[int]


@dataclass(frozen=True, slots=True)
class Untold:
    """It cannot be known here; `why` continues "not counted by tokens: …"."""

    why: str


Asked = Chat | Plain | Ids | Untold


class _UntoldError(Exception):
    """Ends the reading; the text is the reason."""


def asked_for(kind: Kind, body: Mapping[str, Any], *, engine: str, takes_parts: bool) -> Asked:
    """What the engine computes for a body that was read; never raises. `takes_parts`: see `ChatTemplate`."""
    try:
        match kind:
            case "chat":
                return _chat(body, engine, takes_parts=takes_parts)
            case "completion":
                return _text(body, "prompt")
            case "embedding":
                return _text(body, "input")
            case _:
                return Untold(f"the {kind} API is not rendered here")
    except _UntoldError as error:
        return Untold(str(error))
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError):
        return Untold("its fields are of unexpected types")


def _text(body: Mapping[str, Any], name: str) -> Asked:
    if body.get("truncate_prompt_tokens") is not None:
        return Untold("it is to be cut")
    if body.get("prompt_embeds") is not None:
        return Untold("it has embeddings for a prompt")
    has_special_tokens = body.get("add_special_tokens", True) is not False
    given = body.get(name)
    if isinstance(given, list) and len(given) == 1 and not isinstance(given[0], int):
        given = given[0]
    match given:
        case str():
            return Plain(given, has_special_tokens)
        case [int(), *_]:
            return _ids(given)
        case [_, _, *_]:
            return Untold("it has several prompts")
        case _:
            return Untold("it has no prompt")


def _ids(given: Any) -> Ids:
    if not isinstance(given, list) or set(map(type, given)) != {int}:
        raise _UntoldError("its token ids are none")
    return Ids(given)


def _chat(body: Mapping[str, Any], engine: str, *, takes_parts: bool) -> Asked:
    if engine == SGLANG and body.get("input_ids") is not None:
        return _ids(body["input_ids"])
    for name in ("chat_template", "truncate_prompt_tokens"):
        if body.get(name) is not None:
            raise _UntoldError(f"it has a `{name}` of its own")
    messages = [_message(message, engine, takes_parts=takes_parts) for message in body["messages"] or ()]
    if not messages:
        raise _UntoldError("it has no messages")
    is_continued = bool(body.get("continue_final_message"))
    if engine == SGLANG and messages[-1]["role"] == "assistant":
        raise _UntoldError("its last message is the assistant's, of which SGLang makes something else")
    own = body.get("chat_template_kwargs") or {}
    if "chat_template" in own:
        raise _UntoldError("it has a `chat_template` of its own")
    return Chat(
        variables={
            "messages": messages,
            "tools": _tools(body, engine),
            "add_generation_prompt": engine == SGLANG or body.get("add_generation_prompt", True) is not False,
            "documents": None,
            **{name: body[name] for name in _TO_TEMPLATE if body.get(name) is not None},
            **thinking_of(body, engine),
            **{str(name): value for name, value in own.items()},
        },
        continued=_last_text(messages) if is_continued and engine != SGLANG else None,
        has_special_tokens=bool(body.get("add_special_tokens")) and engine != SGLANG,
    )


def thinking_of(body: Mapping[str, Any], engine: str) -> dict[str, bool]:
    """vLLM switches thinking on for whoever names an effort, and off for `none`."""
    effort = body.get("reasoning_effort")
    return {} if effort is None or engine == SGLANG else {"enable_thinking": effort != "none"}


def _message(given: Mapping[str, Any], engine: str, *, takes_parts: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": given["role"]}
    # Whatever the template takes, vLLM gives it the answers of tools as text.
    takes_parts = takes_parts and (engine == SGLANG or given["role"] != "tool")
    message["content"] = _content(given.get("content"), engine, takes_parts=takes_parts)
    for name in _OF_MESSAGES:
        if given.get(name) is not None and (engine == SGLANG or _OF_ROLE.get(name) in (None, given["role"])):
            message[name] = given[name]
    thought = next((message[name] for name in _REASONING if name in message), None)
    if thought is not None and engine != SGLANG:
        message |= dict.fromkeys(_REASONING, thought)
    if given.get("tool_calls"):
        message["tool_calls"] = [_tool_call(call) for call in given["tool_calls"]]
    return message


def _content(given: Any, engine: str, *, takes_parts: bool) -> str | list[dict[str, str]]:
    if given is None or isinstance(given, str):
        if not takes_parts or engine == SGLANG:
            return given or ""
        return [] if given is None else [{"type": "text", "text": given}]
    texts = [_part(part, _TEXT_PARTS if engine == SGLANG else _VLLM_TEXT_PARTS) for part in given]
    if takes_parts:
        return [{"type": "text", "text": text} for text in texts]
    if engine != SGLANG:
        texts = [text for text in texts if text]
    return _BETWEEN_PARTS.get(engine, "\n").join(texts)


def _part(part: Any, types: Mapping[str, str]) -> str:
    if isinstance(part, str):
        return part
    text = part.get(types.get(part.get("type", "text")))
    if not isinstance(text, str):
        raise _UntoldError(_MEDIA)
    return text


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    arguments = function.get("arguments") or {}
    function["arguments"] = msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    return {**call, "function": function}


def _tools(body: Mapping[str, Any], engine: str) -> list[dict[str, Any]] | None:
    tools = body.get("tools")
    if not tools:
        return None
    if engine != SGLANG:
        return [_tool(tool) for tool in tools]
    choice = body.get("tool_choice")
    if choice == "none":
        return None
    only = choice["function"]["name"] if isinstance(choice, dict) else None
    return [_tool_of_sglang(tool) for tool in tools if only in (None, tool["function"]["name"])]


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """As vLLM's own type (`ChatCompletionToolsParam`) writes it down: what is missing is null, or not there."""
    function = tool["function"]
    ordered = {name: function.get(name) for name in ("name", "description", "parameters")}
    more = {name: function[name] for name in ("strict", "defer_loading") if function.get(name) is not None}
    return {"type": tool.get("type", "function"), "function": {**ordered, **more}}


def _tool_of_sglang(tool: Mapping[str, Any]) -> dict[str, Any]:
    """As SGLang's own type (`Tool`): in another order, and what it does not know is dropped."""
    function = tool["function"]
    ordered = {name: function.get(name) for name in ("description", "name", "parameters")}
    return {
        "type": tool.get("type", "function"),
        "function": {**ordered, "strict": bool(function.get("strict"))},
    }


def _last_text(messages: list[dict[str, Any]]) -> str:
    content = messages[-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"] if content else ""
    if not text.strip():
        raise _UntoldError("its last message, which is to be continued, is empty")
    return str(text)


def continued(rendered: str, text: str) -> str:
    """What a template made, up to the end of the message that is to be continued (`continue_final_message`).

    Raises ValueError where the text is not in it.
    """
    bare = text.strip()
    start = rendered.rindex(bare)
    whole = text.lstrip()
    return rendered[: start + (len(whole) if rendered[start : start + len(whole)] == whole else len(bare))]
