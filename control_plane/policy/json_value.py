"""A value of any shape, taken as JSON: what a patch puts into one of Envoy's resources.

Everywhere else in a policy a text is a text and its key decides about the type. Here no key knows the type, so it is
the value's own, as YAML 1.2 reads it: `3` is a number and `"3"` a text, `true` a truth value and `on` a text.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from control_plane.policy.codes import Code
from control_plane.policy.diagnostics import quoted
from control_plane.policy.keys import unique_keys
from control_plane.policy.kinds import Json, Kind
from control_plane.policy.nodes import Mapping, Node, Scalar, Sequence
from control_plane.policy.reader import Reader, RefusedError

MAX_VALUES = 10_000
"""Values within one JSON value, itself included: a patch changes a resource, it does not bring a fleet."""

MAX_LENGTH = 65_536
"""Characters of one text: a script or a certificate fits, a data set does not."""

_WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile("-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class JsonValue(Kind[str]):
    """A value of any shape; held as JSON text, so that the policy stays frozen and hashable. Empty: not there."""

    def read(self, reader: Reader, node: Node, path: str) -> str:
        """The value as compact JSON; findings within it stand at their own places."""
        if node.size > MAX_VALUES:
            message = f"{node.size:,} values; a patch has at most {MAX_VALUES:,}"
            raise reader.refuse(node, Code.ITEM_COUNT, message)
        return json.dumps(self._value(reader, node), ensure_ascii=False, separators=(",", ":"))

    def _value(self, reader: Reader, node: Node) -> Any:
        # The depth is bounded for the whole file (nodes.py), so recursion is, too.
        if isinstance(node, Mapping):
            pairs = [(key, value) for key, value in unique_keys(reader, node)]
            values = {key.text: self._value(reader, value) for key, value in pairs}
            if len(pairs) < len(node.pairs):
                raise RefusedError  # the findings are with the reader
            return values
        if isinstance(node, Sequence):
            return [self._value(reader, item) for item in node.items]
        assert isinstance(node, Scalar), "there are no other nodes"
        return _scalar(reader, node)

    def schema(self) -> Json:
        """Anything."""
        return {}

    def describe(self) -> str:
        """What a value is, for the reference page."""
        return "any JSON value"

    def plain(self, value: str) -> Any:
        """The value in JSON's types; None for none at all."""
        return json.loads(value) if value else None


def _scalar(reader: Reader, node: Scalar) -> Any:
    text = node.text
    if len(text) > MAX_LENGTH:
        raise reader.refuse(node, Code.OUT_OF_BOUNDS, f"a text of {len(text):,} characters; at most {MAX_LENGTH:,}")
    if not node.plain:
        return text
    if node.is_nothing:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        number = float(text)
        if math.isinf(number):
            raise reader.refuse(node, Code.OUT_OF_BOUNDS, f"{quoted(text)} is too large for a number")
        return number
    return text
