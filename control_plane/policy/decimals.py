"""Numbers with a decimal point: percentages below one, exponents, factors."""

from dataclasses import dataclass
from typing import ClassVar

from control_plane.policy.scalars import Number


@dataclass(frozen=True, slots=True)
class Decimal(Number[float]):
    """A number such as `1.5`; no exponents, no sign."""

    # At most six digits behind the point: finer steps than any of Envoy's fractions has.
    FORM: ClassVar[str] = r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?"
    JSON_TYPE: ClassVar[str] = "number"
    WHAT: ClassVar[str] = "a number"
    HINT: ClassVar[str] = "write it as 2 or 1.5, with at most six digits behind the point"

    def value_of(self, text: str) -> float:
        """The digits as a number."""
        return float(text)

    def plain(self, value: float) -> float:
        """The number as JSON has it: `1.0` is `1`."""
        return int(value) if value == int(value) else value
