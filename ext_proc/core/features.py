"""Takes from a request what a way does not offer: tools, long answers. Pure.

    >>> without_features(b'{"model": "m", "tools": [], "max_tokens": 9}', "chat", tools_off=True, max_tokens=4)
    (b'{"model":"m","max_tokens":4}', ('tools', 'max_tokens'))

Keys at the top of the body are removed or set, the values of all others stay byte by byte; a key that is there twice
stays once, with its last value, as readers take it. Tool calls earlier in a conversation stay: they are its words.
"""

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec import Raw

from ext_proc.core.request import Kind

TOOLS: Final = "tools"
MAX_TOKENS: Final = "max_tokens"

_TOOL_KEYS: Final = ("tools", "tool_choice", "parallel_tool_calls", "functions", "function_call")

# The keys by which a kind of request bounds its answer (OpenAI's and Anthropic's API references); the first is what a
# request without any gets.
_BOUNDS: Final[Mapping[Kind, tuple[str, ...]]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "completion": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}

_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_NOTHING: Final = (b"null", b"[]")


def offers_tools(body: bytes) -> bool:
    """Whether the engine is told of any tool."""
    return _offers_tools(_values(body))


def _values(body: bytes) -> dict[str, Raw]:
    """The body's keys and values; none where only lenient readers understand it."""
    try:
        return _BODY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}


def _offers_tools(found: dict[str, Raw]) -> bool:
    return any(key in found and bytes(found[key]) not in _NOTHING for key in ("tools", "functions"))


def without_features(
    body: bytes, kind: Kind, *, tools_off: bool, max_tokens: int | None
) -> tuple[bytes, tuple[str, ...]]:
    """The body that is left, and what it lost in words; the same body where it loses nothing."""
    if not tools_off and max_tokens is None:
        return body, ()
    values = _values(body)
    if not values:
        return body, ()
    lost: list[str] = []
    if tools_off and _offers_tools(values):
        for key in _TOOL_KEYS:
            values.pop(key, None)
        lost.append(TOOLS)
    if max_tokens is not None and _bound(values, _BOUNDS.get(kind, ()), max_tokens):
        lost.append(MAX_TOKENS)
    return (msgspec.json.encode(values), tuple(lost)) if lost else (body, ())


def _bound(values: dict[str, Raw], keys: tuple[str, ...], most: int) -> bool:
    """Whether anything had to be changed so that the answer has no more than `most` tokens."""
    if not keys:
        return False
    given = [key for key in keys if key in values and bytes(values[key]) != b"null"]
    long = [key for key in given if _number(values[key]) > most] if given else [keys[0]]
    for key in long:
        values[key] = Raw(str(most).encode())
    return bool(long)


def _number(value: Raw) -> float:
    """What is no number is the engine's to refuse; a negative one bounds nothing (llama.cpp)."""
    try:
        found = float(msgspec.json.decode(value, type=int | float))
    except msgspec.DecodeError:
        return 0.0
    except OverflowError:
        return math.inf
    return found if found >= 0 else math.inf
