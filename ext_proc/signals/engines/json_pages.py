"""Pages in JSON, whatever they hold. Pure."""

from typing import Any

import msgspec

from ext_proc.signals.numbers import Number, is_number


def json_of(body: bytes) -> Any:
    """What a JSON body holds; None where it is none."""
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
