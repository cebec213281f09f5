"""Numbers with a decimal point: percentages below one, exponents, factors."""

import re
from dataclasses import dataclass

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError

_FORM = r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?"
"""Digits, at most six of them behind the point: finer steps than any of Envoy's fractions has."""


@dataclass(frozen=True, slots=True)
class Decimal(ScalarKind[float]):
    """A number such as `1.5`, from `minimum` to `maximum`; no exponents, no sign."""

    minimum: float
    maximum: float
    unit: str = ""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def parse(self, text: str) -> float:
        """The number; raises ValueRefusedError."""
        if re.fullmatch(_FORM, text) is None:
            hint = "write it as 2 or 1.5, with at most six digits behind the point"
            raise ValueRefusedError(f"{quoted(text)} is not a number", hint)
        if not self.minimum <= float(text) <= self.maximum:
            message = f"{quoted(text)} is not in {self.minimum:g}..{self.maximum:g}"
            raise ValueRefusedError(message, code=Code.OUT_OF_BOUNDS)
        return float(text)

    def schema(self) -> Json:
        """A number within its bounds, or its digits in quotes."""
        return {
            "type": ["number", "string"],
            "minimum": self.minimum,
            "maximum": self.maximum,
            "pattern": f"^{_FORM}$",
        }

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return f"{self.minimum:g}..{self.maximum:g}{self.unit and ' ' + self.unit}"

    def plain(self, value: float) -> float:
        """The number as JSON has it: `1.0` is `1`."""
        return int(value) if value == int(value) else value
