"""Pages in JSON, whatever they hold. Pure."""

from typing import Any, Final

import msgspec

from ext_proc.signals.numbers import Number, is_number

MAX_JSON_BYTES: Final = 1 << 20
"""A thousand iterations of `trtllm-serve`, which is as many as it keeps, have 0.7 MB. Picks wait while a page is read:
for one of this size, made of nothing but braces, 0.1 s."""


def json_of(body: bytes) -> Any:
    """What a JSON body holds; None where it is none, or a huge one."""
    if len(body) > MAX_JSON_BYTES:
        return None
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):  # a ValueError, too, is text that is not UTF-8
        return None


def number_in(values: object, name: str) -> Number | None:
    """A number in a JSON object; None where there is none."""
    if not isinstance(values, dict):
        return None
    value: Any = values.get(name)
    return (value, name) if is_number(value) else None
