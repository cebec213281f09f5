"""Rewrites the model of a request's body and leaves every other byte as it was.

    >>> replace_model(b'{"model" : "gpt-4", "user": "model"}', "llama-3-70b")
    b'{"model" : "llama-3-70b", "user": "model"}'

Re-encoding the document would change numbers, key order and escapes that belong to the client; engines hash prompts and
log bodies. Where a document repeats the key, every value is replaced, since readers disagree about which one counts.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from ext_proc.core.settings import PickerSettings

# Strings and brackets are all that decides depth; whatever else JSON has is skipped by the search.
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_COLON: Final = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")

_KEY = "model"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's model by its canonical name, and by the one that its engine is asked for."""

    model: str
    engine_model: str


def asked_of(settings: PickerSettings, route: str, name: str) -> Asked | None:
    """What `name`, written by a client, stands for on Envoy's `route`; None for a name that stands for nothing."""
    is_open = not settings.models or route in settings.open_routes
    model = settings.models.get(name, name if is_open else None)
    if model is None:
        return None
    return Asked(model, settings.rewrites.get(route) or settings.engine_models.get(model, model))


def replace_model(body: bytes, model: str) -> bytes:
    """`body` with the string value of each top-level `model` replaced by `model`.

    `body` must be valid JSON with an object at the top.
    """
    value = msgspec.json.encode(model)
    out: list[bytes] = []
    copied = 0
    for start, end in _model_values(body):
        out.append(body[copied:start])
        out.append(value)
        copied = end
    out.append(body[copied:])
    return b"".join(out)


def _model_values(body: bytes) -> Iterator[tuple[int, int]]:
    """The spans of the string values of top-level `model` keys, in order."""
    depth = 0
    value_start = -1
    for token in _TOKEN.finditer(body):
        first = body[token.start()]
        if first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
        elif depth == 1 and token.start() == value_start:
            yield token.span()
        elif depth == 1 and (colon := _COLON.match(body, token.end())):
            value_start = colon.end() if _is_model(token.group()) else -1


def _is_model(key: bytes) -> bool:
    if b"\\" not in key:
        return key == b'"model"'
    try:
        return bool(msgspec.json.decode(key) == _KEY)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False  # strict readers never look into a key that they do not know
