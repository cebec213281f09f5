"""A value for Envoy's runtime: a number, a truth value or a text.

Source: Envoy's page "Runtime configuration", "Protobuf value"; a layer is a `google.protobuf.Struct`, of whose values
lists and null are refused.
"""

import math
import re
from dataclasses import dataclass

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.kinds import Json, ScalarKind, ValueRefusedError

MAX_RUNTIME_TEXT = 4096
"""Characters of a runtime value: flags and percentages, not documents."""

_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class RuntimeValue(ScalarKind["bool | float | str"]):
    """A number, `true` or `false`, or any other text; quotes do not matter, as Envoy reads numbers from texts, too."""

    @property
    def noun(self) -> str:
        """What a value is called in messages."""
        return "a number, `true`, `false` or a text"

    def parse(self, text: str) -> bool | float | str:
        """The value; raises ValueRefusedError."""
        if text in ("true", "false"):
            return text == "true"
        if len(text) > MAX_RUNTIME_TEXT:
            raise ValueRefusedError(f"{quoted(text)} is longer than {MAX_RUNTIME_TEXT} characters")
        if _NUMBER.fullmatch(text) is None:
            return text
        if math.isinf(float(text)):
            raise ValueRefusedError(f"{quoted(text)} is too large for a number", code=Code.OUT_OF_BOUNDS)
        return float(text)

    def schema(self) -> Json:
        """Any scalar."""
        return {"type": ["boolean", "number", "string"], "maxLength": MAX_RUNTIME_TEXT}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "number, `true`, `false` or text"
