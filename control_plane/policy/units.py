"""Durations and sizes: numbers that are nothing without their unit."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError

_DURATION = r"(?:[0-9]{1,9}(?:\.[0-9]{1,6})?(?:h|ms|m|s))+"
_DURATION_PART = re.compile(r"([0-9.]+)(h|ms|m|s)")
_SECONDS = {"h": Fraction(3600), "m": Fraction(60), "s": Fraction(1), "ms": Fraction(1, 1000)}

_SIZE = r"[0-9]{1,12}(?:B|[KMG]B|[KMG]iB)"
_BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30,
}  # fmt: skip
_SHOWN_SIZES = ("GiB", "MiB", "KiB", "GB", "MB", "KB", "B")
"""Largest first; the first that divides a size is the one it is shown in."""


@dataclass(frozen=True, slots=True)
class Duration(ScalarKind[float]):
    """A time span such as `250ms`, `5s`, `1m30s`; the value is in seconds. Fields of this kind end in `_s`."""

    unit_suffix: ClassVar[str] = "_s"
    minimum: str
    maximum: str

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a duration such as 250ms, 5s or 1m30s"

    def parse(self, text: str) -> float:
        """Seconds; raises ValueRefusedError."""
        if re.fullmatch(_DURATION, text) is None:
            is_number = re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text) is not None
            hint = f"the unit is missing: {text}s or {text}ms?" if is_number and len(text) < 10 else ""
            raise ValueRefusedError(f"{quoted(text)} is not a duration", hint or "the form is 250ms, 5s, 1m30s or 2h")
        value = _seconds(text)
        if not _seconds(self.minimum) <= value <= _seconds(self.maximum):
            message = f"{quoted(text)} is not between {self.minimum} and {self.maximum}"
            raise ValueRefusedError(message, code=Code.OUT_OF_BOUNDS)
        return float(value)

    def schema(self) -> Json:
        """Its form; a schema cannot hold the bounds of a text."""
        return {"type": "string", "pattern": f"^{_DURATION}$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"duration, {self.minimum} to {self.maximum}"

    def plain(self, value: float) -> str:
        """`0.25` → `250ms`, `600.0` → `600s`."""
        return f"{value:g}s" if value >= 1 or value == 0 else f"{value * 1000:g}ms"


@dataclass(frozen=True, slots=True)
class ByteSize(ScalarKind[int]):
    """A number of bytes such as `16MiB` or `64KB` (1 KiB = 1,024 bytes, 1 KB = 1,000 bytes)."""

    minimum: str
    maximum: str

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a size such as 64KB or 16MiB"

    def parse(self, text: str) -> int:
        """Bytes; raises ValueRefusedError."""
        if re.fullmatch(_SIZE, text) is None:
            raise ValueRefusedError(
                f"{quoted(text)} is not a size", "the form is 65536B, 64KB (×1000) or 16MiB (×1024)"
            )
        value = _bytes(text)
        if not _bytes(self.minimum) <= value <= _bytes(self.maximum):
            message = f"{quoted(text)} is not between {self.minimum} and {self.maximum}"
            raise ValueRefusedError(message, code=Code.OUT_OF_BOUNDS)
        return value

    def schema(self) -> Json:
        """Its form; a schema cannot hold the bounds of a text."""
        return {"type": "string", "pattern": f"^{_SIZE}$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"size, {self.minimum} to {self.maximum}"

    def plain(self, value: int) -> str:
        """`16777216` → `16MiB`."""
        unit = next(unit for unit in _SHOWN_SIZES if value % _BYTES[unit] == 0)
        return f"{value // _BYTES[unit]}{unit}"


def _seconds(text: str) -> Fraction:
    return sum((Fraction(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text)), Fraction(0))


def _bytes(text: str) -> int:
    digits = text.rstrip("BKMGi")
    return int(digits) * _BYTES[text[len(digits) :]]
