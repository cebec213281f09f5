"""Shares of requests, in Istio's form: `percentage: {value: 0.1}`."""

import re
from dataclasses import dataclass
from decimal import Decimal

from control_plane.policy.codes import Code
from control_plane.policy.declare import Block, block, setting
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError

_FORM = r"(?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,4})?"


@dataclass(frozen=True, slots=True)
class Share(ScalarKind[Decimal]):
    """A number of percent with four decimals at most: Envoy counts in millionths (`FractionalPercent`)."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a percentage from 0 to 100"

    def parse(self, text: str) -> Decimal:
        """The number of percent; raises ValueRefusedError."""
        digits = text.removesuffix("%")
        if re.fullmatch(_FORM, digits) is None:
            hint = "up to four digits behind the point, such as 0.5"
            raise ValueRefusedError(f"{quoted(text)} is not a percentage", hint)
        if Decimal(digits) > 100:
            raise ValueRefusedError(f"{quoted(text)} is not in 0..100", code=Code.OUT_OF_BOUNDS)
        return Decimal(digits)

    def schema(self) -> Json:
        """A number, or its digits as a text, with or without the sign."""
        return {"type": ["number", "string"], "minimum": 0, "maximum": 100, "pattern": f"^{_FORM}%?$"}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "0..100 (percent, four decimals)"

    def plain(self, value: Decimal) -> int | float:
        """A number of JSON."""
        return int(value) if value == value.to_integral_value() else float(value)


@block()
class Percentage(Block):
    """A share of requests."""

    value: Decimal = setting(Share(), doc="Percent.")


ALL_REQUESTS = Percentage(value=Decimal(100))
